"""`uvicorn tests.perf.peers.plain:app`: the same messages over FastAPI, as its tutorial writes it."""

import asyncio

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.perf.peers.messages import new_hash, observation

app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.websocket("/ws")
async def session(websocket: WebSocket) -> None:
    await websocket.accept()
    name, steps = new_hash(), 0
    try:
        while True:
            message = await websocket.receive_json()
            if message["type"] == "close":
                await websocket.close()
                return
            wait = message["data"].get("wait_seconds", 0.0) if message["type"] == "step" else 0.0
            if wait > 0:
                await asyncio.sleep(wait)
            steps = steps + 1 if message["type"] == "step" else 0
            await websocket.send_json(observation(name, wait, steps))
    except WebSocketDisconnect:
        pass
