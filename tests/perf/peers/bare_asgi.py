"""`tests.perf.peers.bare_asgi:app`: the same messages as an ASGI app without any framework."""

import asyncio
from typing import Any

import orjson

from tests.perf.peers.messages import encoded, new_hash


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await _session(receive, send)
    elif scope["type"] == "http":
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": b"{}"})
    else:
        await _lifespan(receive, send)


async def _session(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    name, steps = new_hash(), 0
    while (event := await receive())["type"] == "websocket.receive":
        message = orjson.loads(event.get("text") or event["bytes"])
        if message["type"] == "close":
            await send({"type": "websocket.close", "code": 1000})
            return
        wait = message["data"].get("wait_seconds", 0.0) if message["type"] == "step" else 0.0
        if wait > 0:
            await asyncio.sleep(wait)
        steps = steps + 1 if message["type"] == "step" else 0
        await send({"type": "websocket.send", "text": encoded(name, wait, steps).decode()})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
