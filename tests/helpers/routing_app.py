"""An ASGI app that tells which worker answers. `POST /refuse` makes that worker refuse calls."""

import hashlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def tell(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"worker": worker(request), "digest": hashlib.sha256(body).hexdigest()})


def worker(connection: Request | WebSocket) -> str:
    address, port = connection.scope["server"]
    return f"{address}:{port}"


class Calls:
    """Answers POST /mcp and counts the calls."""

    def __init__(self) -> None:
        self.count, self.status, self.headers = 0, 0, dict[str, str]()

    async def answer(self, request: Request) -> Response:
        self.count += 1
        if self.status:
            return PlainTextResponse("refused", self.status, self.headers)
        return await tell(request)

    async def refuse(self, request: Request) -> Response:
        """From now on, calls are answered with the status (0: not refused) and the headers of this body."""
        self.status, self.headers = await request.json()
        return JSONResponse(self.count)


async def session(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"worker": worker(websocket)})
    await websocket.close()


calls = Calls()
app = Starlette(
    routes=[
        Route("/mcp", calls.answer, methods=["POST"]),
        Route("/refuse", calls.refuse, methods=["POST"]),
        WebSocketRoute("/ws", session),
        WebSocketRoute("/ws/ui", session),
        Route("/{path:path}", tell, methods=["GET", "POST"]),
    ]
)
