"""Real processes on loopback addresses of their own."""

import contextlib
import os
import random
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.helpers.local import (
    deployed,
    Deployment,
    MARK,
    processes_of,
    Server,
    serving,
    serving_stock,
)

# A script's background job ignores SIGINT, and a job under nohup ignores SIGHUP. Processes that tests
# start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever tests start is gone when they are done."""
    mark = f"run-{os.getpid()}"
    before = os.environ.get("XDG_STATE_HOME")
    os.environ[MARK] = mark
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    del os.environ[MARK]
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    left = processes_of(mark)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert not left, f"still running: {[(p.pid, p.name()) for p in left]}"


@pytest.fixture
def mark() -> Iterator[dict[str, str]]:
    """An environment whose processes can be told from all others; none may be left."""
    mark = f"test-{os.getpid()}-{random.randrange(10**9)}"
    yield os.environ | {MARK: mark}
    left = processes_of(mark)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert not left, f"still running: {[(p.pid, p.name()) for p in left]}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with one worker."""
    with serving(tmp_path_factory.mktemp("server"), "--drain", "0", WORKERS=1) as server:
        yield server


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_stock(tmp_path_factory.mktemp("stock")) as stock:
        yield stock


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Envoy and two servers with plenty of places."""
    folder = tmp_path_factory.mktemp("deployment")
    options = ["--nodes", "3", "--max-concurrent-envs", "8192", "--drain", "0"]
    with deployed(folder, "shared", *options) as deployment:
        yield deployment
