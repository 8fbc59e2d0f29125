"""The program `launcher`, from its first moment: Ctrl-C is no error while it is still loading."""

import sys


def program() -> None:
    try:
        from launcher.cli.main import program as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
