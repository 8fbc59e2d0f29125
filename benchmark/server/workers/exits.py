"""What a server reports about a worker that exited."""

import signal
from collections.abc import Sequence
from pathlib import Path

from benchmark.server.places import Running

MAX_NAMED = 5


def describe_exit(code: int, out_of_memory: bool = False) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    suspicion = " (possibly out of memory)" if out_of_memory and -code == signal.SIGKILL else ""
    return f"was killed by {name}{suspicion}"


def describe_loss(sessions: int) -> str:
    return "1 session is lost" if sessions == 1 else f"{sessions or 'no'} sessions are lost"


def describe_running(running: Sequence[tuple[str, Running]]) -> str:
    named = [f"{session_id} ({code.name.lower()})" for session_id, code in running[:MAX_NAMED]]
    more = len(running) - len(named)
    listed = ", ".join(named) + (f" and {more} more" if more else "")
    return f"; code was running in {listed}" if running else ""


def oom_kills() -> int:
    """How many processes of this machine the kernel has killed because memory ran out."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))
