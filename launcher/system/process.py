"""Starting child processes, and describing how they ended."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.server.process import die_with_parent, raise_descriptor_limit

TAIL_LINES = 15


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    end_by: int = signal.SIGKILL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, with its output in `log`; it gets the signal `end_by` when
    this process ends.

    `options` are Popen's and prevail.
    """
    parent = os.getpid()

    def prepare() -> None:
        die_with_parent(parent, end_by)
        raise_descriptor_limit()

    with log.open("ab") as output:
        defaults: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": output,
            "start_new_session": True,
        }
        options = defaults | {"env": os.environ | environment} | options
        return subprocess.Popen(argv, preexec_fn=prepare, **options)  # noqa: PLW1509 - no threads


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return indented(text.splitlines()[-lines:])


def indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
