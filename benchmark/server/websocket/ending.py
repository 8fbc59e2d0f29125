"""How a WebSocket connection ends: by either side, by a violation, or because the client has left."""

import asyncio
from asyncio import TimerHandle
from enum import IntEnum
from typing import Any

from websockets.frames import CloseCode

from benchmark.server.websocket.frames import close_frame, Violation
from benchmark.server.websocket.interface import DirectSession

# How long to wait for the client's close frame.
CLOSE_SECONDS = 10.0
# After a violation: when to send EOF, and when to abort the connection.
EOF_SECONDS, ABORT_SECONDS = 0.2, 2.0


class Phase(IntEnum):
    REQUESTED = 0  # the app has not accepted the connection yet
    OPEN = 1
    CLOSING = 2  # the server has sent a close frame
    CLOSED = 3


# Faster to look up than a member of the class.
OPEN = Phase.OPEN


class Ending(asyncio.Protocol):
    __slots__ = (
        "_close_timer",
        "_closed_by_app",
        "_discarding",
        "_end_reported",
        "_loop",
        "_phase",
        "_queue",
        "_session",
        "_simple",
        "_transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._phase = Phase.REQUESTED
        self._session: DirectSession | None = None
        self._simple = False  # whether a session is attached and nothing is queued or incomplete
        self._queue: list[Any] = []
        self._end_reported = self._discarding = self._closed_by_app = False
        self._close_timer: TimerHandle | None = None

    def eof_received(self) -> None:
        self._client_left()

    def _client_left(self) -> None:
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._close_transport()

    def _close_transport(self) -> None:
        """Closes the socket, or aborts it when the client does not read the remaining data."""
        if self._close_timer is None and self._transport.get_write_buffer_size():
            self._abort_after(CLOSE_SECONDS)
        self._transport.close()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Sends a close frame and waits up to `CLOSE_SECONDS` for the client's."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(code, reason))
            self._queue.clear()
            self._closed_by_app = True
            self._end(code, reason)
            self._phase = Phase.CLOSING
            self._abort_after(CLOSE_SECONDS)
            self._unpause()

    def _handle_close(self, code: int, reason: str) -> None:
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(code))
            self._end(code, reason)
        self._phase = Phase.CLOSED
        self._close_transport()

    def _fail(self, failure: Violation) -> None:
        """Sends a close frame, then discards what the client still sends: closing a socket with
        unread data resets the connection, and the client would never see the reason."""
        if self._phase is Phase.OPEN:
            self._transport.write(close_frame(failure.code, str(failure)))
            self._end(failure.code, str(failure))
        self._phase, self._discarding = Phase.CLOSED, True
        self._unpause()
        self._loop.call_later(EOF_SECONDS, self._send_eof)
        self._abort_after(ABORT_SECONDS)

    def _send_eof(self) -> None:
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _abort_after(self, seconds: float) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = self._loop.call_later(seconds, self._transport.abort)

    def _end(self, code: int, reason: str = "") -> None:
        """Reports the end of the connection to the app or the session, once."""
        self._phase = Phase.CLOSED
        if self._end_reported:
            return
        self._end_reported = True
        if self._session is not None:
            self._simple = False
            self._session.disconnected()
            self._session = None  # breaks a reference cycle, which only a collection would free
        else:
            self._report_end_to_app(code, reason)

    def _report_end_to_app(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def _unpause(self) -> None:
        raise NotImplementedError
