"""The protocol that uvicorn creates for every connection.

A plain WebSocket handshake starts a session without an HTTP parser; anything else is passed on to
uvicorn's HTTP protocol. A connection that does not complete a request in time is closed.
"""

from asyncio import BaseTransport, TimerHandle, Transport
from functools import partial
from typing import Any, cast

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmark.server.websocket import handshake
from benchmark.server.websocket.interface import Give, HANDOFF
from benchmark.server.websocket.protocol_class import WebSocketProtocol

# The time for a client to send a complete request head; without it, silent connections would hold
# descriptors forever. In a burst, a whole accept queue must be served within this time.
REQUEST_SECONDS = 60.0
# More than any client's cookies and tokens need.
MAX_HEAD_BYTES = 262_144


class EntryProtocol(WebSocketProtocol):
    __slots__ = ("_arguments", "_request_timer")

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._arguments: Any = arguments, keywords
        self._request_timer: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._request_timer = self._loop.call_later(REQUEST_SECONDS, self._transport.close)

    def _received(self, data: bytes) -> None:
        if self._request_timer is None:
            super()._received(data)
            return
        self._request_timer.cancel()
        self._request_timer = None
        request = handshake.parse(data)
        if request is not None:
            self._arguments = None
            self._open(*request)
        else:
            self._switch_to_http(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None
        super().connection_lost(exc)

    def _switch_to_http(self, data: bytes) -> None:
        arguments, keywords = self._arguments
        http = LimitedHttpProtocol(*arguments, **keywords)
        self._state.connections.discard(self)
        http.connection_made(self._transport)
        self._transport.set_protocol(http)
        http.data_received(data)


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on the size and the duration of a request head, which can give a
    connection to another worker."""

    _head_timer: TimerHandle | None = None
    _head_bytes = 0

    def __init__(self, *arguments: Any, give: Give | None = None, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._give = give

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._stop_head_timer()
            if not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._start_head_timer()
        super().on_message_begin()
        if self._give is not None:
            give: dict[object, object] = {"give": partial(self._give_away, self.scope)}
            self.scope["extensions"] = {HANDOFF: give}

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def _give_away(self, scope: HTTPScope, session_id: str, body: bytes) -> bool:
        # If the client has sent another request already, it would be lost.
        if self._give is None or scope is not self.scope:
            return False
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        headers = [each for each in scope["headers"] if each[0] not in handshake.BODY_HEADERS]
        headers.append((b"content-length", str(len(body)).encode()))
        head = handshake.request(scope["method"].encode(), target, headers)
        return self._give(session_id, self.transport, head + body)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_head_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
