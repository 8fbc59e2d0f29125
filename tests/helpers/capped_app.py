"""An app with a WebSocket endpoint of its own, which admits CAP sessions in a process and refuses others
as OpenEnv does. Its steps need `{"move": …}` that matches PATTERN."""

import os
import re
from typing import Any

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

CAP = int(os.environ.get("CAP", "1"))
PATTERN = os.environ.get("PATTERN", "")

app = FastAPI()
opened: set[WebSocket] = set()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.get("/schema")
async def schema() -> dict[str, Any]:
    move = {"type": "string", "pattern": PATTERN}
    action = {"type": "object", "properties": {"move": move}, "required": ["move"]}
    return {"action": action, "observation": {}, "state": {}}


def reply(request: dict[str, Any]) -> dict[str, Any]:
    if request["type"] == "step" and not re.search(PATTERN or "^a$", request["data"]["move"]):
        return error("EXECUTION_ERROR", "this move is not allowed")
    return {"type": "observation", "data": {"observation": {}, "reward": None, "done": False}}


def error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code}}


async def session(websocket: WebSocket) -> None:
    await websocket.accept()
    if len(opened) >= CAP:
        await websocket.send_json(error("CAPACITY_REACHED", f"Server at capacity: {CAP}/{CAP}"))
        await websocket.close()
        return
    opened.add(websocket)
    try:
        while (request := await websocket.receive_json())["type"] != "close":
            await websocket.send_json(reply(request))
        await websocket.close()
    except WebSocketDisconnect:
        return
    finally:
        opened.discard(websocket)


app.router.add_websocket_route("/ws", session)
