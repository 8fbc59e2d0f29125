"""Steps that end their worker: its sessions end, the other worker's go on, the log says whose code ran."""

import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.faults import serves, session, step, UUID
from tests.helpers.local import Server, wait_for
from tests.helpers.memory import limited_memory
from tests.helpers.openenv_apps import kit

CLOSED = "closed without a close frame"


# A server restarts a worker three times.
@pytest.fixture(scope="module")
def blocking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with kit("faulty:blocking", tmp_path_factory.mktemp("blocking"), WORKERS=2) as server:
        yield server


@pytest.fixture(scope="module")
def asynchronous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with kit("faulty:asynchronous", tmp_path_factory.mktemp("async"), WORKERS=2) as server:
        yield server


def worker_url(server: Server, index: int) -> str:
    return f"http://{server.address}:{8002 + index}"


def assert_only_the_sessions_of_worker_0_end(server: Server, fault: str, how: str) -> None:
    zero, one = (worker_url(server, index) for index in (0, 1))
    pids = [worker["pid"] for worker in server.ready()["workers"]]
    with session(zero) as victim, session(zero) as neighbour, session(one) as other:
        assert [each.pid() for each in (victim, neighbour, other)] == [pids[0], pids[0], pids[1]]
        assert victim.ask(fault) == CLOSED
        assert neighbour.receive() == CLOSED
        assert other.pid() == pids[1]
        wait_for(
            lambda: server.ready()["ready"] and server.ready()["workers"][0]["pid"] != pids[0],
            30,
            "the worker is replaced",
        )
        assert serves(zero)
        assert serves(one)
        assert other.pid() == pids[1]
    wait_for(lambda: server.ready()["used"] == 0, 10, "all places are free")
    running = rf"2 sessions are lost; code was running in {UUID} \(step\)"
    line = rf"^worker 0 \(pid {pids[0]}\) {how}; {running}; restarting it$"
    assert len(re.findall(line, server.log.read_text(), re.MULTILINE)) == 1


def assert_traceback_of_segfault(server: Server) -> None:
    log = server.log.read_text()
    assert "Fatal Python error: Segmentation fault" in log
    assert re.search(r"faulty.py\", line \d+ in segfault", log)


def test_a_blocking_step_that_crashes_the_worker(blocking: Server) -> None:
    assert_only_the_sessions_of_worker_0_end(blocking, step("segfault"), "was killed by SIGSEGV")
    assert_traceback_of_segfault(blocking)


def test_an_asynchronous_step_that_crashes_the_worker(asynchronous: Server) -> None:
    assert_only_the_sessions_of_worker_0_end(
        asynchronous, step("segfault"), "was killed by SIGSEGV"
    )
    assert_traceback_of_segfault(asynchronous)


def test_a_step_whose_worker_is_killed(asynchronous: Server) -> None:
    assert_only_the_sessions_of_worker_0_end(asynchronous, step("kill"), "was killed by SIGKILL")


def test_a_step_that_exits(blocking: Server) -> None:
    assert_only_the_sessions_of_worker_0_end(blocking, step("exit", 3), "exited with 3")


def test_a_step_that_allocates_until_the_kernel_kills_its_worker(blocking: Server) -> None:
    pid = blocking.ready()["workers"][0]["pid"]
    with limited_memory(pid, megabytes=200):
        assert_only_the_sessions_of_worker_0_end(
            blocking, step("allocate", 600), r"was killed by SIGKILL \(possibly out of memory\)"
        )


def test_a_step_that_may_not_allocate_fails_and_its_session_goes_on(asynchronous: Server) -> None:
    (pid, _) = [worker["pid"] for worker in asynchronous.ready()["workers"]]
    with session(worker_url(asynchronous, 0)) as client:
        assert client.pid() == pid
        used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        limits = (used + (200 << 20), resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_AS, limits)
        assert '"code":"EXECUTION_ERROR"' in client.ask(step("allocate", 1000))
        assert client.pid() == pid
    assert serves(worker_url(asynchronous, 0))
    assert re.search(rf"Session {UUID}: MemoryError \(\S+faulty.py:", asynchronous.log.read_text())
