"""One WebSocket session: frames in, replies out, until either side ends it."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmark.server import protocol
from benchmark.server.environment import WaitEnvironment
from benchmark.server.protocol import Refused


class Session:
    """Answers one frame after another. A client that leaves while a step waits ends the step."""

    def __init__(self, websocket: WebSocket, environment: WaitEnvironment) -> None:
        self._websocket = websocket
        self._environment = environment
        self._next_frame: asyncio.Task[str] | None = None

    async def run(self) -> None:
        await self._websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            try:
                await self._answer_until_closed()
            finally:
                if self._next_frame is not None:
                    self._next_frame.cancel()
            await self._websocket.close()

    async def _answer_until_closed(self) -> None:
        while True:
            try:
                kind, payload = protocol.parse(await self._receive())
                if kind == "close":
                    return
                reply = await self._reply(kind, payload)
            except Refused as refused:
                await self._websocket.send_text(refused.frame())
                if refused.fatal:
                    return
            else:
                await self._websocket.send_text(reply)

    async def _reply(self, kind: str, payload: Any) -> str:
        if kind == "state":
            return protocol.state(self._environment.state)
        try:
            if kind == "reset":
                return protocol.observation(self._environment.reset(**payload))
            if payload > 0:
                return protocol.observation(await self._unless_client_leaves(payload))
            return protocol.observation(await self._environment.step(payload))
        except WebSocketDisconnect:
            raise
        except Exception as failure:
            raise Refused("EXECUTION_ERROR", str(failure)) from failure

    async def _unless_client_leaves(self, wait_seconds: float) -> dict[str, Any]:
        step = asyncio.ensure_future(self._environment.step(wait_seconds))
        if self._next_frame is None:
            self._next_frame = _task(_text(self._websocket))
        try:
            await asyncio.wait({step, self._next_frame}, return_when=asyncio.FIRST_COMPLETED)
            if self._next_frame.done():
                left = self._next_frame.exception()
                if isinstance(left, WebSocketDisconnect):
                    raise left
            return await step
        finally:
            step.cancel()

    async def _receive(self) -> str:
        if self._next_frame is None:
            return await _text(self._websocket)
        frame, self._next_frame = self._next_frame, None
        return await frame


async def _text(websocket: WebSocket) -> str:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None:
        raise Refused("SESSION_ERROR", "a message must be a text frame, not binary", fatal=True)
    return str(text)


def _task(coroutine: Coroutine[Any, Any, str]) -> asyncio.Task[str]:
    return asyncio.get_running_loop().create_task(coroutine)
