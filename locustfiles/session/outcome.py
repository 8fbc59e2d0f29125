"""What came of one session."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from analysis.rows.error_types import ErrorType
from locustfiles.session.plan import SessionError


@dataclass(slots=True)
class Outcome:
    """What one session saw. Latencies in seconds; None is a part that never ended.

    `begun` (of `time.perf_counter`) is what connect and total count from: now, or when the session
    was due.
    """

    begun: float = field(default_factory=time.perf_counter)
    started: float = field(default_factory=time.time)
    connect_latency: float | None = None
    reset_latency: float | None = None
    step_latencies: list[float] = field(default_factory=list)
    hold_latency: float | None = None
    total_latency: float | None = None
    waited_seconds: float | None = None
    pid: int | None = None
    session_hash: str | None = None
    host_url: str | None = None
    success: bool = False
    error_type: str | None = None
    error_message: str | None = None

    @property
    def step_latency(self) -> float | None:
        """The mean over the steps that ended."""
        steps = self.step_latencies
        return sum(steps) / len(steps) if steps else None

    @property
    def step_latency_max(self) -> float | None:
        return max(self.step_latencies, default=None)

    def parts(self) -> Iterator[tuple[str, float]]:
        """Each part that ended, with its latency; every step is one."""
        for part, latency in (("connect", self.connect_latency), ("reset", self.reset_latency)):
            if latency is not None:
                yield part, latency
        for latency in self.step_latencies:
            yield "step", latency

    def saw(self, observation: dict[str, Any]) -> None:
        """Keeps what tells where the session ran; other apps say other things, or nothing."""
        self.pid = _of(int, observation.get("pid"))
        self.session_hash = _of(str, observation.get("session_hash"))
        self.host_url = _of(str, observation.get("host_url"))

    def saw_last(self, observation: dict[str, Any]) -> None:
        self.saw(observation)
        self.waited_seconds = _of(float, observation.get("waited_seconds"))

    def ended(self) -> None:
        """Being held until the others are open is nobody's latency."""
        self.total_latency = time.perf_counter() - self.begun - (self.hold_latency or 0.0)

    def failed(self, failure: Exception) -> None:
        """By the name of a `SessionError`; anything else is the load's own mistake."""
        self.success = False
        if isinstance(failure, SessionError):
            self.error_type, self.error_message = failure.error_type, str(failure)[:500]
        else:
            # A session that has no row would be lost.
            self.error_type = ErrorType.LOAD_ERROR
            self.error_message = f"{type(failure).__name__}: {failure}"[:500]


def _of(kind: type, value: Any) -> Any:
    """The value when it is of that kind (any number is a float); else None."""
    wanted = (int, float) if kind is float else kind
    return value if isinstance(value, wanted) and not isinstance(value, bool) else None


def observation(content: bytes) -> dict[str, Any]:
    """That of an answer of a session. Raises `SessionError`."""
    reply = parsed(content)
    kind = reply.get("type") if isinstance(reply, dict) else None
    data = reply.get("data") if isinstance(reply, dict) else None
    if kind == "error" and isinstance(data, dict):
        raise SessionError(
            str(data.get("code", ErrorType.UNKNOWN_ERROR)), str(data.get("message", ""))
        )
    if kind != "observation":
        raise _no_observation(reply)
    return observed(data, reply)


def observed(data: Any, reply: Any) -> dict[str, Any]:
    """The observation in the data of a reply. Raises `SessionError`."""
    seen = data.get("observation") if isinstance(data, dict) else None
    if not isinstance(seen, dict):
        raise _no_observation(reply)
    return seen


def parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as failure:
        raise SessionError(ErrorType.PROTOCOL_ERROR, f"the reply is not JSON: {failure}") from None


def _no_observation(reply: Any) -> SessionError:
    return SessionError(ErrorType.PROTOCOL_ERROR, f"not an observation: {str(reply)[:200]}")
