"""One WebSocket session: frames in, replies out, until either side ends it."""

import asyncio
import contextlib
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmark.server import protocol
from benchmark.server.environment import WaitEnvironment
from benchmark.server.protocol import Refused

MAX_PENDING = 64
"""Frames that a client may send ahead while a step waits; the rest stay in its own socket."""


class Session:
    """Answers one frame after another. A client that leaves while a step waits ends the step."""

    def __init__(self, websocket: WebSocket, environment: WaitEnvironment) -> None:
        self._websocket = websocket
        self._environment = environment
        self._ahead: list[Message] = []

    async def run(self) -> None:
        await self._websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            await self._answer_until_closed()
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
        """Steps, and goes on listening: frames that come meanwhile are answered afterwards."""
        step = asyncio.ensure_future(self._environment.step(wait_seconds))
        listening = asyncio.ensure_future(self._listen_ahead())
        try:
            await asyncio.wait({step, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
            return await step
        finally:
            step.cancel()
            await self._stop_listening(listening)

    async def _listen_ahead(self) -> None:
        """Raises `WebSocketDisconnect` when the client leaves."""
        while len(self._ahead) < MAX_PENDING:
            message = await self._websocket.receive()
            self._ahead.append(message)
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))

    @staticmethod
    async def _stop_listening(listening: "asyncio.Future[None]") -> None:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
            await listening

    async def _receive(self) -> str:
        message = self._ahead.pop(0) if self._ahead else await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        if text is None:
            raise Refused("SESSION_ERROR", "a message must be a text frame, not binary", fatal=True)
        return str(text)
