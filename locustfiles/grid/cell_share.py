"""The sessions of one cell that fall to one load worker."""

import time
from collections.abc import Callable
from datetime import datetime, UTC
from typing import Any

import gevent
import orjson

from locustfiles.grid.arrivals import dealt, due, HELD_BACK
from locustfiles.session import run as session
from locustfiles.session.conversation import Conversation
from locustfiles.session.engine import engine
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, Target

SLICE = 16
"""Sessions begun, or let go on, before what has come in meanwhile is taken in."""

MOST_OPENING = 512
"""Sessions of a burst on their way to a WebSocket: the server has always enough to do, and its accept
queue does not overflow, after which the kernel would drop connections and try again a second later."""

PATIENCE = 1.0
"""Seconds without a new WebSocket after which nothing is gained by holding the others back."""

PAUSE = 0.002


def take_in() -> None:
    """All that was ready; others in the process have their turns."""
    while engine().turn():
        gevent.sleep(0)
    gevent.sleep(0)


class Barrier:
    """Holds sessions that are open until they are to step, all together."""

    def __init__(self) -> None:
        self._open = False
        self._held: dict[Conversation, None] = {}

    @property
    def held(self) -> int:
        return len(self._held)

    def arrive(self, session: Conversation) -> bool:
        if not self._open:
            self._held[session] = None
        return self._open

    def leave(self, session: Conversation) -> None:
        self._held.pop(session, None)

    def release(self) -> None:
        """For a greenlet: takes its time over many."""
        self._open = True
        while self._held:
            for _ in range(min(SLICE, len(self._held))):
                held, _ = self._held.popitem()
                engine().go_on(held)
            take_in()


class Share:
    """Times of day are the master's, whose clock this one is `ahead` of by so many seconds.
    `ended(share, number, outcome)` is called for each session; it must not wait."""

    def __init__(
        self,
        message: dict[str, Any],
        worker: str,
        ahead: float,
        ended: Callable[["Share", int, Outcome], None],
    ) -> None:
        constant = message["constant"]
        self.plan = Plan(message["mode"], message["wait"], message["timeout"], constant["steps"])
        self.cell: int = message["cell"]
        self.shape: str = constant["shape"]
        self.gate = Barrier() if self.shape == "hold" else None
        self.open = 0
        self._ended = ended
        self._constant = constant | {
            "load_worker": worker,
            "open_clients": None,
            "open_servers": None,
        }
        self._ahead = ahead
        self._start: float = message["start"]
        self._zero = time.perf_counter() + self._start - (time.time() - ahead)
        self._due = dealt(due(message), message["counts"], message["index"])
        self._first, self._begun = message["first"], 0
        self._targets = [
            Target.from_url(message["url"], source) for source in message["sources"] or [None]
        ]

    def run(self) -> None:
        """Begins each session when it is due; for a greenlet."""
        begin = self._begin_websocket if self.plan.mode == "ws" else self._begin_http
        while self._begun < len(self._due):
            now = time.perf_counter()
            if self._must_wait(now):
                gevent.sleep(PAUSE)
                continue
            for number in range(self._begun, min(self._begun + SLICE, len(self._due))):
                if self._zero + self._due[number] > now:
                    break
                self._begun += 1
                self.open += 1
                begin(number)
            take_in()
            gevent.sleep(self._seconds_to_next())

    def release(self, open_clients: int, open_servers: int | None) -> None:
        """All that will open are open; so many, as both sides count them."""
        self._constant |= {"open_clients": open_clients, "open_servers": open_servers}
        if self.gate is not None:
            gevent.spawn(self.gate.release)

    @property
    def over(self) -> bool:
        return self._begun >= len(self._due) and not self.open

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

    def _must_wait(self, now: float) -> bool:
        """Whether the next of a burst is held back, while its clock runs. Arrivals never are:
        they do not ask how the system fares."""
        running = engine()
        return (
            self.shape != "open"
            and running.opening >= MOST_OPENING
            and now - max(running.last_opened, self._zero) < PATIENCE
            and now - self._zero < HELD_BACK * self.plan.timeout
        )

    def _seconds_to_next(self) -> float:
        if self._begun >= len(self._due):
            return 0.0
        wait: float = self._zero + self._due[self._begun] - time.perf_counter()
        return max(0.0, wait)

    def _begin_websocket(self, number: int) -> None:
        def done(outcome: Outcome) -> None:
            self.open -= 1
            self._ended(self, number, outcome)

        outcome = Outcome(self._due_at(number))
        engine().start(Conversation(self.plan, outcome, self.gate), self._target(number), done)

    def _begin_http(self, number: int) -> None:
        def run() -> None:
            outcome = session.run(self.plan, self._target(number), None, self._due_at(number))
            self.open -= 1
            self._ended(self, number, outcome)

        gevent.spawn(run)

    def _due_at(self, number: int) -> float:
        """What latencies count from: a session that is held back, or that the load gets to late, waits
        all the same."""
        due: float = self._zero + self._due[number]
        return due

    def _target(self, number: int) -> Target:
        return self._targets[self.request_id(number) % len(self._targets)]


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="microseconds")
