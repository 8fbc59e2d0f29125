"""The Locust user of the grid: one user, one session."""

from datetime import datetime, UTC
from typing import Any

import orjson
from gevent.event import Event
from locust import task, User

from locustfiles import session
from locustfiles.session import Outcome, Plan, Target

PARTS = ("connect", "reset", "step")


class Share:
    """The sessions of one cell that fall to this load worker."""

    def __init__(self, message: dict[str, Any], worker: str) -> None:
        self.plan = Plan(message["mode"], message["wait"], message["timeout"])
        self.constant: dict[str, Any] = message["constant"] | {"load_worker": worker}
        self.sources: list[str | None] = message["sources"] or [None]
        self.cell: int = message["cell"]
        self.url: str = message["url"]
        self.intended = now()
        self._targets = [Target.from_url(self.url, source) for source in self.sources]
        self._next = message["first"]
        self._end = message["first"] + message["count"]
        self.open = 0

    def claim(self) -> int | None:
        """The id of the next session; None when all of this share have been taken."""
        if self._next >= self._end:
            return None
        self._next += 1
        return int(self._next - 1)

    def target(self, request_id: int) -> Target:
        return self._targets[request_id % len(self._targets)]

    def row(self, request_id: int, outcome: Outcome) -> bytes:
        return orjson.dumps(
            {
                "request_id": request_id,
                "timestamp": iso(outcome.started),
                "intended_timestamp": self.intended,
                **self.constant,
                "connect_latency": outcome.connect_latency,
                "reset_latency": outcome.reset_latency,
                "step_latency": outcome.step_latency,
                "total_latency": outcome.total_latency,
                "waited_seconds": outcome.waited_seconds,
                "pid": outcome.pid,
                "session_hash": outcome.session_hash,
                "host_url": outcome.host_url,
                "success": outcome.success,
                "error_type": outcome.error_type,
                "error_message": outcome.error_message,
            }
        )


class Shares:
    """Where users wait for their next cell and leave their rows."""

    def __init__(self) -> None:
        self._share: Share | None = None
        self._given = Event()
        self.rows: list[tuple[int, bytes]] = []
        self.cell = 0

    def give(self, share: Share) -> None:
        """Starts all users that wait, together."""
        self._share = share
        self.cell, self.rows = share.cell, []
        given, self._given = self._given, Event()
        given.set()

    def next(self, done: Share | None) -> Share:
        """The share that comes after `done`; waits for it."""
        if self._share is None or self._share is done:
            self._given.wait()
        assert self._share is not None
        return self._share

    @property
    def open(self) -> int:
        return self._share.open if self._share else 0


class SessionUser(User):
    """Runs one session of each cell."""

    shares = Shares()
    _done: Share | None = None

    @task
    def run_session(self) -> None:
        share = self._done = self.shares.next(self._done)
        request_id = share.claim()
        if request_id is None:
            return
        share.open += 1
        outcome = session.run(share.plan, share.target(request_id))
        share.open -= 1
        if self.shares.cell == share.cell:
            self.shares.rows.append((request_id, share.row(request_id, outcome)))
        report(self.environment, share.plan.mode, outcome)


def report(environment: Any, mode: str, outcome: Outcome) -> None:
    """Tells Locust's statistics: a request for each part that ended, one for what failed."""
    kind = mode.upper()
    for part, latency in outcome.parts():
        _fire(environment, kind, part, latency, None)
    if not outcome.success:
        failed_in = next(
            (part for part in PARTS if getattr(outcome, f"{part}_latency") is None), "close"
        )
        reason = RuntimeError(f"{outcome.error_type}: {outcome.error_message}")
        _fire(environment, kind, failed_in, outcome.total_latency or 0.0, reason)


def _fire(
    environment: Any, kind: str, name: str, latency: float, exception: Exception | None
) -> None:
    environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=latency * 1000,
        response_length=0,
        exception=exception,
        context={},
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="microseconds")
