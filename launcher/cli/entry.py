"""The entry point of `launcher`: Ctrl-C does not print a traceback even while modules are loading."""

import sys


def program() -> None:
    try:
        from launcher.cli.main import program as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
