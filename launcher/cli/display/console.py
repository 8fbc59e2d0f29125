"""Standard output and standard error of the command line."""

import json
import sys
from typing import Any

from rich.console import Console

# A table in a file or a pipe is not folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    err.print(text, markup=False)


def warn(text: str) -> None:
    err.print(f"warning: {text}", markup=False, style="yellow")


def print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, default=str), flush=True)
