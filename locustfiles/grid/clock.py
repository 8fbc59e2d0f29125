"""Measures the offset between two clocks, and how late this process runs."""

import time
from pathlib import Path

import gevent

EXCHANGES = 5
TICK_SECONDS = 0.02
SCHEDSTAT = Path("/proc/self/schedstat")


class ClockOffset:
    """Uses the quickest of a few exchanges, as NTP does (RFC 5905, section 8)."""

    def __init__(self) -> None:
        self._exchanges = 0
        self._shortest = float("inf")
        self._offset = 0.0

    @property
    def known(self) -> bool:
        return self._exchanges >= EXCHANGES

    def add(self, sent: float, remote: float, received: float) -> None:
        """Unix times in seconds, of which `remote` was read by the other process."""
        self._exchanges += 1
        if received - sent < self._shortest:
            self._shortest, self._offset = received - sent, (sent + received) / 2 - remote

    @property
    def seconds(self) -> float:
        """How far this clock is ahead; 0 if unequal delays of the two messages could explain it."""
        return self._offset if abs(self._offset) > self._shortest / 2 else 0.0


class ProcessMonitor:
    """Measures, since `reset`, the lag of this process, the CPU time that it used and the time that it
    waited for a CPU. The lag is how late the event loop ran or ready sockets were served."""

    def __init__(self) -> None:
        self._wake_due = time.perf_counter()
        self.reset()

    def reset(self) -> None:
        self._max_lag = 0.0
        self._started = time.perf_counter()
        self._cpu, self._wait = time.process_time(), _run_queue_seconds()

    def watch(self) -> None:
        """Runs forever in a greenlet of its own."""
        while True:
            self._wake_due = time.perf_counter() + TICK_SECONDS
            gevent.sleep(TICK_SECONDS)
            self._max_lag = self.lag

    @property
    def lag(self) -> float:
        """The maximum in seconds, including a delay that is still in progress."""
        return max(self._max_lag, time.perf_counter() - self._wake_due)

    def add_lag(self, lag: float) -> None:
        self._max_lag = max(self._max_lag, lag)

    def report(self) -> dict[str, float]:
        return {
            "cpu_seconds": time.process_time() - self._cpu,
            "wait_seconds": _run_queue_seconds() - self._wait,
            "wall_seconds": time.perf_counter() - self._started,
            "lag_max": self.lag,
        }


def _run_queue_seconds() -> float:
    """The time spent in the run queue; 0 where the kernel does not measure it (proc(5))."""
    try:
        return int(SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
