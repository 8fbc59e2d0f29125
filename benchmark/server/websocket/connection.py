"""One WebSocket connection, once the client has asked for it: its frames, its pace and its end. What is
above it, `websocket.py`, opens it and speaks ASGI."""

import asyncio
from asyncio import Future, TimerHandle
from enum import IntEnum
from typing import Any

from benchmark.server.websocket.frames import (
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
from benchmark.server.websocket.half_closed import leavers
from benchmark.server.websocket.interface import Answering, NORMAL

AHEAD, AHEAD_BYTES = 32, 65_536
"""Messages, and bytes of them, that a client may be ahead of the app; the rest stay in its own socket."""

MESSAGES_A_TURN = 16
"""Then it is the other clients' turn."""

CLOSE_SECONDS = 10.0
"""For the other side to answer a close frame."""

EOF_SECONDS, VOID_SECONDS = 0.2, 2.0
"""After a close frame that tells of a violation: until nothing more comes from here, and until the end."""

ABNORMAL, FAILED = 1006, 1011


class Phase(IntEnum):
    ASKED = 0  # the app has not let the client in yet
    OPEN = 1
    CLOSING = 2  # our close frame is on its way
    OVER = 3


class Connection(asyncio.Protocol):
    __slots__ = (
        "_ahead",
        "_ahead_bytes",
        "_answering",
        "_closed_by_app",
        "_closer",
        "_deaf",
        "_ended",
        "_loop",
        "_paused",
        "_phase",
        "_pong",
        "_reader",
        "_told",
        "_transport",
        "_turn_over",
        "_watched",
        "_writing_paused",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._phase = Phase.ASKED
        self._reader: Reader | None = None
        self._ahead: list[Any] = []
        self._ahead_bytes = 0
        self._answering: Answering | None = None
        self._ended: Future[None] | None = None
        self._paused = self._writing_paused = self._told = self._deaf = False
        self._turn_over = self._closed_by_app = False
        self._watched: int | None = None
        self._pong: bytes | None = None
        self._closer: TimerHandle | None = None

    # what the loop calls

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, _: Exception | None) -> None:
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

    def _gone(self) -> None:
        """The client sends nothing more: it has left."""
        self._end(ABNORMAL)
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes; by force where the client does not take what is still on its way to it."""
        if self._closer is None and self._transport.get_write_buffer_size():
            self._close_within(CLOSE_SECONDS)
        self._transport.close()

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
            self._tell_message(message)
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
        self._loop.call_later(EOF_SECONDS, self._say_no_more)
        self._close_within(VOID_SECONDS)

    def _say_no_more(self) -> None:
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

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
            self._tell_end(code, reason)

    def _tell_message(self, message: str | bytes) -> None:
        """To an app that is not answering at once."""
        raise NotImplementedError

    def _tell_end(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def _resume_writers(self) -> None:
        self._writing_paused = False

    # the wire of a session that answers at once

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
