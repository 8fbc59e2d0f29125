"""The outcome of one session."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from analysis.rows.error_types import ErrorType
from locustfiles.session.plan import SessionError


@dataclass(slots=True)
class Outcome:
    """Latencies are in seconds; None means that the part never ended.

    `due` is when the session should have started, in seconds of `time.perf_counter`: the connect and
    total latencies count from it. `started` is a Unix timestamp.
    """

    due: float = field(default_factory=time.perf_counter)
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
        """The mean of the steps that ended."""
        steps = self.step_latencies
        return sum(steps) / len(steps) if steps else None

    @property
    def step_latency_max(self) -> float | None:
        return max(self.step_latencies, default=None)

    def parts(self) -> Iterator[tuple[str, float]]:
        """The name and the latency of every part that ended."""
        for part, latency in (("connect", self.connect_latency), ("reset", self.reset_latency)):
            if latency is not None:
                yield part, latency
        for latency in self.step_latencies:
            yield "step", latency

    def observe(self, observation: dict[str, Any]) -> None:
        """Records where the session ran, if the app reports it."""
        self.pid = _of(int, observation.get("pid"))
        self.session_hash = _of(str, observation.get("session_hash"))
        self.host_url = _of(str, observation.get("host_url"))

    def observe_last(self, observation: dict[str, Any]) -> None:
        self.observe(observation)
        self.waited_seconds = _of(float, observation.get("waited_seconds"))

    def finish(self) -> None:
        """Sets the total latency, which excludes the time that the session was held."""
        self.total_latency = time.perf_counter() - self.due - (self.hold_latency or 0.0)

    def fail(self, failure: Exception) -> None:
        """Any exception but `SessionError` is an error of the load itself."""
        self.success = False
        if isinstance(failure, SessionError):
            self.error_type, self.error_message = failure.error_type, str(failure)[:500]
        else:
            self.error_type = ErrorType.LOAD_ERROR
            self.error_message = f"{type(failure).__name__}: {failure}"[:500]


def _of(kind: type, value: Any) -> Any:
    """The value if it has that type, where any number is a float; otherwise None."""
    types = (int, float) if kind is float else kind
    return value if isinstance(value, types) and not isinstance(value, bool) else None


def parse_reply(content: bytes) -> dict[str, Any]:
    """The observation of a WebSocket reply. Raises `SessionError`."""
    reply = parse_json(content)
    kind = reply.get("type") if isinstance(reply, dict) else None
    data = reply.get("data") if isinstance(reply, dict) else None
    if kind == "error" and isinstance(data, dict):
        code = str(data.get("code", ErrorType.UNKNOWN_ERROR))
        raise SessionError(code, str(data.get("message", "")))
    if kind != "observation":
        raise _no_observation(reply)
    return observation_in(data, reply)


def observation_in(data: Any, reply: Any) -> dict[str, Any]:
    """The observation in `data`, a part of `reply`. Raises `SessionError`."""
    observation = data.get("observation") if isinstance(data, dict) else None
    if not isinstance(observation, dict):
        raise _no_observation(reply)
    return observation


def parse_json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as failure:
        raise SessionError(ErrorType.PROTOCOL_ERROR, f"the reply is not JSON: {failure}") from None


def _no_observation(reply: Any) -> SessionError:
    return SessionError(ErrorType.PROTOCOL_ERROR, f"not an observation: {str(reply)[:200]}")
