"""Exceptions of an environment, and observations that have no JSON form: the frames are OpenEnv's, the log
names the line of code, and the session goes on."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.apps.faulty import EXCEPTIONS, UNUSUAL
from tests.helpers.faults import frames, reset, serves, step, UUID
from tests.helpers.openenv_apps import kit, Pair, pair
from tests.helpers.wire import MARK

APPS = ("faulty:blocking", "faulty:asynchronous")
# With these OpenEnv's server ends the session without a frame, leaves it without a reply, or stops.
FATAL = {"CancelledError", "GeneratorExit", "KeyboardInterrupt", "StopIteration", "SystemExit"}
GOOD = step("nothing", "good")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Pair]]:
    with contextlib.ExitStack() as stack:
        yield functools.cache(
            lambda app: stack.enter_context(pair(app, tmp_path_factory.mktemp("servers")))
        )


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("name", sorted(EXCEPTIONS.keys() - FATAL))
def test_exceptions_of_an_environment_give_the_frames_of_openenv(
    servers: Callable[[str], Pair], app: str, name: str
) -> None:
    both = servers(app)
    for call in (step, reset):
        script = [call("fail", name), GOOD]
        assert frames(both.kit.url, script) == frames(both.stock.url, script)


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_observations_give_the_frames_of_openenv(
    servers: Callable[[str], Pair], app: str, name: str
) -> None:
    both = servers(app)
    for call in (step, reset):
        script = [call("return", name), GOOD]
        replies = frames(both.kit.url, script)
        assert replies == frames(both.stock.url, script)
        assert '"good"' in replies[1]


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("name", sorted(FATAL))
def test_exceptions_that_end_a_process_become_errors_of_the_session(
    servers: Callable[[str], Pair], app: str, name: str
) -> None:
    server = servers(app).kit
    workers = server.ready()["workers"]
    for call in (step, reset):
        failed, good, end = frames(server.url, [call("fail", name), GOOD])
        assert '"code":"EXECUTION_ERROR"' in failed
        assert name in failed
        assert '"good"' in good
        assert MARK in end
    assert serves(server.url)
    assert [each["pid"] for each in server.ready()["workers"]] == [each["pid"] for each in workers]


@pytest.mark.parametrize("app", APPS)
def test_the_log_names_the_session_the_exception_and_its_line(
    servers: Callable[[str], Pair], app: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with kit(app, tmp_path_factory.mktemp("log")) as server:
        for _ in range(12):
            frames(server.url, [step("fail", "ValueError")])
        log = server.log.read_text()
    line = rf"Session {UUID}: ValueError: no level ü 漢 \(\S+faulty.py:\d+\)"
    first, tenth = re.findall(rf"{line}.*", log)
    assert re.fullmatch(line, first)
    assert re.fullmatch(rf"{line}; 10 times so far", tenth)
    assert "Traceback" not in log
