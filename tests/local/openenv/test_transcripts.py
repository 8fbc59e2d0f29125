"""The kit sends the same frames as plain uvicorn, for every kind of environment."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.openenv_apps import Pair, pair
from tests.helpers.scripts import COMMON, COUNTING, MCP, RPC, TASKS, TOOLS
from tests.helpers.wire import Script, transcript

APPS = ("counting:asynchronous", "counting:blocking", "counting:single_threaded", "tools:app")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Pair]]:
    """Starts the two servers of an app when its first script needs them."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(
            lambda app: stack.enter_context(pair(app, tmp_path_factory.mktemp("servers")))
        )


def scripts_of(app: str) -> dict[str, Script]:
    own = TOOLS if app == "tools:app" else COUNTING
    return COMMON | {f"mcp: {name}": script for name, script in MCP.items()} | own


CASES = [
    pytest.param(app, script, id=f"{app}-{name}")
    for app in APPS
    for name, script in scripts_of(app).items()
]


@pytest.mark.parametrize(("app", "script"), CASES)
def test_frames_are_those_of_openenv(
    servers: Callable[[str], Pair], app: str, script: Script
) -> None:
    both = servers(app)
    assert transcript(both.kit.url, script) == transcript(both.stock.url, script)


@pytest.mark.parametrize("name", RPC)
def test_frames_of_the_json_rpc_socket_are_those_of_openenv(
    servers: Callable[[str], Pair], name: str
) -> None:
    both = servers("tools:app")
    expected = transcript(both.stock.url, RPC[name], "/mcp")
    assert transcript(both.kit.url, RPC[name], "/mcp") == expected


@pytest.mark.parametrize("app", ["tasks:app", "tasks:plain"])
@pytest.mark.parametrize("name", TASKS)
def test_steps_run_in_a_task_as_those_of_openenv_do(
    servers: Callable[[str], Pair], app: str, name: str
) -> None:
    both = servers(app)
    assert transcript(both.kit.url, TASKS[name]) == transcript(both.stock.url, TASKS[name])


@pytest.mark.parametrize("app", APPS)
def test_there_are_enough_scripts(app: str) -> None:
    assert len(scripts_of(app)) >= 60
