"""`tests.perf.peers.starlette_route:app`: the bare ASGI session behind FastAPI's routing and middleware."""

from typing import Any

from fastapi import FastAPI
from starlette.websockets import WebSocket

from tests.perf.peers.bare_asgi import app as bare

app = FastAPI()


async def session(websocket: WebSocket) -> None:
    await bare(dict(websocket.scope), websocket.receive, websocket.send)


@app.get("/health")
async def health() -> dict[str, Any]:
    return {}


app.router.add_websocket_route("/ws", session)
