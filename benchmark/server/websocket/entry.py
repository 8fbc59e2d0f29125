"""What meets a connection: a WebSocket handshake goes straight to its session, anything else to
uvicorn's own HTTP protocol. A connection that asks for nothing is shown out."""

from asyncio import BaseTransport, TimerHandle, Transport
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmark.server.websocket import handshake
from benchmark.server.websocket.protocol_class import WebSocketProtocol

REQUEST_SECONDS = 60.0
"""A connection that has not sent a whole request head by then is closed: it would hold a descriptor
for ever. Long enough for a burst in which a whole accept queue waits for its turn."""


HEAD_BYTES = 262_144
"""More than any client's cookies and tokens."""


class Door(WebSocketProtocol):
    __slots__ = ("_arguments", "_patience")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._arguments: Any = arguments, named
        self._patience: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._patience = self._loop.call_later(REQUEST_SECONDS, self._transport.close)

    def data_received(self, data: bytes) -> None:
        if self._patience is None:
            super().data_received(data)
            return
        self._patience.cancel()
        self._patience = None
        asked = handshake.parse(data)
        if asked is not None:
            self._arguments = None
            self._ask(*asked)
        else:
            self._show_to_http(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().connection_lost(exc)

    def _show_to_http(self, data: bytes) -> None:
        arguments, named = self._arguments
        http = PatientHttpProtocol(*arguments, **named)
        self._state.connections.discard(self)
        http.connection_made(self._transport)
        self._transport.set_protocol(http)
        http.data_received(data)


class PatientHttpProtocol(HttpToolsProtocol):
    """uvicorn's, which takes a head of any size and waits for the rest of it for ever."""

    _impatience: TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self._await_whole()

    def data_received(self, data: bytes) -> None:
        if self._impatience is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._impatience is not None and self._head_bytes > HEAD_BYTES:
            self._calm()
            if not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._await_whole()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._calm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def _await_whole(self) -> None:
        if self._impatience is None:
            self._impatience = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _calm(self) -> None:
        self._head_bytes = 0
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
