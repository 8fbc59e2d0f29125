"""One WebSocket session of the benchmark environment."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode

from benchmark.server import protocol
from benchmark.server.environment import WaitEnvironment
from benchmark.server.protocol import ErrorCode, ProtocolFailure
from benchmark.server.websocket.connection import MAX_QUEUED
from benchmark.server.websocket.interface import Channel, EXTENSION


class Session:
    """A `DirectSession`: a waiting step is a timer, which a disconnect cancels."""

    __slots__ = ("_channel", "_environment", "_timer")

    def __init__(self, environment: WaitEnvironment) -> None:
        self._environment = environment
        self._timer: asyncio.TimerHandle | None = None
        self._channel: Channel

    @property
    def busy(self) -> bool:
        return self._timer is not None

    def start(self, channel: Channel) -> None:
        self._channel = channel

    def receive(self, message: str | bytes) -> None:
        try:
            self._reply(message)
        except ProtocolFailure as failure:
            self._channel.send(failure.frame())
            if failure.fatal:
                self._channel.close()

    def disconnected(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _reply(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            text = "messages must be text frames, not binary"
            raise ProtocolFailure(ErrorCode.SESSION_ERROR, text, fatal=True)
        kind, payload = protocol.parse(message)
        if kind == "close":
            self._channel.close()
        elif kind == "state":
            self._channel.send(protocol.state(self._environment.state))
        elif kind == "step" and payload > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(payload, self._step_done, payload)
        else:
            self._channel.send(protocol.observation(self._observation(kind, payload)))

    def _observation(self, kind: str, payload: Any) -> dict[str, Any]:
        try:
            if kind == "reset":
                return self._environment.reset(**payload)
            return self._environment.finish_step(payload)
        except Exception as failure:
            raise ProtocolFailure(ErrorCode.EXECUTION_ERROR, str(failure)) from failure

    def _step_done(self, wait_seconds: float) -> None:
        self._timer = None
        self._channel.send(protocol.observation(self._environment.finish_step(wait_seconds)))
        self._channel.resume()


async def serve(session: Session, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs the session until its connection ends."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        await extension["serve"](session)
    else:
        await _AsgiChannel(receive, send).serve(session)


class _AsgiChannel:
    """The `Channel` of a session under any ASGI server."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._resumed = asyncio.Event()

    def send(self, text: bytes) -> None:
        self._outbox.put_nowait({"type": "websocket.send", "text": text.decode()})

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        self._outbox.put_nowait({"type": "websocket.close", "code": code, "reason": reason})

    def resume(self) -> None:
        self._resumed.set()

    async def serve(self, session: Session) -> None:
        await self._receive()
        await self._send({"type": "websocket.accept"})
        session.start(self)
        inbox: asyncio.Queue[str | bytes] = asyncio.Queue(MAX_QUEUED)
        replying = asyncio.create_task(self._reply(session, inbox))
        receiving = asyncio.create_task(self._receive_messages(inbox))
        try:
            await asyncio.wait({replying, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.disconnected()
            replying.cancel()
            receiving.cancel()
            results = await asyncio.gather(replying, receiving, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _receive_messages(self, inbox: "asyncio.Queue[str | bytes]") -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            text = message.get("text")
            await inbox.put(message["bytes"] if text is None else text)

    async def _reply(self, session: Session, inbox: "asyncio.Queue[str | bytes]") -> None:
        while True:
            self._resumed.clear()
            session.receive(await inbox.get())
            if session.busy:
                await self._resumed.wait()
            while not self._outbox.empty():
                message = self._outbox.get_nowait()
                await self._send(message)
                if message["type"] == "websocket.close":
                    return
