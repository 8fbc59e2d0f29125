"""One WebSocket connection after its opening handshake: frames, flow control and closing."""

import asyncio
import logging
from asyncio import TimerHandle
from enum import IntEnum
from typing import Any

from websockets.frames import CloseCode

from benchmark.server.websocket.frames import (
    BINARY,
    CLOSE,
    close_frame,
    CONTINUATION,
    frame,
    parse_close,
    PING,
    PONG,
    Reader,
    TEXT,
    Violation,
)
from benchmark.server.websocket.half_closed import half_close_watcher
from benchmark.server.websocket.interface import DirectSession

# The messages, and their bytes, that are queued for a busy app; the rest stays in the socket.
MAX_QUEUED, QUEUE_BYTES = 32, 65_536
# After this many messages of one client, the event loop serves the other clients.
MESSAGES_PER_TURN = 16
# How long to wait for the client's close frame.
CLOSE_SECONDS = 10.0
# After a violation: when to send EOF, and when to abort the connection.
EOF_SECONDS, ABORT_SECONDS = 0.2, 2.0
NOT_UTF8 = "text message is not UTF-8"

logger = logging.getLogger("uvicorn.error")


class Phase(IntEnum):
    REQUESTED = 0  # the app has not accepted the connection yet
    OPEN = 1
    CLOSING = 2  # the server has sent a close frame
    CLOSED = 3


class Connection(asyncio.Protocol):
    __slots__ = (
        "_close_timer",
        "_closed_by_app",
        "_discarding",
        "_end_reported",
        "_loop",
        "_paused",
        "_pending_pong",
        "_phase",
        "_queue",
        "_queued_bytes",
        "_reader",
        "_session",
        "_transport",
        "_watched_fd",
        "_writing_paused",
        "_yielded",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._phase = Phase.REQUESTED
        self._reader: Reader | None = None
        self._queue: list[Any] = []
        self._queued_bytes = 0
        self._session: DirectSession | None = None
        self._paused = self._writing_paused = self._end_reported = self._discarding = False
        self._yielded = self._closed_by_app = False
        self._watched_fd: int | None = None
        self._pending_pong: bytes | None = None
        self._close_timer: TimerHandle | None = None

    def eof_received(self) -> None:
        self._client_left()

    def connection_lost(self, _: Exception | None) -> None:
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._unwatch()
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._resume_writers()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._resume_writers()
        if self._pending_pong is not None and self._phase is Phase.OPEN:
            self._transport.write(frame(PONG, self._pending_pong))
        self._pending_pong = None
        if self._paused and self._phase is not Phase.REQUESTED:
            self._process()

    def _client_left(self) -> None:
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._close_transport()

    def _close_transport(self) -> None:
        """Closes the socket, or aborts it when the client does not read the remaining data."""
        if self._close_timer is None and self._transport.get_write_buffer_size():
            self._abort_after(CLOSE_SECONDS)
        self._transport.close()

    def _process(self) -> None:
        """Handles received messages until the app is behind, then stops reading."""
        if self._yielded:
            return  # the next turn is already scheduled
        for _ in range(MESSAGES_PER_TURN):
            if self._phase is Phase.CLOSED:
                return
            if self._app_behind:
                self._pause()
                self._watch()
                return
            try:
                if not self._process_one():
                    self._unpause()
                    return
            except Violation as failure:
                self._fail(failure)
                return
        self._pause()
        self._yielded = True
        self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._yielded = False
        self._process()

    def _process_one(self) -> bool:
        """Whether there was a message. Raises `Violation`."""
        session = self._session
        if session is not None and self._queue and not session.busy:
            self._deliver_to_session(session, *self._queue.pop(0))
            return True
        assert self._reader is not None
        message = self._reader.next()
        if message is None:
            return False
        self._handle(*message)
        return True

    @property
    def _app_behind(self) -> bool:
        session = self._session
        if session is None:
            return self._queue_full
        return self._writing_paused or (self._queue_full and session.busy)

    @property
    def _queue_full(self) -> bool:
        queue = self._queue
        return bool(queue) and (len(queue) >= MAX_QUEUED or self._queued_bytes >= QUEUE_BYTES)

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
        """Detects a disconnect during a long step, while the connection is not read from."""
        if self._watched_fd is None and self._session is not None and self._session.busy:
            self._watched_fd = self._transport.get_extra_info("socket").fileno()
            half_close_watcher(self._loop).watch(self._watched_fd, self._client_left)

    def _unwatch(self) -> None:
        if self._watched_fd is not None:
            half_close_watcher(self._loop).unwatch(self._watched_fd)
            self._watched_fd = None

    def _handle(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._handle_close(*parse_close(payload))
        elif self._phase is not Phase.OPEN or opcode in (PONG, CONTINUATION):
            pass  # after sending a close frame, the server only waits for the client's
        elif opcode in (TEXT, BINARY):
            self._deliver(opcode, payload)
        elif opcode == PING:
            self._handle_ping(payload)

    def _handle_ping(self, payload: bytes) -> None:
        """Replies; while the client does not read, only its latest ping is remembered."""
        if self._writing_paused:
            self._pending_pong = payload
        else:
            self._transport.write(frame(PONG, payload))

    def _deliver(self, opcode: int, payload: bytes) -> None:
        session = self._session
        if session is None:
            self._deliver_to_app(_text(payload) if opcode == TEXT else payload)
        elif self._queue or session.busy:
            self._enqueue((opcode, payload), len(payload))
        else:
            self._deliver_to_session(session, opcode, payload)

    def _enqueue(self, message: Any, size: int) -> None:
        self._queued_bytes = self._queued_bytes + size if self._queue else size
        self._queue.append(message)

    def _deliver_to_session(self, session: DirectSession, opcode: int, payload: bytes) -> None:
        try:
            if opcode == TEXT:
                session.receive_text(payload)
            else:
                session.receive_binary(payload)
        except UnicodeDecodeError:
            raise Violation(CloseCode.INVALID_DATA, NOT_UTF8) from None
        except Exception:
            logger.exception("A session failed")
            self.close(CloseCode.INTERNAL_ERROR)

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
            self._session.disconnected()
            self._session = None  # breaks a reference cycle, which only a collection would free
        else:
            self._report_end_to_app(code, reason)

    def _deliver_to_app(self, message: str | bytes) -> None:
        raise NotImplementedError

    def _report_end_to_app(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def _resume_writers(self) -> None:
        self._writing_paused = False

    def send(self, text: bytes) -> None:
        if self._phase is Phase.OPEN:
            self._transport.write(frame(TEXT, text))

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

    def resume(self) -> None:
        if self._queue or self._paused:
            self._process()


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_DATA, NOT_UTF8) from None
