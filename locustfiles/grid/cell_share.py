"""The share of one load worker in the sessions of a cell."""

import time
from collections.abc import Callable
from datetime import datetime, UTC
from typing import Any

import gevent
import orjson

from locustfiles.grid.arrivals import deal, due_times, MAX_HOLD_BACK
from locustfiles.session import run as session
from locustfiles.session.conversation import Conversation
from locustfiles.session.engine import engine
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, Target

# How many sessions to start, or to resume, before processing what has arrived in the meantime.
SLICE = 16
# How many sessions of a burst may be in their handshake. This keeps the server busy but does not
# overflow its accept queue, after which the kernel drops connections and retries a second later.
MAX_OPENING = 512
# After this time without a newly opened session, holding others back is pointless.
STALL_SECONDS = 1.0
RETRY_SECONDS = 0.002


def process_ready() -> None:
    """Serves all ready sockets, and lets other greenlets run."""
    while engine().turn():
        gevent.sleep(0)
    gevent.sleep(0)


class Barrier:
    """Holds open sessions until all of them may start stepping."""

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
        self._open = True
        while self._held:
            for _ in range(min(SLICE, len(self._held))):
                held, _ = self._held.popitem()
                engine().resume(held)
            process_ready()


class Share:
    """Unix times are those of the master; `clock_offset` is how far this clock is ahead, in seconds.
    `on_end(share, number, outcome)` is called for each session and must not block."""

    def __init__(
        self,
        message: dict[str, Any],
        worker: str,
        clock_offset: float,
        on_end: Callable[["Share", int, Outcome], None],
    ) -> None:
        constant = message["constant"]
        self.plan = Plan(message["mode"], message["wait"], message["timeout"], constant["steps"])
        self.cell: int = message["cell"]
        self.shape: str = constant["shape"]
        self.gate = Barrier() if self.shape == "hold" else None
        self.open = 0
        self._on_end = on_end
        self._constant = constant | {
            "load_worker": worker,
            "open_clients": None,
            "open_servers": None,
        }
        self._clock_offset = clock_offset
        self._start: float = message["start"]
        self._perf_start = time.perf_counter() + self._start - (time.time() - clock_offset)
        self._due = deal(due_times(message), message["counts"], message["index"])
        self._first, self._started = message["first"], 0
        self._targets = [
            Target.from_url(message["url"], source) for source in message["sources"] or [None]
        ]

    def run(self) -> None:
        """Starts each session when it is due; runs in a greenlet."""
        start = self._start_websocket if self.plan.mode == "ws" else self._start_http
        while self._started < len(self._due):
            now = time.perf_counter()
            if self._hold_back(now):
                gevent.sleep(RETRY_SECONDS)
                continue
            for number in range(self._started, min(self._started + SLICE, len(self._due))):
                if self._perf_start + self._due[number] > now:
                    break
                self._started += 1
                self.open += 1
                start(number)
            process_ready()
            gevent.sleep(self._seconds_to_next())

    def release(self, open_clients: int, open_servers: int | None) -> None:
        """Lets the held sessions continue and records how many were open."""
        self._constant |= {"open_clients": open_clients, "open_servers": open_servers}
        if self.gate is not None:
            gevent.spawn(self.gate.release)

    @property
    def finished(self) -> bool:
        return self._started >= len(self._due) and not self.open

    @property
    def held(self) -> int:
        return self.gate.held if self.gate else 0

    def request_id(self, number: int) -> int:
        return int(self._first + number)

    def row(self, number: int, outcome: Outcome, lag: float | None) -> bytes:
        return orjson.dumps(
            {
                "request_id": self.request_id(number),
                "timestamp": iso(outcome.started - self._clock_offset),
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

    def _hold_back(self, now: float) -> bool:
        """Whether to delay the next session of a burst. Arrivals of shape "open" are never delayed:
        they do not depend on the state of the system."""
        sessions = engine()
        return (
            self.shape != "open"
            and sessions.opening >= MAX_OPENING
            and now - max(sessions.last_opened, self._perf_start) < STALL_SECONDS
            and now - self._perf_start < MAX_HOLD_BACK * self.plan.timeout
        )

    def _seconds_to_next(self) -> float:
        if self._started >= len(self._due):
            return 0.0
        wait: float = self._perf_start + self._due[self._started] - time.perf_counter()
        return max(0.0, wait)

    def _start_websocket(self, number: int) -> None:
        def done(outcome: Outcome) -> None:
            self.open -= 1
            self._on_end(self, number, outcome)

        outcome = Outcome(self._due_at(number))
        engine().start(Conversation(self.plan, outcome, self.gate), self._target(number), done)

    def _start_http(self, number: int) -> None:
        def run() -> None:
            outcome = session.run(self.plan, self._target(number), None, self._due_at(number))
            self.open -= 1
            self._on_end(self, number, outcome)

        gevent.spawn(run)

    def _due_at(self, number: int) -> float:
        """Latencies count from here, even if the session is held back or starts late."""
        due: float = self._perf_start + self._due[number]
        return due

    def _target(self, number: int) -> Target:
        return self._targets[self.request_id(number) % len(self._targets)]


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="microseconds")
