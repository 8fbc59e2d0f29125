"""What has become of sessions: into rows, and into Locust's statistics."""

from collections import deque
from typing import Any

import gevent
from gevent.event import Event

from locustfiles.grid.cell_share import Share
from locustfiles.grid.clock import Fitness
from locustfiles.session.outcome import Outcome

PARTS = ("connect", "reset", "step")
AT_ONCE = 250  # sessions recorded before others have their turn


class Recorder:
    """Takes outcomes from within the hub; writes them down in a greenlet, where Locust's listeners
    may wait."""

    def __init__(self, environment: Any, fitness: Fitness) -> None:
        self.share: Share | None = None
        """Whose rows are kept; those of a cell that has ended were written off."""
        self.rows: list[tuple[int, bytes]] = []
        self._environment, self._fitness = environment, fitness
        self._outcomes: deque[tuple[Share, int, Outcome]] = deque()
        self._more = Event()

    def take(self, share: Share, number: int, outcome: Outcome) -> None:
        self._outcomes.append((share, number, outcome))
        self._more.set()

    def record_for_ever(self) -> None:
        while True:
            self._more.wait()
            for _ in range(min(AT_ONCE, len(self._outcomes))):
                self._record(*self._outcomes.popleft())
            if not self._outcomes:
                self._more.clear()
            gevent.sleep(0)

    def _record(self, share: Share, number: int, outcome: Outcome) -> None:
        if share is self.share:
            row = share.row(number, outcome, self._fitness.lag)
            self.rows.append((share.request_id(number), row))
        report(self._environment, share.plan.mode, outcome)


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
