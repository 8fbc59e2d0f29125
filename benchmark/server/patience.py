"""uvicorn's HTTP protocol with an end to its patience."""

from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 60.0
"""A connection that has not sent a whole request head by then is closed: it would hold a descriptor
for ever. Long enough for a burst in which a whole accept queue waits for its turn."""


class PatientHttpProtocol(HttpToolsProtocol):
    _impatience: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._impatience = self.loop.call_later(REQUEST_SECONDS, transport.close)

    def on_headers_complete(self) -> None:
        self._calm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
