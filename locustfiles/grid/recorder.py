"""Turns the outcomes of sessions into rows and into Locust's statistics."""

from collections import deque
from typing import Any

import gevent
from gevent.event import Event

from locustfiles.grid.cell_share import Share
from locustfiles.grid.clock import ProcessMonitor
from locustfiles.session.outcome import Outcome

PARTS = ("connect", "reset", "step")
RECORDS_PER_TURN = 250  # sessions to record before other greenlets run


class Recorder:
    """Accepts outcomes in the hub and records them in a greenlet, where Locust's listeners may block."""

    def __init__(self, environment: Any, monitor: ProcessMonitor) -> None:
        # Only rows of this share are kept: the master has written off those of earlier cells.
        self.share: Share | None = None
        self.rows: list[tuple[int, bool, bytes]] = []  # request ID, success, row
        self._environment, self._monitor = environment, monitor
        self._outcomes: deque[tuple[Share, int, Outcome]] = deque()
        self._pending = Event()

    def add(self, share: Share, number: int, outcome: Outcome) -> None:
        self._outcomes.append((share, number, outcome))
        self._pending.set()

    def run(self) -> None:
        while True:
            self._pending.wait()
            for _ in range(min(RECORDS_PER_TURN, len(self._outcomes))):
                self._record(*self._outcomes.popleft())
            if not self._outcomes:
                self._pending.clear()
            gevent.sleep(0)

    def _record(self, share: Share, number: int, outcome: Outcome) -> None:
        if share is self.share:
            row = share.row(number, outcome, self._monitor.lag)
            self.rows.append((share.request_id(number), outcome.success, row))
        report(self._environment, share.plan.mode, outcome)


def report(environment: Any, mode: str, outcome: Outcome) -> None:
    """Reports one request for each part that ended and one for the part that failed."""
    kind = mode.upper()
    for part, latency in outcome.parts():
        _fire(environment, kind, part, latency, None)
    if not outcome.success:
        failed_part = next(
            (part for part in PARTS if getattr(outcome, f"{part}_latency") is None), "close"
        )
        reason = RuntimeError(f"{outcome.error_type}: {outcome.error_message}")
        _fire(environment, kind, failed_part, outcome.total_latency or 0.0, reason)


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
