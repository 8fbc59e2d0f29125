"""Admission: one place a WebSocket session, taken before the upgrade and given back at its end.

A worker listens on two ports. On its own port only the balancer calls: when no place is free it is
refused with 503 before the upgrade, and the balancer tries another worker. On the port that all
workers share, clients call directly: they are told CAPACITY_REACHED as OpenEnv tells it, in a
frame after the upgrade.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmark.server import protocol
from benchmark.server.places import Places

REFUSAL_HEADER = b"x-openenv-error"


class Admission:
    """ASGI middleware; works for any app that speaks WebSocket."""

    def __init__(self, app: ASGIApp, places: Places) -> None:
        self.app = app
        self.places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
        elif self.places.take():
            try:
                await self.app(scope, receive, send)
            finally:
                self.places.release()
        elif self.places.draining or _came_by_balancer(scope, self.places):
            await _refuse_before_upgrade(self._frame(), receive, send)
        else:
            await _refuse_in_frame(self._frame(), receive, send)

    def _frame(self) -> bytes:
        active, limit = self.places.used, self.places.limit
        if self.places.draining:
            message = "Server is draining and takes no new sessions"
        else:
            message = f"Server at capacity: {active}/{limit} sessions active. Cannot accept new connections."
        return protocol.error(
            "CAPACITY_REACHED", message, active_sessions=active, max_sessions=limit
        )


def _came_by_balancer(scope: Scope, places: Places) -> bool:
    server = scope.get("server")
    return server is not None and server[1] == places.own_port


async def _refuse_before_upgrade(frame: bytes, receive: Receive, send: Send) -> None:
    await receive()
    headers = [
        (REFUSAL_HEADER, b"CAPACITY_REACHED"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(frame)).encode()),
    ]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": frame})


async def _refuse_in_frame(frame: bytes, receive: Receive, send: Send) -> None:
    await receive()
    try:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": frame.decode()})
        await send({"type": "websocket.close", "code": 1000})
    except OSError:
        return  # the client has gone: nobody is left to be told
