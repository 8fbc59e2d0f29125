"""Sessions that live across requests, on the shared port of a server with several workers, without Envoy."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from benchmark.server.engine import session_id
from tests.helpers.local import Server, wait_for
from tests.helpers.mcp import CLOSE, create, keep_counting, rpc
from tests.helpers.openenv_apps import kit

MCP_SESSIONS = 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with kit("tools:app", tmp_path, WORKERS=2, MAX_CONCURRENT_ENVS=1000) as server:
        yield server


def owner(name: str) -> int:
    """The index of the worker that owns the session."""
    found = session_id.owner(name)
    assert found is not None
    return found[1] - 8002


def one_of_each_worker(server: Server) -> list[str]:
    names: dict[int, str] = {}
    while len(names) < 2:
        name = create(server.url)
        names[owner(name)] = name
    return [names[0], names[1]]


def pid(server: Server, index: int) -> int:
    return int(server.ready()["workers"][index]["pid"])


def add(server: Server, name: str, amount: int, by: requests.Session | None = None) -> Any:
    arguments = {"session_id": name, "name": "add", "arguments": {"amount": amount}}
    return rpc(server.url, "tools/call", by, **arguments)


def total(reply: Any) -> int:
    return int(reply["result"]["structured_content"]["result"])


def attach(server: Server, name: str) -> websocket.WebSocket:
    url = f"ws://{server.address}:8000/ws?session_id={name}"
    return websocket.create_connection(url, timeout=30)


def error_of_websocket(server: Server, name: str) -> str:
    connection = attach(server, name)
    message = str(json.loads(connection.recv())["data"]["message"])
    connection.close()
    return message


@pytest.mark.parametrize("workers", [2, 4])
def test_every_mcp_session_keeps_its_environment(tmp_path: Path, workers: int) -> None:
    used: list[int] = []

    async def count_places() -> None:
        used.extend(worker["used"] for worker in server.ready()["workers"])

    with kit("tools:app", tmp_path, WORKERS=workers, MAX_CONCURRENT_ENVS=1000) as server:
        asyncio.run(keep_counting(server.url, MCP_SESSIONS, count_places))
        assert sum(used) == MCP_SESSIONS
        assert all(used), "every worker has some of the sessions"
        wait_for(lambda: server.ready()["used"] == 0, 10, "all places are free")


def test_requests_of_any_connection_reach_the_owner(server: Server) -> None:
    names = one_of_each_worker(server)
    with requests.Session() as client:  # one connection for both sessions in turn
        for calls in range(1, 11):
            assert [total(add(server, name, 3, by=client)) for name in names] == [3 * calls] * 2
    for calls in range(11, 21):  # a new connection for each request
        assert [total(add(server, name, 3)) for name in names] == [3 * calls] * 2
    for name in names:
        assert rpc(server.url, CLOSE, session_id=name)["result"]["closed"] is True
        assert add(server, name, 3)["error"]["message"] == f"Unknown session_id: {name}"


def test_large_and_chunked_requests_reach_the_owner(server: Server) -> None:
    for name in one_of_each_worker(server):
        parameters = {"session_id": name, "name": "add", "arguments": {"amount": 1}}
        parameters["padding"] = "x" * 3_000_000
        request = {"jsonrpc": "2.0", "method": "tools/call", "params": parameters, "id": 1}
        body = json.dumps(request).encode()
        for calls in range(1, 12, 2):
            for sent, data in enumerate((body, iter([body[:2_000_000], body[2_000_000:]]))):
                reply = requests.post(f"{server.url}/mcp", data=data, timeout=30).json()
                assert total(reply) == calls + sent


def test_websockets_reach_the_owner(server: Server) -> None:
    for name in one_of_each_worker(server):
        for calls in range(1, 9):
            connection = attach(server, name)
            step = {"type": "call_tool", "tool_name": "add", "arguments": {"amount": 2}}
            connection.send(json.dumps({"type": "step", "data": step}))
            data = json.loads(connection.recv())["data"]
            assert data["observation"]["result"]["data"] == 2 * calls
            connection.close()
            wait_for(lambda: "error" not in add(server, name, 0), 5, "it is detached")  # noqa: B023


def test_connections_wait_for_an_owner_that_is_busy(server: Server) -> None:
    first, _ = one_of_each_worker(server)
    os.kill(pid(server, 0), signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(600) as pool:
            replies = [pool.submit(add, server, first, 1) for _ in range(600)]
            # The other worker still serves, also after it has handed over more than an inbox holds.
            wait_for(lambda: any(owner(create(server.url)) for _ in range(3)), 10, "it serves")
            os.kill(pid(server, 0), signal.SIGCONT)
            assert {total(reply.result()) for reply in replies} == set(range(1, 601))
    finally:
        os.kill(pid(server, 0), signal.SIGCONT)


def test_sessions_of_a_dead_worker_are_unknown(server: Server) -> None:
    first, second = one_of_each_worker(server)
    dead = pid(server, 0)
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: pid(server, 0) not in (0, dead), 20, "the worker is replaced")
    for _ in range(8):
        assert add(server, first, 1)["error"]["message"] == f"Unknown session_id: {first}"
        assert error_of_websocket(server, first) == f"Unknown session_id: {first}"
        assert "error" not in add(server, second, 1)


@pytest.mark.parametrize("port", [8002, 8003, 8000, 1, 65_535])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.9.8.7"])
def test_forged_ids_are_unknown(server: Server, address: str, port: int) -> None:
    for name in (session_id.make(address, port), str(uuid.uuid4())):
        for _ in range(3):
            assert add(server, name, 1)["error"]["message"] == f"Unknown session_id: {name}"
            assert error_of_websocket(server, name) == f"Unknown session_id: {name}"
