"""Every client of OpenEnv with every way of serving, with the newest release and with an older one."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.helpers.local import deployed, Deployment, places_used, wait_for
from tests.helpers.openenv_apps import APPS
from tests.helpers.releases import clients_of, install_old, NEW, OLD, Release

SESSIONS = 12
# The clients of each app.
APP_CLIENTS = {
    "counting:blocking": ("GenericEnvClient", "CountingEnv", "AutoEnv"),
    "tools:app": ("MCPToolClient",),
}
WAYS = {
    "1 worker": ("--nodes", "1", "--workers-per-node", "1"),
    "2 workers": ("--nodes", "1", "--workers-per-node", "2"),
    "2 servers of 2 workers behind Envoy": ("--nodes", "3", "--workers-per-node", "2"),
}
# In an order in which one deployment after the other serves its cells.
CELLS = [
    pytest.param(release, way, app, client, id=f"{release.package}, {client}, {way}")
    for release, way, app in itertools.product((NEW, OLD), WAYS, APP_CLIENTS)
    for client in APP_CLIENTS[app]
]


class Latest:
    """Enters a context when it is first asked for, and leaves it when another is asked for."""

    def __init__(self, make: Callable[..., AbstractContextManager[Any]]) -> None:
        self._make, self._stack = make, contextlib.ExitStack()
        self._arguments: tuple[Any, ...] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._arguments != arguments:
            self.close()
            self._entered = self._stack.enter_context(self._make(*arguments))
            self._arguments = arguments
        return self._entered

    def close(self) -> None:
        self._arguments = None
        self._stack.close()


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Latest]:
    install_old()
    latest = Latest(lambda release: clients_of(release, tmp_path_factory.mktemp("clients")))
    with contextlib.closing(latest):
        yield latest


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Latest]:
    def deploy(release: Release, way: str, app: str) -> AbstractContextManager[Deployment]:
        folder = tmp_path_factory.mktemp("served")
        size = (*WAYS[way], "--app", app, "--drain", "0")
        environment = os.environ | {"PYTHONPATH": str(APPS)}
        return deployed(folder, folder.name, *size, env=environment, python=release.python)

    with contextlib.closing(Latest(deploy)) as latest:
        yield latest


@pytest.mark.parametrize(("release", "way", "app", "client"), CELLS)
def test_every_session_keeps_one_environment_and_is_counted(
    clients: Latest, deployment: Latest, release: Release, way: str, app: str, client: str
) -> None:
    served, connected = deployment(release, way, app), clients(release)
    client_class = "CountingEnv" if client == "AutoEnv" else client
    opened = connected.open(client, served.url, SESSIONS)
    assert opened == [client_class, release.package]
    assert places_used(served) == used_by_status(served) == SESSIONS
    assert connected.step() == [[n, 2 * n, 3 * n] for n in range(1, SESSIONS + 1)]
    wait_for(lambda: places_used(served) == 0, 10, "all places are free")


def used_by_status(served: Deployment) -> int:
    status = json.loads(served.run("status", served.name, "--json").stdout)
    return sum(counts["used"] for counts in status["places"].values())
