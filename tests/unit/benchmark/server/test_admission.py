"""Admission: who gets a place, and how a session is refused."""

import asyncio
import json
from typing import Any

import pytest

from benchmark.server.admission import Admission
from benchmark.server.places import Board, Places

OWN_PORT, SHARED_PORT = 8002, 8000


def full_places() -> Places:
    places = Places(3)
    places.publish(Board.create(2), 1, OWN_PORT)
    assert all(places.take() for _ in range(3))
    return places


def drain(places: Places) -> None:
    assert places._board is not None
    places._board.draining = True


def connect(places: Places, port: int | None = SHARED_PORT, kind: str = "websocket") -> Any:
    """The messages that a client gets, and how many places were used while the app ran."""
    sent: list[dict[str, Any]] = []
    used: list[int] = []
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        used.append(places.used)
        assert scope["type"] == kind
        await receive()
        await send({"type": "from the app"})

    async def receive() -> Any:
        assert not sent
        received.append("websocket.connect")
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "server": None if port is None else ("10.0.0.1", port)}
    asyncio.run(Admission(app, places)(scope, receive, send))
    assert len(received) == 1
    return sent, used


def refusal_before_upgrade(sent: list[dict[str, Any]]) -> dict[str, Any]:
    start, body = sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert dict(start["headers"]) == {
        b"x-openenv-error": b"CAPACITY_REACHED",
        b"content-type": b"application/json",
        b"content-length": str(len(body["body"])).encode(),
    }
    assert body["type"] == "websocket.http.response.body"
    reply: dict[str, Any] = json.loads(body["body"])
    return reply


def error(message: str, used: int, limit: int) -> dict[str, Any]:
    data = {"message": message, "code": "CAPACITY_REACHED"}
    return {
        "type": "error",
        "data": {**data, "active_sessions": used, "max_sessions": limit},
    }


FULL = error(
    "Server at capacity: 3/3 sessions active. Cannot accept new connections.", used=3, limit=3
)


@pytest.mark.parametrize("port", [OWN_PORT, SHARED_PORT])
def test_a_session_holds_one_place_while_the_app_runs(port: int) -> None:
    places = Places(3)
    places.publish(Board.create(1), 0, OWN_PORT)
    assert connect(places, port) == ([{"type": "from the app"}], [1])
    assert (places.used, places.refused) == (0, 0)


def test_a_session_releases_its_place_when_the_app_fails() -> None:
    places = Places(1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    async def unused(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(Admission(app, places)({"type": "websocket"}, unused, unused))
    assert (places.used, places.refused) == (0, 0)


@pytest.mark.parametrize("kind", ["http", "lifespan"])
def test_only_sessions_take_places(kind: str) -> None:
    places = full_places()
    assert connect(places, kind=kind) == ([{"type": "from the app"}], [3])
    assert (places.used, places.refused) == (3, 0)


def test_a_full_worker_rejects_the_upgrade_of_the_balancer() -> None:
    places = full_places()
    sent, used = connect(places, OWN_PORT)
    assert refusal_before_upgrade(sent) == FULL
    assert (used, places.used, places.refused) == ([], 3, 1)


@pytest.mark.parametrize("port", [SHARED_PORT, OWN_PORT + 1, None])
def test_a_full_worker_sends_an_error_frame_to_a_direct_client(port: int | None) -> None:
    places = full_places()
    sent, used = connect(places, port)
    accept, frame, close = sent
    assert accept == {"type": "websocket.accept"}
    assert (frame["type"], json.loads(frame["text"])) == ("websocket.send", FULL)
    assert close == {"type": "websocket.close", "code": 1000}
    assert (used, places.used, places.refused) == ([], 3, 1)


@pytest.mark.parametrize("port", [OWN_PORT, SHARED_PORT, None])
def test_a_draining_server_rejects_every_upgrade(port: int | None) -> None:
    places = Places(5)
    places.publish(Board.create(1), 0, OWN_PORT)
    assert places.take()
    drain(places)
    sent, used = connect(places, port)
    message = "Server is draining and accepts no new sessions."
    assert refusal_before_upgrade(sent) == error(message, used=1, limit=5)
    assert (used, places.used, places.refused) == ([], 1, 1)


def test_a_full_server_that_drains_reports_that_it_drains() -> None:
    places = full_places()
    drain(places)
    sent, _ = connect(places, OWN_PORT)
    assert "draining" in refusal_before_upgrade(sent)["data"]["message"]


def test_a_direct_client_may_disconnect_while_it_is_refused() -> None:
    steps: list[str] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        steps.append(message["type"])
        if message["type"] == "websocket.send":
            raise BrokenPipeError

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    scope = {"type": "websocket", "server": ("10.0.0.1", SHARED_PORT)}
    asyncio.run(Admission(app, full_places())(scope, receive, send))
    assert steps == ["websocket.accept", "websocket.send"]
