"""What a session says and hears over its WebSocket: upgrade → reset → held → steps → close. Bytes in,
bytes out; it touches no socket."""

import time
from typing import Protocol

from analysis.rows.error_types import ErrorType
from locustfiles.session.outcome import observation, Outcome
from locustfiles.session.plan import Plan, SessionError, Target
from locustfiles.websocket import handshake
from locustfiles.websocket.frames import (
    BadFrame,
    BINARY,
    CLOSE,
    close_reason,
    closing,
    frame,
    PING,
    PONG,
    Reader,
    Request,
    TEXT,
    whole_text,
)
from locustfiles.websocket.handshake import HandshakeError

UPGRADING, RESETTING, HELD, STEPPING, CLOSING, CLOSED, OVER = range(7)
"""CLOSED: both have said that the session is closed; the server is to hang up."""

RESET = Request(TEXT, b'{"type":"reset","data":{}}')
GOODBYE = Request(TEXT, b'{"type":"close"}')


class Gate(Protocol):
    """What a session passes between its reset and its steps."""

    def arrive(self, session: "Conversation") -> bool:
        """Whether it may go on at once; else it is told later (`go_on`)."""

    def leave(self, session: "Conversation") -> None:
        """It waits no more."""


class Conversation:
    """Latencies count until the moment in which an answer's bytes are handed in."""

    __slots__ = (
        "_gate",
        "_head",
        "_key",
        "_left",
        "_mark",
        "_reader",
        "fd",
        "limit",
        "outcome",
        "phase",
        "plan",
    )

    def __init__(self, plan: Plan, outcome: Outcome, gate: Gate | None = None) -> None:
        self.plan, self.outcome = plan, outcome
        self.phase = UPGRADING
        self.fd = -1  # of its socket, once it has one
        self.limit = time.perf_counter() + plan.timeout
        self._gate = gate
        self._head = self._key = b""
        self._left = plan.steps
        self._mark = 0.0
        self._reader: Reader | None = None

    @property
    def half_read(self) -> bool:
        """Whether a message has come in part."""
        return self._reader is not None

    def begin(self, target: Target) -> bytes:
        self._key = handshake.new_key()
        return handshake.request(target.upgrade_head, self._key)

    def take(self, data: bytes) -> bytes:
        """What to send when these bytes have come. Raises `SessionError`."""
        now = time.perf_counter()
        if now > self.limit and self.phase != CLOSED:
            raise self.plan.too_long
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

    def cut(self, failure: OSError | None) -> None:
        """The connection has ended. Raises `SessionError` when it should not have."""
        why = f"{type(failure).__name__}: {failure}" if failure else "the server closed it"
        if self.phase == UPGRADING:
            response = handshake.parse(self._head)
            if response is not None and response.status != 101:
                raise SessionError(*handshake.rejection(response, response.body or b""))
            raise SessionError(ErrorType.HANDSHAKE_FAILED, f"the connection ended: {why}")
        if self.phase < CLOSING:
            raise SessionError(ErrorType.DISCONNECTED, f"the connection ended: {why}")
        if self.phase < CLOSED:
            self.outcome.ended()
        self.phase = OVER

    def go_on(self) -> bytes:
        """The gate is open: what to send. The session has its time anew."""
        now = time.perf_counter()
        self.outcome.hold_latency = now - self._mark
        self.limit = now + self.plan.timeout
        return self._step(now)

    def end(self, failure: Exception | None) -> None:
        """Nothing more will come; None is success."""
        outcome = self.outcome
        if self.phase == HELD and self._gate is not None:
            outcome.hold_latency = time.perf_counter() - self._mark
            self._gate.leave(self)
        if self.phase < CLOSED:
            outcome.ended()
        self.phase = OVER
        if failure is None:
            outcome.success = True
        else:
            outcome.failed(failure)

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
        self.outcome.connect_latency = now - self.outcome.begun
        self._mark, self.phase = now, RESETTING
        return RESET.frame() + (self.take(response.rest) if response.rest else b"")

    def _message(self, message: bytes, now: float) -> bytes:
        outcome = self.outcome
        if self.phase == STEPPING:
            seen = observation(message)
            outcome.step_latencies.append(now - self._mark)
            self._left -= 1
            if self._left:
                return self._step(now)
            outcome.saw_last(seen)
            self.phase = CLOSING
            return GOODBYE.frame()
        if self.phase == RESETTING:
            outcome.saw(observation(message))
            outcome.reset_latency = now - self._mark
            if self._gate is None or self._gate.arrive(self):
                return self._step(now)
            self._mark, self.phase = now, HELD
            self.limit = float("inf")
            return b""
        if self.phase == HELD:
            observation(message)  # an error says more than that it was not asked for
            raise SessionError(
                ErrorType.PROTOCOL_ERROR, "the server sent a message without a request"
            )
        return b""

    def _step(self, now: float) -> bytes:
        self._mark, self.phase = now, STEPPING
        return self.plan.step.frame()

    def _frames(self, data: bytes, now: float) -> bytes:
        """The same for what is not simply one message."""
        reader = self._reader = self._reader or Reader()
        answers = []
        for opcode, payload in reader.feed(data):
            if opcode in (TEXT, BINARY):
                answers.append(self._message(payload, now))
            elif opcode == PING:
                answers.append(frame(PONG, payload))
            elif opcode == CLOSE:
                answers.append(self._closed(payload))
                break
        if reader.between_frames:
            self._reader = None  # an idle session keeps no buffer
        return b"".join(answers)

    def _closed(self, payload: bytes) -> bytes:
        """The server is to hang up first, as RFC 6455 (7.1.1) has it: a load that does so has every port
        of its address in TIME_WAIT for a minute, and fast cells would run out of them."""
        reason = close_reason(payload)
        if self.phase < CLOSING:
            raise SessionError(ErrorType.DISCONNECTED, f"the server closed the session: {reason}")
        if self.phase == CLOSED:
            return b""
        self.phase = CLOSED
        self.outcome.ended()
        return closing(payload)
