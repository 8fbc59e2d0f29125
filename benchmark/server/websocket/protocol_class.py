"""A uvicorn WebSocket protocol class: `--ws benchmark.server.websocket.protocol_class:WebSocketProtocol`.

It speaks ASGI to any app. An app that answers every message without waiting can spare itself a task's
turns: the scope's extension "openenv.serve" has a function `serve`, which takes an `Answering` and
returns when the connection has ended.

No compression, and no pings: they would end the session of a client that thinks for minutes without
reading; TCP keep-alive, which the client's kernel answers, finds clients that are gone.
"""

import asyncio
import logging
from asyncio import Future
from typing import Any, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from benchmark.server.websocket import handshake
from benchmark.server.websocket.connection import ABNORMAL, Connection, FAILED, Phase
from benchmark.server.websocket.frames import BINARY, close_frame, frame, Reader, TEXT
from benchmark.server.websocket.handshake import Headers, Unacceptable
from benchmark.server.websocket.interface import Answering, EXTENSION, NORMAL

EARLY_BYTES = 65_536
"""That a client may send before the app has let it in."""

RESTARTING = 1012

logger = logging.getLogger("uvicorn.error")


class WebSocketProtocol(Connection):
    __slots__ = ("_app_state", "_config", "_key", "_refusal", "_state", "_waiter", "_writable")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(_loop or asyncio.get_running_loop())
        self._config, self._state, self._app_state = config, server_state, app_state
        self._key = b""
        self._ahead = [{"type": "websocket.connect"}]
        self._waiter: Future[None] | None = None
        self._writable: Future[None] | None = None
        self._refusal: tuple[int, Headers, bytes] | None = None

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

    def connection_lost(self, failure: Exception | None) -> None:
        self._state.connections.discard(self)
        super().connection_lost(failure)

    def shutdown(self) -> None:
        """uvicorn ends every connection by this."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(RESTARTING))
            self._end(RESTARTING)
        elif self._phase is Phase.ASKED and self._reader is not None:
            self._reject(500, [], b"Internal Server Error")
        self._hang_up()

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

    # a session that answers at once

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

    def _tell_message(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        self._put_ahead({"type": "websocket.receive", kind: message}, len(message))
        self._wake()

    def _tell_end(self, code: int, reason: str) -> None:
        self._ahead.append({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._wake()

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
        super()._resume_writers()
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None


def _address(info: Any) -> tuple[str, int] | None:
    return (str(info[0]), int(info[1])) if isinstance(info, (tuple, list)) else None
