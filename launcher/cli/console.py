"""Standard output and standard error of the command line."""

import sys

from rich.console import Console

# A table that goes into a file or a pipe is not folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)


err = Console(stderr=True, highlight=False, soft_wrap=True)
