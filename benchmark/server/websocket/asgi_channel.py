"""Connects a `DirectSession` to its client: through the scope extension, or under any ASGI server."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode

from benchmark.server.websocket.connection import MAX_QUEUED
from benchmark.server.websocket.interface import DirectSession, EXTENSION


async def serve(
    session: DirectSession,
    running: Coroutine[Any, Any, None],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Accepts the connection, then awaits `running`, which ends with the session."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        extension["attach"](session)
        scope.clear()  # nobody reads it any more, and its headers would stay as long as the session
        await running
    else:
        await _AsgiChannel(session, receive, send).serve(running)


class _AsgiChannel:
    def __init__(self, session: DirectSession, receive: Receive, send: Send) -> None:
        self._session, self._receive, self._send = session, receive, send
        self._inbox: deque[Any] = deque()
        self._taken = asyncio.Event()
        self._outbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def send(self, text: bytes) -> None:
        self._outbox.put_nowait({"type": "websocket.send", "text": text.decode()})

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        self._outbox.put_nowait({"type": "websocket.close", "code": code, "reason": reason})

    def resume(self) -> None:
        while self._inbox and not self._session.busy:
            message = self._inbox.popleft()
            self._taken.set()
            if (text := message.get("text")) is not None:
                self._session.receive_text(text.encode())
            else:
                self._session.receive_binary(message["bytes"])

    async def serve(self, running: Coroutine[Any, Any, None]) -> None:
        await self._receive()
        with contextlib.suppress(OSError):  # then `receive` reports that the client has left
            await self._send({"type": "websocket.accept"})
        self._session.start(self, None)
        receiving = asyncio.create_task(self._receive_all())
        sending = asyncio.create_task(self._send_all())
        try:
            await running
        finally:
            receiving.cancel()
            self._outbox.put_nowait(None)
            await asyncio.gather(receiving, sending, return_exceptions=True)

    async def _receive_all(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            self._inbox.append(message)
            self.resume()
            while len(self._inbox) >= MAX_QUEUED:
                self._taken.clear()
                await self._taken.wait()
        self._session.disconnected()

    async def _send_all(self) -> None:
        with contextlib.suppress(OSError):  # the client may disconnect
            while (message := await self._outbox.get()) is not None:
                await self._send(message)
