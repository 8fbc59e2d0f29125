"""Constructors and steps that do not return delay nobody, and the client and the log are told."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.faults import serves, session, step, UUID
from tests.helpers.local import Server, wait_for
from tests.helpers.openenv_apps import kit

APPS = ("faulty:blocking", "faulty:asynchronous")
# The size of a log when the test began.
marks: dict[Path, int] = {}
SECONDS = 4  # until a constructor is given up


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture
def gate(folder: Path) -> Iterator[Path]:
    """Constructors wait, or fail, while it exists."""
    gate = folder / "gate"
    yield gate
    gate.unlink(missing_ok=True)


@pytest.fixture(scope="module", params=APPS)
def started(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    variables = {"GATE": folder / "gate", "CONSTRUCTOR_TIMEOUT": SECONDS, "MAX_CONCURRENT_ENVS": 3}
    with kit(request.param, folder, **variables) as server:
        yield server


@pytest.fixture
def server(started: Server) -> Server:
    marks[started.log] = started.log.stat().st_size
    return started


def wait_used(server: Server, count: int) -> None:
    wait_for(lambda: server.ready()["used"] == count, 20, f"{count} places are used")


def wait_logged(server: Server, pattern: str) -> None:
    def found() -> object:
        text = server.log.read_bytes()[marks.get(server.log, 0) :].decode()
        return re.search(pattern, text)

    wait_for(found, 20, f"the log has {pattern}")


def test_constructors_that_do_not_return(server: Server, gate: Path) -> None:
    with session(server.url) as other:
        assert other.pid()
        gate.touch()
        with session(server.url) as one, session(server.url) as two:
            assert other.pid()
            for client in (one, two):
                reply = client.receive()
                assert '"code":"FACTORY_ERROR"' in reply
                cause = r"constructor has not returned after \d+ s; it is at \S+faulty.py"
                assert re.search(rf"{cause}:\d+ in __init__", reply)
                assert client.receive() == "closed 1000"
        wait_used(server, 1)
        wait_logged(server, rf"Session {UUID}: Environment factory .*{cause}")
        still = rf"Session {UUID} is over, but its code is still running at \S+faulty.py:\d+ in"
        wait_logged(server, rf"{still} __init__; its place is free again")
        assert other.pid()
        gate.unlink()
        wait_logged(server, rf"Session {UUID}: its code has returned")
        assert other.pid()
    assert serves(server.url)
    wait_used(server, 0)


def test_a_slow_constructor_delays_only_its_own_session(server: Server, gate: Path) -> None:
    with session(server.url) as other:
        assert other.pid()
        gate.touch()
        with session(server.url) as slow:
            slow.send(step("nothing", "at last"))
            wait_used(server, 2)
            assert other.pid()
            gate.unlink()
            assert '"at last"' in slow.receive()
    wait_used(server, 0)


def test_a_constructor_that_fails(server: Server, gate: Path) -> None:
    with session(server.url) as other:
        assert other.pid()
        gate.write_text("no licence")
        for _ in range(5):
            with session(server.url) as refused:
                reply = refused.receive()
                assert '"code":"FACTORY_ERROR"' in reply
                assert re.search(r"OSError: no licence \(\S+faulty.py:\d+\)", reply)
                assert refused.receive() == "closed 1000"
        wait_logged(server, rf"Session {UUID}: Environment factory .*OSError: no licence \(\S+\)")
        assert other.pid()
        gate.unlink()
        assert serves(server.url)
    wait_used(server, 0)


def test_a_client_that_leaves_during_code_that_does_not_return(server: Server, gate: Path) -> None:
    gate.touch()
    with session(server.url):
        wait_used(server, 1)
    wait_used(server, 0)
    gate.unlink()
    assert serves(server.url)


def test_a_blocking_step_delays_no_other_session(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with (
        kit("faulty:blocking", tmp_path, CONSTRUCTOR_TIMEOUT=SECONDS) as server,
        session(server.url) as waiting,
        session(server.url) as leaving,
    ):
        waiting.send(step("wait", str(gate)))
        leaving.send(step("wait", str(gate)))
        for _ in range(20):
            assert serves(server.url)
        leaving.leave()
        wait_used(server, 1)
        still = rf"Session {UUID} is over, but its code is still running at \S+faulty.py:\d+ in"
        wait_logged(server, rf"{still} wait_while_exists; its place is free again")
        gate.unlink()
        assert '"type":"observation"' in waiting.receive()
        assert waiting.pid()
        wait_logged(server, rf"Session {UUID}: its code has returned")
        wait_used(server, 1)


def test_an_asynchronous_step_that_blocks_is_named_in_the_log(tmp_path: Path, gate: Path) -> None:
    with kit("faulty:asynchronous", tmp_path, WORKERS=2) as server:
        zero, one = (f"http://{server.address}:{port}" for port in (8002, 8003))
        with session(zero) as holding, session(zero) as delayed, session(one) as other:
            assert holding.pid() == delayed.pid() != other.pid()
            gate.touch()
            holding.send(step("wait", str(gate)))
            waits = r"The event loop, and so every session of this worker, has waited \d+ s for"
            place = r"which is at \S+faulty.py:\d+ in wait_while_exists"
            wait_logged(server, rf"{waits} session {UUID}, {place}")
            assert other.pid()
            assert serves(one)
            gate.unlink()
            assert '"type":"observation"' in holding.receive()
            assert delayed.pid()
        assert serves(zero)


def test_an_environment_without_concurrency_that_is_asked_for_100_places(tmp_path: Path) -> None:
    variables = {"MAX_CONCURRENT_ENVS": 100, "WORKERS": 2}
    with kit("faulty:one_at_a_time", tmp_path, **variables) as server, ExitStack() as stack:
        assert server.ready()["max_sessions"] == 2
        clients = [stack.enter_context(session(server.url)) for _ in range(100)]
        for client in clients:
            client.send(step())
        replies = [client.receive() for client in clients]
        refused = [reply for reply in replies if '"type":"observation"' not in reply]
        assert len(refused) == 98
        for reply in refused:
            assert '"code":"CAPACITY_REACHED"' in reply
            assert '"max_sessions":1' in reply
        wait_for(lambda: server.ready()["refused"] == 98, 10, "all refusals are counted")
        assert (server.ready()["used"], server.ready()["free"]) == (2, 0)
        stack.close()
        wait_used(server, 0)
        assert serves(server.url)
