"""Sessions made by HTTP: ids that name no session, a worker that dies, and what a thousand leave behind."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests

from benchmark.server.engine.session_id import make
from tests.helpers.envoy import envoy_before
from tests.helpers.local import Server, wait_for
from tests.helpers.openenv_apps import kit
from tests.helpers.wire import connect, receive

SECONDS = 10.0  # a reply takes milliseconds
SESSIONS = 1000


class Rpc:
    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()

    def __call__(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        request = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}
        response = self._http.post(f"{self.url}/mcp", json=request, timeout=SECONDS)
        assert response.status_code == 200
        return dict(response.json())

    def create(self) -> str:
        return str(self("openenv/session/create")["result"]["session_id"])

    def add(self, name: str) -> int:
        content = self("tools/call", name="add", arguments={"amount": 1}, session_id=name)
        return int(content["result"]["content"][0]["text"])

    def attach(self, name: str) -> list[str]:
        """What a WebSocket receives that wants to attach to the session."""
        connection = connect(self.url, f"/ws?session_id={quote(name)}")
        try:
            return [receive(connection), receive(connection)]
        finally:
            connection.shutdown()

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """The first two belong to one deployment, the third to another."""
    folder = tmp_path_factory.mktemp("servers")
    with (
        kit("tools:app", folder) as one,
        kit("tools:app", folder) as two,
        kit("tools:app", folder) as other,
    ):
        yield [one, two, other]


@pytest.fixture(scope="module", params=["directly", "through Envoy"])
def rpc(
    request: pytest.FixtureRequest,
    servers: list[Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rpc]:
    if request.param == "directly":
        rpc = Rpc(servers[0].url)
        yield rpc
    else:
        with envoy_before(servers[:2], tmp_path_factory.mktemp("envoy")) as url:
            rpc = Rpc(url)
            yield rpc
    rpc.close()


def assert_unknown(rpc: Rpc, name: str) -> None:
    for method in ("tools/list", "tools/call", "openenv/session/close"):
        error = rpc(method, name="add", arguments={"amount": 1}, session_id=name)["error"]
        assert (error["code"], error["message"]) == (-32602, f"Unknown session_id: {name}")
    frame, end = rpc.attach(name)
    data = json.loads(frame)["data"]
    assert data["code"] == "SESSION_ERROR"
    assert data["message"].startswith("Unknown session_id: ")
    assert end == "closed 1000"


def forged(server: Server) -> list[str]:
    known = uuid.uuid4()
    return [
        str(known),
        make(server.address, 8002),
        make(server.address, 8000),
        make("10.255.255.1", 8002),
        f"{known}.127.0.0.1-99999",
        f"{known}.",
        "..",
        "%00",
        "' .. os.exit() .. '",
        "ü 漢",
        "x" * 5000,
    ]


def test_forged_ids_are_unknown(rpc: Rpc, servers: list[Server]) -> None:
    for name in forged(servers[0]):
        assert_unknown(rpc, name)
    name = rpc.create()
    assert [rpc.add(name), rpc.add(name)] == [1, 2]
    assert_unknown(rpc, str(uuid.uuid4()) + name[36:])
    assert rpc.add(name) == 3
    assert rpc("openenv/session/close", session_id=name)["result"]["closed"] is True
    assert_unknown(rpc, name)


def test_ids_of_another_deployment_are_unknown_and_its_session_is_untouched(
    rpc: Rpc, servers: list[Server]
) -> None:
    elsewhere = Rpc(servers[2].url)
    name = elsewhere.create()
    assert elsewhere.add(name) == 1
    assert_unknown(rpc, name)
    assert elsewhere.add(name) == 2
    elsewhere("openenv/session/close", session_id=name)
    elsewhere.close()


def test_a_session_of_a_dead_worker_is_unknown_and_the_log_names_it(
    rpc: Rpc, servers: list[Server]
) -> None:
    name = rpc.create()
    owner = next(each for each in servers if f".{each.address}-" in name)
    assert rpc.add(name) == 1
    before = owner.ready()["workers"][0]["pid"]
    request = {"jsonrpc": "2.0", "method": "tools/call", "id": 1}
    request["params"] = {"name": "crash", "arguments": {}, "session_id": name}
    try:
        status = requests.post(f"{rpc.url}/mcp", json=request, timeout=SECONDS).status_code
    except requests.ConnectionError:
        status = 0
    assert status in (0, 502, 503)

    def replaced() -> bool:
        ready = owner.ready()
        return bool(ready["ready"] and ready["workers"][0]["pid"] != before)

    wait_for(replaced, 30, "the worker is replaced")
    line = (
        rf"worker 0 \(pid {before}\) was killed by SIGKILL; 1 session is lost; code was running in"
    )
    assert re.search(rf"{line} {re.escape(name)} \(step\); restarting it", owner.log.read_text())
    wait_for(lambda: unknown(rpc, name), 10, "a worker answers for the dead one")
    assert_unknown(rpc, name)
    again = rpc.create()
    assert rpc.add(again) == 1
    rpc("openenv/session/close", session_id=again)


def unknown(rpc: Rpc, name: str) -> bool:
    return "Unknown session_id" in rpc("tools/list", session_id=name)["error"]["message"]


def test_a_thousand_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    with kit("tools:app", tmp_path, MAX_CONCURRENT_ENVS=3) as server:
        rpc = Rpc(server.url)
        worker = psutil.Process(server.ready()["workers"][0]["pid"])

        def open_and_close(count: int) -> tuple[int, int, int]:
            for _ in range(count):
                name = rpc.create()
                assert rpc("openenv/session/close", session_id=name)["result"]["closed"] is True
            return worker.num_threads(), worker.num_fds(), worker.memory_info().rss

        # Until then, memory grows: the garbage collector of a worker runs rarely.
        threads, descriptors, memory = open_and_close(1500)
        now = open_and_close(SESSIONS)
        assert now[0] <= threads + 2
        assert now[1] <= descriptors + 2
        assert now[2] <= memory + SESSIONS * 5_000
        assert server.ready()["used"] == 0
        names = [rpc.create() for _ in range(3)]
        assert [rpc.add(name) for name in names] == [1, 1, 1]
        rpc.close()
