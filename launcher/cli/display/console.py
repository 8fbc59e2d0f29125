"""Standard output and standard error of the command line."""

import json
import sys
from typing import Any

from rich.console import Console

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
# A table in a file or a pipe is not folded.
out = Console(width=None if sys.stdout.isatty() else 200, **PLAIN)
err = Console(stderr=True, **PLAIN)


def say(text: str) -> None:
    err.print(text)


def warn(text: str) -> None:
    err.print(f"warning: {text}", style="yellow")


def print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, default=str), flush=True)
