"""The client side of a WebSocket session without I/O: upgrade → reset → hold → steps → close."""

import time
from typing import Protocol

from analysis.rows.error_types import ErrorType
from locustfiles.session.outcome import Outcome, parse_reply
from locustfiles.session.plan import Plan, SessionError, Target
from locustfiles.websocket import handshake
from locustfiles.websocket.frames import (
    BadFrame,
    BINARY,
    CLOSE,
    close_reason,
    close_reply,
    frame,
    PING,
    PONG,
    Reader,
    Request,
    TEXT,
    whole_text,
)
from locustfiles.websocket.handshake import HandshakeError

# CLOSING: the client has asked the server to close the session. CLOSED: both have sent close frames
# and the server must close the connection. OVER: the session has ended.
UPGRADING, RESETTING, HELD, STEPPING, CLOSING, CLOSED, OVER = range(7)

RESET = Request(TEXT, b'{"type":"reset","data":{}}')
CLOSE_SESSION = Request(TEXT, b'{"type":"close"}')


class Gate(Protocol):
    """Holds sessions between their reset and their steps."""

    def arrive(self, session: "Conversation") -> bool:
        """Whether the session may continue; otherwise the engine resumes it later."""

    def leave(self, session: "Conversation") -> None: ...


class Conversation:
    """A latency ends when the bytes of the reply are passed to `receive`."""

    __slots__ = (
        "_gate",
        "_head",
        "_key",
        "_part_started",
        "_reader",
        "_steps_left",
        "deadline",
        "fd",
        "outcome",
        "phase",
        "plan",
    )

    def __init__(self, plan: Plan, outcome: Outcome, gate: Gate | None = None) -> None:
        self.plan, self.outcome = plan, outcome
        self.phase = UPGRADING
        self.fd = -1  # of the socket, once there is one
        self.deadline = time.perf_counter() + plan.timeout
        self._gate = gate
        self._head = self._key = b""
        self._steps_left = plan.steps
        self._part_started = 0.0
        self._reader: Reader | None = None

    @property
    def mid_message(self) -> bool:
        return self._reader is not None

    def upgrade_request(self, target: Target) -> bytes:
        self._key = handshake.new_key()
        return handshake.request(target.upgrade_head, self._key)

    def receive(self, data: bytes) -> bytes:
        """Returns what to send in reply. Raises `SessionError`."""
        now = time.perf_counter()
        if now > self.deadline and self.phase != CLOSED:
            raise self.plan.timeout_error
        try:
            if self.phase == UPGRADING:
                return self._upgrade(data, now)
            if self._reader is None and (message := whole_text(data)) is not None:
                return self._message(message, now)
            return self._frames(data, now)
        except HandshakeError as failure:
            raise SessionError(ErrorType.HANDSHAKE_FAILED, str(failure)) from None
        except BadFrame as failure:
            raise SessionError(ErrorType.PROTOCOL_ERROR, str(failure)) from None

    def connection_lost(self, failure: OSError | None) -> None:
        """Raises `SessionError` unless the session had already been closed."""
        cause = f"{type(failure).__name__}: {failure}" if failure else "the server closed it"
        if self.phase == UPGRADING:
            response = handshake.parse(self._head)
            if response is not None and response.status != 101:
                raise SessionError(*handshake.rejection(response, response.body or b""))
            raise SessionError(ErrorType.HANDSHAKE_FAILED, f"the connection ended: {cause}")
        if self.phase < CLOSING:
            raise SessionError(ErrorType.DISCONNECTED, f"the connection ended: {cause}")
        if self.phase < CLOSED:
            self.outcome.finish()
        self.phase = OVER

    def resume(self) -> bytes:
        """The gate has opened: returns the first step and restarts the timeout."""
        now = time.perf_counter()
        self.outcome.hold_latency = now - self._part_started
        self.deadline = now + self.plan.timeout
        return self._step(now)

    def finish(self, failure: Exception | None) -> None:
        """Completes the outcome; None means success."""
        outcome = self.outcome
        if self.phase == HELD and self._gate is not None:
            outcome.hold_latency = time.perf_counter() - self._part_started
            self._gate.leave(self)
        if self.phase < CLOSED:
            outcome.finish()
        self.phase = OVER
        if failure is None:
            outcome.success = True
        else:
            outcome.fail(failure)

    def _upgrade(self, data: bytes, now: float) -> bytes:
        self._head += data
        response = handshake.parse(self._head)
        if response is None:
            return b""
        if response.status != 101:
            if (body := response.body) is None:
                return b""
            raise SessionError(*handshake.rejection(response, body))
        handshake.check_accepted(response, self._key)
        self._head = self._key = b""
        self.outcome.connect_latency = now - self.outcome.due
        self._part_started, self.phase = now, RESETTING
        return RESET.frame() + (self.receive(response.rest) if response.rest else b"")

    def _message(self, message: bytes, now: float) -> bytes:
        outcome = self.outcome
        if self.phase == STEPPING:
            observation = parse_reply(message)
            outcome.step_latencies.append(now - self._part_started)
            self._steps_left -= 1
            if self._steps_left:
                return self._step(now)
            outcome.observe_last(observation)
            self.phase = CLOSING
            return CLOSE_SESSION.frame()
        if self.phase == RESETTING:
            outcome.observe(parse_reply(message))
            outcome.reset_latency = now - self._part_started
            if self._gate is None or self._gate.arrive(self):
                return self._step(now)
            self._part_started, self.phase = now, HELD
            self.deadline = float("inf")
            return b""
        if self.phase == HELD:
            parse_reply(message)  # raises the server's own error, if the message is one
            raise SessionError(ErrorType.PROTOCOL_ERROR, "the server sent an unexpected message")
        return b""

    def _step(self, now: float) -> bytes:
        self._part_started, self.phase = now, STEPPING
        return self.plan.step.frame()

    def _frames(self, data: bytes, now: float) -> bytes:
        """Handles data other than a single text frame."""
        reader = self._reader = self._reader or Reader()
        replies = []
        for opcode, payload in reader.feed(data):
            if opcode in (TEXT, BINARY):
                replies.append(self._message(payload, now))
            elif opcode == PING:
                replies.append(frame(PONG, payload))
            elif opcode == CLOSE:
                replies.append(self._close(payload))
                break
        if reader.between_frames:
            self._reader = None  # an idle session keeps no buffer
        return b"".join(replies)

    def _close(self, payload: bytes) -> bytes:
        # The server closes the TCP connection first (RFC 6455, 7.1.1). Otherwise TIME_WAIT would
        # occupy the client's ports for a minute, and short cells would run out of them.
        reason = close_reason(payload)
        if self.phase < CLOSING:
            raise SessionError(ErrorType.DISCONNECTED, f"the server closed the session: {reason}")
        if self.phase == CLOSED:
            return b""
        self.phase = CLOSED
        self.outcome.finish()
        return close_reply(payload)
