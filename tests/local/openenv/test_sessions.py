"""Sessions of unmodified OpenEnv apps: how many there are, what they share, and how they end."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from websocket import ABNF

from tests.helpers.local import deployed, places_used, Server, wait_for
from tests.helpers.mcp import keep_counting, rpc
from tests.helpers.openenv_apps import APPS, kit

OWN_APP = """
import time
from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State

class Own(Environment):
    {attributes}
    def __init__(self):
        super().__init__()
        {constructor}
    def reset(self, seed=None, episode_id=None, **_):
        return Observation()
    def step(self, action, timeout_s=None, **_):
        return Observation(reward=1.0)
    @property
    def state(self):
        return State()

app = create_app(Own, Action, Observation)
"""
MCP_SESSIONS = 200


def own_app(folder: Path, attributes: str = "pass", constructor: str = "pass") -> dict[str, Any]:
    text = OWN_APP.format(attributes=attributes, constructor=constructor)
    (folder / "own.py").write_text(text)
    return {"PYTHONPATH": folder}


def connect(server: Server, query: str = "") -> websocket.WebSocket:
    return websocket.create_connection(f"ws://{server.address}:8000/ws{query}", timeout=20)


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Server]:
    with kit("tools:app", tmp_path, MAX_CONCURRENT_ENVS=3) as server:
        yield server


def test_every_mcp_session_keeps_its_environment_through_envoy(tmp_path: Path) -> None:
    counted: list[int] = []

    async def count_places() -> None:
        counted.append(await asyncio.to_thread(places_used, deployment))

    environment = os.environ | {"PYTHONPATH": str(APPS)}
    size = ("--nodes", "3", "--workers-per-node", "2", "--app", "tools:app")
    with deployed(tmp_path, "tools", *size, env=environment) as deployment:
        asyncio.run(keep_counting(deployment.url, MCP_SESSIONS, count_places))
        assert counted == [MCP_SESSIONS]
        wait_for(lambda: places_used(deployment) == 0, 10, "all places are free")


def test_http_sessions_take_places_until_they_are_closed(tools: Server) -> None:
    names = [rpc(tools.url, "openenv/session/create")["result"]["session_id"] for _ in range(3)]
    assert tools.ready()["used"] == 3
    refused = rpc(tools.url, "openenv/session/create")["error"]
    assert refused["data"] == {"active_sessions": 3, "max_sessions": 3}
    for name in names:
        assert rpc(tools.url, "openenv/session/close", session_id=name)["result"]["closed"] is True
    assert tools.ready()["used"] == 0
    unknown = rpc(tools.url, "tools/call", name="add", session_id=names[0])["error"]
    assert unknown["message"] == f"Unknown session_id: {names[0]}"


def test_idle_http_sessions_are_reclaimed(tmp_path: Path) -> None:
    with kit("tools:app", tmp_path, "--idle-timeout", "0.5") as server:
        name = rpc(server.url, "openenv/session/create")["result"]["session_id"]
        wait_for(lambda: server.ready()["used"] == 0, 20, "the session is reclaimed")
        assert (
            "Unknown session_id"
            in rpc(server.url, "tools/list", session_id=name)["error"]["message"]
        )


def test_idle_connections_are_closed_also_those_attached_to_http_sessions(tmp_path: Path) -> None:
    with kit("tools:app", tmp_path, "--idle-timeout", "4", WORKERS=1) as server:
        name = rpc(server.url, "openenv/session/create")["result"]["session_id"]
        for connection in [connect(server, query) for query in ("", f"?session_id={name}")]:
            reply = json.loads(connection.recv())
            assert reply["data"]["message"] == "The session received no message for 4 s."
            connection.close()
        wait_for(lambda: server.ready()["used"] == 0, 20, "the places are free")


def test_an_app_that_allows_one_session_has_one_place_per_worker(tmp_path: Path) -> None:
    variables = own_app(tmp_path) | {"WORKERS": 2, "MAX_CONCURRENT_ENVS": 100}
    with kit("own:app", tmp_path, **variables) as server:
        assert server.ready()["max_sessions"] == 2


def test_an_app_with_openenvs_default_cap_gets_the_places_of_the_deployment(tmp_path: Path) -> None:
    variables = own_app(tmp_path, "SUPPORTS_CONCURRENT_SESSIONS = True")
    with kit("own:app", tmp_path, MAX_CONCURRENT_ENVS=20, **variables) as server:
        sessions = [connect(server) for _ in range(16)]
        for session in sessions:
            session.send('{"type":"reset"}')
        assert {json.loads(session.recv())["type"] for session in sessions} == {"observation"}
        for session in sessions:
            session.close()


def test_a_failing_constructor_ends_the_server_with_its_cause(tmp_path: Path) -> None:
    variables = own_app(tmp_path, constructor="raise OSError('no licence')") | {"WORKERS": 1}
    with kit("own:app", tmp_path, wait=False, **variables) as server:
        assert server.process.wait(30) == 1
        log = server.log.read_text()
    assert "error: own:app: Environment factory 'Own' failed to create instance: OSError" in log
    assert "no licence" in log
    assert "Traceback" not in log


def test_strict_sessions_refuse_a_step_before_the_first_reset(tmp_path: Path) -> None:
    with kit("own:app", tmp_path, "--strict-sessions", **own_app(tmp_path)) as server:
        session = connect(server)
        session.send('{"type":"step","data":{}}')
        reply = json.loads(session.recv())
        assert reply["data"]["code"] == "EXECUTION_ERROR"
        assert "has not been reset" in reply["data"]["message"]
        for frame in ('{"type":"reset"}', '{"type":"step","data":{}}'):
            session.send(frame)
            assert json.loads(session.recv())["type"] == "observation"
        session.close()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_step_that_waits_cleans_up_when_its_client_leaves(tmp_path: Path, at_once: bool) -> None:
    """`at_once`: before the step's task has had a turn of the event loop."""
    events = tmp_path / "events"
    step = json.dumps({"type": "step", "data": {"what": "cleanup", "seconds": 60}})
    contents = (step, ABNF.OPCODE_TEXT), (b"", ABNF.OPCODE_CLOSE)
    frames = [ABNF.create_frame(*content).format() for content in contents]
    with kit("tasks:app", tmp_path, EVENTS=events) as server:
        connection = connect(server)
        connection.send('{"type":"reset","data":{}}')
        connection.recv()
        for frame in [b"".join(frames)] if at_once else frames:
            connection.sock.sendall(frame)
        wait_for(lambda: events.exists() and events.read_text(), 10, "the step has cleaned up")
        connection.shutdown()
        assert events.read_text() == "cleaned up\n"
        wait_for(lambda: server.ready()["used"] == 0, 10, "the place is free")
