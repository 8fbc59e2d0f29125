"""The Locust user of the grid: one user, one session."""

import time
from datetime import datetime, UTC
from typing import Any

import gevent
import orjson
from gevent.event import Event
from locust import task, User

from locustfiles import session
from locustfiles.arrivals import dealt, due
from locustfiles.clock import Fitness
from locustfiles.session import Gate, Outcome, Plan, Target

PARTS = ("connect", "reset", "step")


class Barrier(Gate):
    """Holds sessions that are open until they are to step, all together."""

    def __init__(self) -> None:
        self.held = 0
        self._released = Event()

    def wait(self) -> None:
        self.held += 1
        self._released.wait()
        self.held -= 1

    def release(self) -> None:
        self._released.set()


class Share:
    """The sessions of one cell that fall to this load worker. Times of day are the master's, whose
    clock this one is `ahead` of by so many seconds."""

    def __init__(self, message: dict[str, Any], worker: str, ahead: float = 0.0) -> None:
        constant = message["constant"]
        self.plan = Plan(message["mode"], message["wait"], message["timeout"], constant["steps"])
        self.cell: int = message["cell"]
        self.shape: str = constant["shape"]
        self.gate = Barrier() if self.shape == "hold" else None
        self.open = self._waiting = 0
        self._constant = constant | {
            "load_worker": worker,
            "open_clients": None,
            "open_servers": None,
        }
        self._ahead = ahead
        self._start: float = message["start"]
        self._zero = time.perf_counter() + self._start - (time.time() - ahead)
        self._due = dealt(due(message), message["counts"], message["index"])
        self._first, self._claimed = message["first"], 0
        self._targets = [
            Target.from_url(message["url"], source) for source in message["sources"] or [None]
        ]

    def claim(self) -> int | None:
        """The next session, as a number in this share; None when all have been taken."""
        if self._claimed >= len(self._due):
            return None
        self._claimed += 1
        return self._claimed - 1

    def run(self, number: int) -> Outcome:
        """Runs the session when it is due."""
        begun = self._zero + self._due[number]
        target = self._targets[self.request_id(number) % len(self._targets)]
        self._waiting += 1
        gevent.sleep(max(0.0, begun - time.perf_counter()))
        self._waiting -= 1
        self.open += 1
        try:
            return session.run(
                self.plan, target, self.gate, begun if self.shape == "open" else None
            )
        finally:
            self.open -= 1

    def release(self, open_clients: int, open_servers: int | None) -> None:
        """All that will open are open; so many, as both sides count them."""
        self._constant |= {"open_clients": open_clients, "open_servers": open_servers}
        if self.gate is not None:
            self.gate.release()

    @property
    def over(self) -> bool:
        return self._claimed >= len(self._due) and not self.open and not self._waiting

    @property
    def held(self) -> int:
        return self.gate.held if self.gate else 0

    def request_id(self, number: int) -> int:
        return int(self._first + number)

    def row(self, number: int, outcome: Outcome, lag: float | None) -> bytes:
        return orjson.dumps(
            {
                "request_id": self.request_id(number),
                "timestamp": iso(outcome.started - self._ahead),
                "intended_timestamp": iso(self._start + self._due[number]),
                **self._constant,
                "connect_latency": outcome.connect_latency,
                "reset_latency": outcome.reset_latency,
                "step_latency": outcome.step_latency,
                "step_latency_max": outcome.step_latency_max,
                "hold_latency": outcome.hold_latency,
                "total_latency": outcome.total_latency,
                "waited_seconds": outcome.waited_seconds,
                "pid": outcome.pid,
                "session_hash": outcome.session_hash,
                "host_url": outcome.host_url,
                "success": outcome.success,
                "error_type": outcome.error_type,
                "error_message": outcome.error_message,
                "load_lag": lag,
            }
        )


class Shares:
    """Where users wait for their next cell and leave their rows."""

    def __init__(self) -> None:
        self.share: Share | None = None
        self._given = Event()
        self.rows: list[tuple[int, bytes]] = []
        self.fitness = Fitness()

    @property
    def idle(self) -> bool:
        """Whether no session is open or about to be."""
        return self.share is None or self.share.over

    def give(self, share: Share) -> None:
        """Wakes all users that wait."""
        self.share, self.rows = share, []
        self.fitness.reset()
        given, self._given = self._given, Event()
        given.set()

    def next(self, done: Share | None) -> Share:
        """The share that comes after `done`; waits for it."""
        if self.share is None or self.share is done:
            self._given.wait()
        assert self.share is not None
        return self.share

    def told(self) -> dict[str, Any]:
        """What the master is told of the cell under way; the rows are its own from then on."""
        assert self.share is not None
        rows, self.rows = self.rows, []
        share = self.share
        counts = {"cell": share.cell, "open": share.open, "held": share.held}
        return counts | {"rows": rows, "fitness": self.fitness.told()}


class SessionUser(User):
    """Runs one session of each cell."""

    shares = Shares()
    _done: Share | None = None

    @task
    def run_session(self) -> None:
        share = self._done = self.shares.next(self._done)
        number = share.claim()
        if number is None:
            return
        outcome = share.run(number)
        if self.shares.share is share:
            row = share.row(number, outcome, self.shares.fitness.lag)
            self.shares.rows.append((share.request_id(number), row))
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


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="microseconds")
