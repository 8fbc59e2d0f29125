"""The entry point of `launcher`: Ctrl-C does not print a traceback even while modules are loading."""

import sys

from launcher.system.arguments import hide_values


def program() -> None:
    hide_values()
    try:
        from launcher.cli.main import program as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
