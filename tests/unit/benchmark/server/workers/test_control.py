"""The control port's view of its workers."""

import json
import os
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from benchmark.server.places import Board, Slot
from benchmark.server.workers.control import ControlServer, HUNG_SECONDS


@pytest.fixture
def board() -> Board:
    board = Board.create(12)
    for index in range(12):
        alive(board, index)
    return board


@pytest.fixture
def control(board: Board) -> Iterator[ControlServer]:
    with ControlServer("127.0.0.1", 0, board) as server:
        yield server


@pytest.fixture
def running(control: ControlServer) -> Iterator[ControlServer]:
    control.start()
    yield control
    control.shutdown()


def alive(board: Board, index: int, seconds_ago: float = 0.0, used: int = 0) -> None:
    board.write(index, Slot(time.monotonic() - seconds_ago, os.getpid(), used, 5, index))


def get(control: ControlServer, path: str, host: str = "x") -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{control.server_port}{path}"
    try:
        with urlopen(Request(url, headers={"Host": host}), timeout=10) as response:
            return response.status, response.read()
    except HTTPError as failure:
        return failure.code, failure.read()


def test_a_server_is_healthy_while_all_workers_are(board: Board, control: ControlServer) -> None:
    assert control.healthy("")
    board.clear(11)
    assert not control.healthy("")
    assert not control.healthy("10.0.0.1:8001")


@pytest.mark.parametrize("host", ["worker-1", "worker-1:8001"])
def test_the_host_header_selects_a_worker(board: Board, control: ControlServer, host: str) -> None:
    board.clear(11)
    assert control.healthy(host)
    board.clear(1)
    assert not control.healthy(host)
    alive(board, 1)
    alive(board, 11)
    assert control.healthy(host)


@pytest.mark.parametrize("host", ["worker-12", "worker-", "worker--1", "worker-x", "node-1", "1"])
def test_any_other_host_stands_for_all_workers(
    board: Board, control: ControlServer, host: str
) -> None:
    assert control.healthy(host)
    board.clear(7)
    assert not control.healthy(host)


def test_the_last_worker_can_be_selected(board: Board, control: ControlServer) -> None:
    board.clear(0)
    assert control.healthy("worker-11")


@pytest.mark.parametrize(("late", "healthy"), [(-1.0, True), (1.0, False)])
def test_a_worker_is_hung_after_30_seconds(
    board: Board, control: ControlServer, late: float, healthy: bool
) -> None:
    assert HUNG_SECONDS == 30.0
    alive(board, 3, 30.0 + late)
    assert control.healthy("worker-3") is healthy


def test_a_draining_server_is_not_healthy(board: Board, control: ControlServer) -> None:
    board.draining = True
    assert not control.healthy("worker-1")
    assert not control.healthy("")


def test_health_and_readiness_are_http_statuses(board: Board, running: ControlServer) -> None:
    assert get(running, "/health", "worker-1") == (200, b'{"status": "healthy"}')
    board.clear(1)
    board.activity = "a worker starts"
    assert get(running, "/health", "worker-1") == (503, b'{"status": "unhealthy"}')
    assert get(running, "/health", "worker-2")[0] == 200
    status, body = get(running, "/ready")
    assert (status, json.loads(body)["ready"]) == (503, False)
    assert json.loads(body)["waits_for"] == "a worker starts"
    alive(board, 1, used=2)
    status, body = get(running, "/ready")
    assert (status, json.loads(body)["free"], json.loads(body)["used"]) == (200, 58, 2)
    assert get(running, "/nothing")[0] == 404


def test_metrics_have_a_series_for_each_running_worker(
    board: Board, running: ControlServer
) -> None:
    alive(board, 2, 10.0, used=3)
    board.clear(1)
    status, body = get(running, "/metrics")
    values = dict(
        line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")
    )
    assert status == 200
    assert values['openenv_places_used{worker="2"}'] == "3.0"
    assert values['openenv_places_limit{worker="2"}'] == "5.0"
    assert values['openenv_places_refused_total{worker="2"}'] == "2.0"
    assert 10.0 <= float(values['openenv_worker_alive_age_seconds{worker="2"}']) < 30.0
    assert float(values['openenv_worker_resident_memory_bytes{worker="0"}']) > 1 << 20
    assert 3 <= float(values['openenv_worker_open_fds{worker="0"}']) < 10_000
    assert 0.0 < float(values['openenv_worker_cpu_seconds_total{worker="0"}']) < 10_000.0
    assert values["openenv_draining"] == "0.0"
    assert not any('worker="1"' in name for name in values)
