"""A uvicorn WebSocket protocol class: `--ws benchmark.server.websocket.protocol_class:WebSocketProtocol`.

It runs any ASGI app. An app that handles messages in function calls can use the scope extension
"openenv.attach": its function `attach` takes a `DirectSession`.

The protocol neither compresses messages nor sends pings. A ping timeout would end the session of a
client that computes for minutes without reading; TCP keep-alive detects clients that disappeared.
"""

import asyncio
import contextvars
import logging
from asyncio import Future
from contextvars import Context
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState
from websockets.frames import CloseCode

from benchmark.server.websocket import handshake
from benchmark.server.websocket.connection import Connection
from benchmark.server.websocket.ending import Phase
from benchmark.server.websocket.frames import BINARY, close_frame, frame, Reader, TEXT
from benchmark.server.websocket.handshake import Headers, InvalidHandshake
from benchmark.server.websocket.interface import DirectSession, EXTENSION, Give, HANDOFF

# The bytes that a client may send before the app accepts the connection.
MAX_EARLY_BYTES = 65_536

logger = logging.getLogger("uvicorn.error")


class WebSocketProtocol(Connection):
    __slots__ = (
        "_app_state",
        "_config",
        "_give",
        "_key",
        "_rejection",
        "_state",
        "_waiter",
        "_writable",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        give: Give | None = None,
    ) -> None:
        super().__init__(_loop or asyncio.get_running_loop())
        self._give = give
        self._config, self._state, self._app_state = config, server_state, app_state
        self._key = b""
        self._queue = [{"type": "websocket.connect"}]
        self._waiter: Future[None] | None = None
        self._writable: Future[None] | None = None
        self._rejection: tuple[int, Headers, bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)  # type: ignore[arg-type]

    def _received(self, data: bytes) -> None:
        if self._reader is None:
            request = handshake.parse_get(data)  # uvicorn's HTTP parser has accepted it
            if request is None:
                self._reject(400, [], b"not a WebSocket handshake")
            else:
                self._open(*request)
            return
        if self._discarding:
            return
        self._reader.feed(data)
        if self._phase is Phase.REQUESTED:
            if self._reader.buffered > MAX_EARLY_BYTES:
                self._pause()
        else:
            self._process()

    def connection_lost(self, failure: Exception | None) -> None:
        self._state.connections.discard(self)
        super().connection_lost(failure)

    def shutdown(self) -> None:
        """uvicorn calls this for every connection when it stops."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(CloseCode.SERVICE_RESTART))
            self._end(CloseCode.SERVICE_RESTART)
        elif self._phase is Phase.REQUESTED and self._reader is not None:
            self._reject(500, [], b"Internal Server Error")
        self._close_transport()

    def _open(self, target: bytes, headers: Headers) -> None:
        self._reader = Reader(self._config.ws_max_size)
        try:
            self._key = handshake.key(headers)
        except InvalidHandshake as failure:
            self._reject(failure.status, failure.headers, str(failure).encode())
            return
        context = contextvars.copy_context()
        running = self._run(self._scope(target, headers, context))
        task = self._loop.create_task(running, context=context)
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _scope(self, target: bytes, headers: Headers, context: Context) -> dict[str, Any]:
        path, _, query = target.partition(b"?")
        root, info = self._config.root_path, self._transport.get_extra_info
        secure = info("sslcontext") is not None
        extensions: dict[str, Any] = {
            "websocket.http.response": {},
            EXTENSION: {"attach": partial(self._attach, context)},
        }
        if self._give is not None:
            extensions[HANDOFF] = {"give": partial(self._give_away, target, headers)}
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
            "extensions": extensions,
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
            self._app_ended(CloseCode.INTERNAL_ERROR)
        else:
            if self._phase is Phase.REQUESTED:
                logger.error("ASGI callable returned without completing handshake.")
            self._app_ended(CloseCode.NORMAL_CLOSURE)

    def _app_ended(self, code: int) -> None:
        if self._phase is Phase.REQUESTED:
            self._reject(500, [], b"Internal Server Error")
        else:
            self.close(code)

    def _accept(self, subprotocol: str | None, headers: Headers) -> None:
        if subprotocol:
            headers = [*headers, (b"sec-websocket-protocol", subprotocol.encode("latin-1"))]
        self._phase = Phase.OPEN
        default = self._state.default_headers
        headers = [*default, *headers] if default else headers
        self._transport.write(handshake.accept(self._key, headers))

    def _reject(self, status: int, headers: Headers, body: bytes) -> None:
        headers = [*self._state.default_headers, *headers]
        self._transport.write(handshake.response(status, headers, body))
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._close_transport()

    def _attach(self, context: Context, session: DirectSession) -> None:
        if self._phase is Phase.REQUESTED:
            self._accept(None, [])
        session.start(self, context)
        if self._phase is Phase.CLOSED:
            session.disconnected()
            return
        self._queue.clear()  # drop "websocket.connect"
        self._session = session
        self._process()

    def _give_away(self, target: bytes, headers: Headers, session_id: str, _: bytes) -> bool:
        if self._give is None or self._reader is None or self._phase is not Phase.REQUESTED:
            return False
        request = handshake.request(b"GET", target, headers) + self._reader.rest
        return self._give(session_id, self._transport, request)

    async def _receive(self) -> Any:
        while not self._queue:
            if self._end_reported:
                return {
                    "type": "websocket.disconnect",
                    "code": CloseCode.ABNORMAL_CLOSURE,
                    "reason": "",
                }
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.shield(self._waiter)  # cancelling one caller must not affect others
        message = self._queue.pop(0)
        if self._paused and self._phase in (Phase.OPEN, Phase.CLOSING) and not self._queue:
            self._process()
        return message

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None

    def _deliver_to_app(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        self._enqueue({"type": "websocket.receive", kind: message}, len(message))
        self._wake()

    def _report_end_to_app(self, code: int, reason: str) -> None:
        self._queue.append({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._wake()

    async def _send(self, message: Any) -> None:
        while self._writing_paused:
            await self._drained()
        kind = message["type"]
        if self._phase is Phase.OPEN:
            self._send_open(kind, message)
        elif self._phase is Phase.REQUESTED:
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
            encoded = frame(TEXT, text.encode()) if data is None else frame(BINARY, data)
            self._transport.write(encoded)
        elif kind == "websocket.close":
            self.close(message.get("code", CloseCode.NORMAL_CLOSURE), message.get("reason") or "")
        else:
            raise RuntimeError(f"ASGI message {kind!r} is not valid for an open WebSocket")

    def _send_first(self, kind: str, message: Any) -> None:
        if kind == "websocket.accept" and self._rejection is None:
            self._accept(message.get("subprotocol"), list(message.get("headers", [])))
            self._process()
        elif kind == "websocket.close" and self._rejection is None:
            self._reject(403, [], b"")
        elif kind == "websocket.http.response.start" and self._rejection is None:
            self._rejection = message["status"], list(message.get("headers", [])), b""
        elif kind == "websocket.http.response.body" and self._rejection is not None:
            status, headers, body = self._rejection
            self._rejection = status, headers, body + message.get("body", b"")
            if not message.get("more_body", False):
                self._reject(*self._rejection)
        else:
            raise RuntimeError(f"ASGI message {kind!r} is not valid before 'websocket.accept'")

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
