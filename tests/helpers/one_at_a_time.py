"""An app that serves one step at a time for exactly SERVICE_SECONDS, like the D/1 part of a queue."""

import asyncio
import os
import time
from typing import Any

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

SERVICE_SECONDS = float(os.environ.get("SERVICE_SECONDS", "0.02"))

app = FastAPI()


class Counter:
    """Ends steps at absolute times, because the delays of relative sleeps would add up."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def serve(self) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + SERVICE_SECONDS
        await asyncio.sleep(self._free_at - now)
        print("served", time.time(), flush=True)


counter = Counter()


@app.get("/schema")
async def schema() -> dict[str, Any]:
    return {"action": {}, "observation": {}, "state": {}}


async def session(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while (request := await websocket.receive_json())["type"] != "close":
            if request["type"] == "step":
                await counter.serve()
            data = {"observation": {"host_url": "one:8000"}, "reward": None, "done": False}
            await websocket.send_json({"type": "observation", "data": data})
        await websocket.close()
    except WebSocketDisconnect:
        return


app.router.add_websocket_route("/ws", session)
