"""One WebSocket session: messages in, replies out, until either side ends it."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from benchmark.server import protocol
from benchmark.server.environment import WaitEnvironment
from benchmark.server.protocol import Refused
from benchmark.server.websocket.connection import AHEAD
from benchmark.server.websocket.interface import EXTENSION, NORMAL, Wire


class Session:
    """Answers one message after another, without a task of its own: a step that waits has a timer.
    A client that leaves meanwhile ends the step."""

    __slots__ = ("_environment", "_timer", "_wire")

    def __init__(self, environment: WaitEnvironment) -> None:
        self._environment = environment
        self._timer: asyncio.TimerHandle | None = None
        self._wire: Wire

    @property
    def busy(self) -> bool:
        return self._timer is not None

    def begin(self, wire: Wire) -> None:
        self._wire = wire

    def receive(self, message: str | bytes) -> None:
        try:
            self._answer(message)
        except Refused as refused:
            self._wire.send(refused.frame())
            if refused.fatal:
                self._wire.close()

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            raise Refused("SESSION_ERROR", "a message must be a text frame, not binary", fatal=True)
        kind, payload = protocol.parse(message)
        if kind == "close":
            self._wire.close()
        elif kind == "state":
            self._wire.send(protocol.state(self._environment.state))
        elif kind == "step" and payload > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(payload, self._waited, payload)
        else:
            self._wire.send(protocol.observation(self._observation(kind, payload)))

    def _observation(self, kind: str, payload: Any) -> dict[str, Any]:
        try:
            if kind == "reset":
                return self._environment.reset(**payload)
            return self._environment.stepped(payload)
        except Exception as failure:
            raise Refused("EXECUTION_ERROR", str(failure)) from failure

    def _waited(self, wait_seconds: float) -> None:
        self._timer = None
        self._wire.send(protocol.observation(self._environment.stepped(wait_seconds)))
        self._wire.resume()


async def serve(session: Session, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs the session until its connection ends."""
    handed_over = scope.get("extensions", {}).get(EXTENSION)
    if handed_over is not None:
        await handed_over["serve"](session)
    else:
        await _Asgi(receive, send).serve(session)


class _Asgi:
    """The wire of a session under any ASGI server."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._free = asyncio.Event()

    def send(self, text: bytes) -> None:
        self._outbox.put_nowait({"type": "websocket.send", "text": text.decode()})

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        self._outbox.put_nowait({"type": "websocket.close", "code": code, "reason": reason})

    def resume(self) -> None:
        self._free.set()

    async def serve(self, session: Session) -> None:
        await self._receive()
        await self._send({"type": "websocket.accept"})
        session.begin(self)
        inbox: asyncio.Queue[str | bytes] = asyncio.Queue(AHEAD)
        answering = asyncio.create_task(self._answer(session, inbox))
        listening = asyncio.create_task(self._listen(inbox))
        try:
            await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.leave()
            answering.cancel()
            listening.cancel()
            ends = await asyncio.gather(answering, listening, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _listen(self, inbox: "asyncio.Queue[str | bytes]") -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            text = message.get("text")
            await inbox.put(message["bytes"] if text is None else text)

    async def _answer(self, session: Session, inbox: "asyncio.Queue[str | bytes]") -> None:
        while True:
            self._free.clear()
            session.receive(await inbox.get())
            if session.busy:
                await self._free.wait()
            while not self._outbox.empty():
                message = self._outbox.get_nowait()
                await self._send(message)
                if message["type"] == "websocket.close":
                    return
