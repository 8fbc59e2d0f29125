"""One WebSocket connection after its opening handshake: frames and flow control."""

import asyncio
import logging
from typing import Any

from websockets.frames import CloseCode

from benchmark.server.websocket.ending import Ending, OPEN, Phase
from benchmark.server.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    frame,
    parse_close,
    PING,
    PONG,
    Reader,
    TEXT,
    Violation,
    whole_text,
)
from benchmark.server.websocket.half_closed import half_close_watcher
from benchmark.server.websocket.interface import DirectSession

# The messages, and their bytes, that are queued for a busy app; the rest stays in the socket.
MAX_QUEUED, QUEUE_BYTES = 32, 65_536
# After this many messages of one client, the event loop serves the other clients.
MESSAGES_PER_TURN = 16
NOT_UTF8 = "text message is not UTF-8"

logger = logging.getLogger("uvicorn.error")


class Connection(Ending):
    __slots__ = (
        "_paused",
        "_pending_pong",
        "_queued_bytes",
        "_reader",
        "_watched_fd",
        "_writing_paused",
        "_yielded",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._reader: Reader | None = None
        self._queued_bytes = 0
        self._paused = self._writing_paused = self._yielded = False
        self._watched_fd: int | None = None
        self._pending_pong: bytes | None = None

    def data_received(self, data: bytes) -> None:
        # Nearly every message is one frame that arrives alone while its session waits for it. This short
        # way for it saves 1 µs of the 13 µs of a step.
        session = self._session
        if self._simple and session is not None and not session.busy:
            payload = whole_text(data)
            if payload is not None:
                try:
                    self._deliver_to_session(session, TEXT, payload)
                except Violation as failure:
                    self._fail(failure)
                return
        self._received(data)

    def _received(self, data: bytes) -> None:
        raise NotImplementedError

    def connection_lost(self, _: Exception | None) -> None:
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._unwatch()
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._resume_writers()

    def pause_writing(self) -> None:
        self._writing_paused, self._simple = True, False

    def resume_writing(self) -> None:
        self._resume_writers()
        if self._pending_pong is not None and self._phase is Phase.OPEN:
            self._transport.write(frame(PONG, self._pending_pong))
        self._pending_pong = None
        if self._paused and self._phase is not Phase.REQUESTED:
            self._process()

    def _process(self) -> None:
        """Handles received messages until the app is behind, then stops reading."""
        if self._yielded:
            return  # the next turn is already scheduled
        self._simple = False
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
                    self._simple = self._is_simple
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
    def _is_simple(self) -> bool:
        if self._session is None or self._queue or self._writing_paused:
            return False
        return self._reader is not None and self._reader.is_empty

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

    def _deliver_to_app(self, message: str | bytes) -> None:
        raise NotImplementedError

    def _resume_writers(self) -> None:
        self._writing_paused = False

    def send(self, text: bytes) -> None:
        if self._phase is OPEN:
            self._transport.write(frame(TEXT, text))

    def resume(self) -> None:
        if self._queue or self._paused:
            self._process()


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_DATA, NOT_UTF8) from None
