"""A WebSocket protocol class for uvicorn: `uvicorn --ws benchmark.server.websocket:WebSocketProtocol`.

It speaks ASGI to any app. An app that answers every message without waiting can spare itself a task's
turns: the scope's extension "openenv.serve" has a function `serve`, which takes an `Answering` and
returns when the connection has ended.

No compression, and no pings: they would end the session of a client that thinks for minutes without
reading; TCP keep-alive, which the client's kernel answers, finds clients that are gone.
"""

import asyncio
import logging
from asyncio import Future, TimerHandle
from enum import IntEnum
from typing import Any, cast, Protocol
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from benchmark.server import handshake
from benchmark.server.frames import (
    BINARY,
    CLOSE,
    close_frame,
    closing,
    CONTINUATION,
    frame,
    INVALID_TEXT,
    PING,
    PONG,
    Reader,
    TEXT,
    Violation,
)
from benchmark.server.handshake import Headers, Unacceptable
from benchmark.server.leavers import leavers

EXTENSION = "openenv.serve"
AHEAD, AHEAD_BYTES = 32, 65_536
"""Messages, and bytes of them, that a client may be ahead of the app; the rest stay in its own socket."""

MESSAGES_A_TURN = 16
"""Then it is the other clients' turn."""

EARLY_BYTES = 65_536
"""That a client may send before the app has let it in."""

CLOSE_SECONDS, VOID_SECONDS = 10.0, 2.0
"""For the other side to answer a close frame; to end after one that tells it of a violation."""

ABNORMAL, RESTARTING, FAILED, NORMAL = 1006, 1012, 1011, 1000

logger = logging.getLogger("uvicorn.error")


class Wire(Protocol):
    """What a session is given to answer by."""

    def send(self, text: bytes) -> None: ...

    def close(self, code: int = NORMAL, reason: str = "") -> None: ...

    def resume(self) -> None:
        """Goes on with messages that came while the session was busy."""
        ...


class Answering(Protocol):
    """A session that is handed message after message, one at a time."""

    @property
    def busy(self) -> bool:
        """Whether the next message has to wait until it calls the wire's `resume`."""
        ...

    def begin(self, wire: Wire) -> None: ...

    def receive(self, message: str | bytes) -> None: ...

    def leave(self) -> None:
        """The connection has ended."""
        ...


class Phase(IntEnum):
    ASKED = 0  # the app has not let the client in yet
    OPEN = 1
    CLOSING = 2  # our close frame is on its way
    OVER = 3


class WebSocketProtocol(asyncio.Protocol):
    __slots__ = (
        "_ahead",
        "_ahead_bytes",
        "_answering",
        "_app_state",
        "_closed_by_app",
        "_closer",
        "_config",
        "_deaf",
        "_ended",
        "_key",
        "_loop",
        "_paused",
        "_phase",
        "_pong",
        "_reader",
        "_refusal",
        "_state",
        "_told",
        "_transport",
        "_turn_over",
        "_waiter",
        "_watched",
        "_writable",
        "_writing_paused",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config, self._state, self._app_state = config, server_state, app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._phase = Phase.ASKED
        self._reader: Reader | None = None
        self._key = b""
        self._ahead: list[Any] = [{"type": "websocket.connect"}]
        self._ahead_bytes = 0
        self._answering: Answering | None = None
        self._ended: Future[None] | None = None
        self._waiter: Future[None] | None = None
        self._writable: Future[None] | None = None
        self._paused = self._writing_paused = self._told = self._deaf = False
        self._turn_over = self._closed_by_app = False
        self._watched: int | None = None
        self._pong: bytes | None = None
        self._closer: TimerHandle | None = None
        self._refusal: tuple[int, Headers, bytes] | None = None

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            asked = handshake.parts(data)  # uvicorn's HTTP parser has judged it
            if asked is None:
                self._reject(400, [], b"not a WebSocket handshake")
            else:
                self._ask(*asked)
            return
        if self._deaf:
            return
        self._reader.feed(data)
        if self._phase is Phase.ASKED:
            if self._reader.waiting > EARLY_BYTES:
                self._pause()
        else:
            self._pump()

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(self)
        self._end(ABNORMAL)
        self._unwatch()
        if self._closer is not None:
            self._closer.cancel()
            self._closer = None
        self._resume_writers()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._resume_writers()
        if self._pong is not None and self._phase is Phase.OPEN:
            self._transport.write(frame(PONG, self._pong))
        self._pong = None
        if self._paused and self._phase is not Phase.ASKED:
            self._pump()

    def shutdown(self) -> None:
        """uvicorn ends every connection by this."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(RESTARTING))
            self._end(RESTARTING)
        elif self._phase is Phase.ASKED and self._reader is not None:
            self._reject(500, [], b"Internal Server Error")
        self._hang_up()

    def _gone(self) -> None:
        """The client sends nothing more: it has left."""
        self._end(ABNORMAL)
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes; by force where the client does not take what is still on its way to it."""
        if self._closer is None and self._transport.get_write_buffer_size():
            self._close_within(CLOSE_SECONDS)
        self._transport.close()

    # the handshake

    def _ask(self, target: bytes, headers: Headers) -> None:
        self._reader = Reader(self._config.ws_max_size)
        try:
            self._key = handshake.key(headers)
        except Unacceptable as failure:
            self._reject(failure.status, failure.headers, str(failure).encode())
            return
        task = self._loop.create_task(self._run(self._scope(target, headers)))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _scope(self, target: bytes, headers: Headers) -> dict[str, Any]:
        path, _, query = target.partition(b"?")
        root, info = self._config.root_path, self._transport.get_extra_info
        secure = info("sslcontext") is not None
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if secure else "ws",
            "server": _address(info("sockname")),
            "client": _address(info("peername")),
            "root_path": root,
            "path": root + unquote(path.decode("ascii")),
            "raw_path": root.encode("ascii") + path,
            "query_string": query,
            "headers": headers,
            "subprotocols": handshake.subprotocols(headers),
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, EXTENSION: {"serve": self._serve}},
        }

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._config.loaded_app(scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            logger.exception("Exception in ASGI application\n")
            self._app_ended(FAILED)
        else:
            if self._phase is Phase.ASKED:
                logger.error("ASGI callable returned without completing handshake.")
            self._app_ended(NORMAL)

    def _app_ended(self, code: int) -> None:
        if self._phase is Phase.ASKED:
            self._reject(500, [], b"Internal Server Error")
        else:
            self.close(code)

    def _accept(self, subprotocol: str | None, headers: Headers) -> None:
        if subprotocol:
            headers = [*headers, (b"sec-websocket-protocol", subprotocol.encode("latin-1"))]
        self._phase = Phase.OPEN
        told = self._state.default_headers
        self._transport.write(handshake.accepted(self._key, [*told, *headers] if told else headers))

    def _reject(self, status: int, headers: Headers, body: bytes) -> None:
        told = [*self._state.default_headers, *headers]
        self._transport.write(handshake.response(status, told, body))
        self._end(ABNORMAL)
        self._hang_up()

    # messages of the client

    def _pump(self) -> None:
        """Takes in what has come, as far as the app can follow; the rest waits."""
        if self._turn_over:
            return  # its next turn comes by itself
        for _ in range(MESSAGES_A_TURN):
            if self._phase is Phase.OVER:
                return
            if self._behind:
                self._pause()
                self._watch()
                return
            try:
                if not self._next():
                    self._unpause()
                    return
            except Violation as failure:
                self._fail(failure)
                return
        self._pause()
        self._turn_over = True
        self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_over = False
        self._pump()

    def _next(self) -> bool:
        """Takes in one message; False when none is there. Raises `Violation`."""
        answering = self._answering
        if answering is not None and self._ahead and not answering.busy:
            self._hand(answering, self._ahead.pop(0))
            return True
        assert self._reader is not None
        message = self._reader.next()
        if message is None:
            return False
        self._take(*message)
        return True

    @property
    def _behind(self) -> bool:
        answering = self._answering
        if answering is None:
            return self._full
        return self._writing_paused or (self._full and answering.busy)

    @property
    def _full(self) -> bool:
        ahead = self._ahead
        return bool(ahead) and (len(ahead) >= AHEAD or self._ahead_bytes >= AHEAD_BYTES)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self._unwatch()
            self._transport.resume_reading()

    def _watch(self) -> None:
        """A session in a long step is not read from, but must end when its client leaves."""
        if self._watched is None and self._answering is not None and self._answering.busy:
            self._watched = self._transport.get_extra_info("socket").fileno()
            leavers(self._loop).watch(self._watched, self._gone)

    def _unwatch(self) -> None:
        if self._watched is not None:
            leavers(self._loop).unwatch(self._watched)
            self._watched = None

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._closed(*closing(payload))
        elif self._phase is not Phase.OPEN or opcode in (PONG, CONTINUATION):
            pass  # after our close frame only theirs counts
        elif opcode == TEXT:
            try:
                self._deliver(payload.decode())
            except UnicodeDecodeError:
                raise Violation(INVALID_TEXT, "a text message is not UTF-8") from None
        elif opcode == BINARY:
            self._deliver(payload)
        elif opcode == PING:
            self._answer_ping(payload)

    def _answer_ping(self, payload: bytes) -> None:
        """A client that does not read gets an answer to its last ping only, once it does."""
        if self._writing_paused:
            self._pong = payload
        else:
            self._transport.write(frame(PONG, payload))

    def _deliver(self, message: str | bytes) -> None:
        answering = self._answering
        if answering is None:
            kind = "text" if isinstance(message, str) else "bytes"
            self._put_ahead({"type": "websocket.receive", kind: message}, len(message))
            self._wake()
        elif self._ahead or answering.busy:
            self._put_ahead(message, len(message))
        else:
            self._hand(answering, message)

    def _put_ahead(self, message: Any, size: int) -> None:
        self._ahead_bytes = self._ahead_bytes + size if self._ahead else size
        self._ahead.append(message)

    def _hand(self, answering: Answering, message: str | bytes) -> None:
        try:
            answering.receive(message)
        except Exception as failure:  # noqa: BLE001 - the app's own; raised where its task waits
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(failure)
            self.close(FAILED)

    def _closed(self, code: int, reason: str) -> None:
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(code))
            self._end(code, reason)
        self._phase = Phase.OVER
        self._hang_up()

    def _fail(self, failure: Violation) -> None:
        """Closes, and lets what is still on its way run into the void: a socket that is closed with
        data unread is reset, and the client would not learn why."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(failure.code, str(failure)))
            self._end(failure.code, str(failure))
        self._phase, self._deaf = Phase.OVER, True
        self._unpause()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._close_within(VOID_SECONDS)

    def _close_within(self, seconds: float) -> None:
        if self._closer is not None:
            self._closer.cancel()
        self._closer = self._loop.call_later(seconds, self._transport.abort)

    def _end(self, code: int, reason: str = "") -> None:
        """Tells the app, once, that the session has ended."""
        self._phase = Phase.OVER
        if self._told:
            return
        self._told = True
        if self._answering is not None:
            self._answering.leave()
            self._answering = None  # each holds the other: they would stay until a collection
            assert self._ended is not None
            if not self._ended.done():
                self._ended.set_result(None)
        else:
            told = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._ahead.append(told)
            self._wake()

    # a session that answers at once: the wire that it has

    async def _serve(self, answering: Answering, headers: Headers | None = None) -> None:
        if self._phase is Phase.ASKED:
            self._accept(None, headers or [])
        if self._phase is Phase.OVER:
            return
        self._ahead.clear()  # that the client is there
        self._answering = answering
        self._ended = self._loop.create_future()
        answering.begin(self)
        self._pump()
        await self._ended

    def send(self, text: bytes) -> None:
        if self._phase is Phase.OPEN:
            self._transport.write(frame(TEXT, text))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Sends a close frame and waits, for a while, for the other side's."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(code, reason))
            self._ahead.clear()
            self._closed_by_app = True
            self._end(code, reason)
            self._phase = Phase.CLOSING
            self._close_within(CLOSE_SECONDS)
            self._unpause()

    def resume(self) -> None:
        if self._ahead or self._paused:
            self._pump()

    # ASGI

    async def _receive(self) -> Any:
        while not self._ahead:
            if self._told:
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.shield(self._waiter)  # one that is cancelled does not hinder others
        message = self._ahead.pop(0)
        if self._paused and self._phase in (Phase.OPEN, Phase.CLOSING) and not self._ahead:
            self._pump()
        return message

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None

    async def _send(self, message: Any) -> None:
        while self._writing_paused:
            await self._drained()
        kind = message["type"]
        if self._phase is Phase.OPEN:
            self._send_open(kind, message)
        elif self._phase is Phase.ASKED:
            self._send_first(kind, message)
        elif self._closed_by_app:
            raise RuntimeError(
                f"Unexpected ASGI message {kind!r}, after sending 'websocket.close'."
            )
        else:
            raise ClientDisconnected

    def _send_open(self, kind: str, message: Any) -> None:
        if kind == "websocket.send":
            text, data = message.get("text"), message.get("bytes")
            sent = frame(TEXT, text.encode()) if data is None else frame(BINARY, data)
            self._transport.write(sent)
        elif kind == "websocket.close":
            self.close(message.get("code", NORMAL), message.get("reason") or "")
        else:
            raise RuntimeError(f"ASGI message {kind!r} is none of an open WebSocket")

    def _send_first(self, kind: str, message: Any) -> None:
        if kind == "websocket.accept" and self._refusal is None:
            self._accept(message.get("subprotocol"), list(message.get("headers", [])))
            self._pump()
        elif kind == "websocket.close" and self._refusal is None:
            self._reject(403, [], b"")
        elif kind == "websocket.http.response.start" and self._refusal is None:
            self._refusal = message["status"], list(message.get("headers", [])), b""
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            status, headers, before = self._refusal
            self._refusal = status, headers, before + message.get("body", b"")
            if not message.get("more_body", False):
                self._reject(*self._refusal)
        else:
            raise RuntimeError(f"ASGI message {kind!r} is none of a WebSocket that is asked for")

    async def _drained(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
        await asyncio.shield(self._writable)

    def _resume_writers(self) -> None:
        self._writing_paused = False
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None


def _address(info: Any) -> tuple[str, int] | None:
    return (str(info[0]), int(info[1])) if isinstance(info, (tuple, list)) else None
