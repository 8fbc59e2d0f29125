"""What a server reports about a worker that exited."""

import signal

import pytest

from benchmark.server.places import Running
from benchmark.server.workers.exits import (
    describe_exit,
    describe_loss,
    describe_running,
    oom_kills,
)


@pytest.mark.parametrize(
    ("code", "out_of_memory", "expected"),
    [
        (3, False, "exited with 3"),
        (0, True, "exited with 0"),
        (-signal.SIGSEGV, True, "was killed by SIGSEGV"),
        (-signal.SIGKILL, False, "was killed by SIGKILL"),
        (-signal.SIGKILL, True, "was killed by SIGKILL (possibly out of memory)"),
        (-40, False, "was killed by signal 40"),
    ],
)
def test_an_exit_names_the_signal(code: int, out_of_memory: bool, expected: str) -> None:
    assert describe_exit(code, out_of_memory) == expected


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        (0, "no sessions are lost"),
        (1, "1 session is lost"),
        (20, "20 sessions are lost"),
    ],
)
def test_lost_sessions_are_counted(sessions: int, expected: str) -> None:
    assert describe_loss(sessions) == expected


def test_running_code_names_five_sessions_and_counts_the_others() -> None:
    running = [(name, Running.STEP) for name in "abcdefg"]
    running[1] = ("b", Running.CONSTRUCTOR)
    assert describe_running(running[:2]) == "; code was running in a (step), b (constructor)"
    assert describe_running(running).endswith("d (step), e (step) and 2 more")
    assert describe_running(running[:5]).endswith("d (step), e (step)")
    assert describe_running([]) == ""


def test_this_kernel_counts_processes_that_it_killed_for_memory() -> None:
    assert oom_kills() >= 0
