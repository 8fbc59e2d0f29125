import signal
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  (no installer has checked it)
    sys.exit(
        "error: the sandbox requires Python 3.11 or newer, for example: python3.12 deploy/sandbox"
    )
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing to clean up while modules load
sys.path[0] = str(Path(__file__).resolve().parents[1])

from sandbox.cli import main  # noqa: E402  (the path is set above)

if __name__ == "__main__":
    sys.exit(main())
