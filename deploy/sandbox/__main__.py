import signal
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  (nothing is installed, so nothing else checked it)
    sys.exit("error: Python 3.11 or newer is needed; say which: python3.12 deploy/sandbox")
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the modules load there is nothing to tidy
sys.path[0] = str(Path(__file__).resolve().parents[1])

from sandbox.cli import main  # noqa: E402  (the package is found from here on)

if __name__ == "__main__":
    sys.exit(main())
