"""Admission control: every WebSocket session takes a place before the upgrade and releases it at its end.

A worker listens on two ports. On its own port, which only the load balancer uses, a full worker
rejects the upgrade with 503, and the balancer tries another worker. On the port that all workers
share, for direct clients, it accepts the upgrade and sends OpenEnv's CAPACITY_REACHED error.
"""

import contextlib
from enum import Enum

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmark.server import messages
from benchmark.server.messages import ErrorCode
from benchmark.server.places import Places

ERROR_HEADER = b"x-openenv-error"


class Refusal(Enum):
    """Why a session was refused; the value is the message for the client."""

    FULL = "Server at capacity: {used}/{limit} sessions active. Cannot accept new connections."
    DRAINING = "Server is draining and accepts no new sessions."

    def message(self, places: Places) -> str:
        return self.value.format(used=places.used, limit=places.limit)

    def frame(self, places: Places) -> bytes:
        details = {"active_sessions": places.used, "max_sessions": places.limit}
        return messages.error(ErrorCode.CAPACITY_REACHED, self.message(places), **details)


class Admission:
    """ASGI middleware for any app that serves WebSocket sessions; `reason` says why the app does."""

    def __init__(self, app: ASGIApp, places: Places, reason: str = "") -> None:
        self.app = app
        self.places = places
        self.reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
        elif self.places.take():
            try:
                await self.app(scope, receive, send)
            finally:
                self.places.release()
        else:
            await self.refuse(scope, receive, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = Refusal.DRAINING if self.places.draining else Refusal.FULL
        frame = refusal.frame(self.places)
        await receive()
        if refusal is Refusal.DRAINING or self._from_balancer(scope):
            await _reject_upgrade(frame, send)
        else:
            await send_error(frame, send)

    def _from_balancer(self, scope: Scope) -> bool:
        server = scope.get("server")
        return server is not None and server[1] == self.places.own_port


async def _reject_upgrade(frame: bytes, send: Send) -> None:
    headers = [
        (ERROR_HEADER, ErrorCode.CAPACITY_REACHED.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(frame)).encode()),
    ]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": frame})


async def send_error(frame: bytes, send: Send) -> None:
    with contextlib.suppress(OSError):  # the client may disconnect
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": frame.decode()})
        await send({"type": "websocket.close", "code": 1000})
