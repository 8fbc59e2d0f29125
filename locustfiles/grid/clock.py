"""How far this clock is ahead of the master's, and how late this process runs."""

import time
from pathlib import Path

import gevent

EXCHANGES = 5
TICK_SECONDS = 0.02
SCHEDSTAT = Path("/proc/self/schedstat")


class Offset:
    """From a few exchanges, the quickest of which counts: as NTP estimates it (RFC 5905, 8)."""

    def __init__(self) -> None:
        self._exchanges = 0
        self._shortest = float("inf")
        self._offset = 0.0

    @property
    def known(self) -> bool:
        return self._exchanges >= EXCHANGES

    def add(self, sent: float, there: float, back: float) -> None:
        """All are times of day in seconds: here, on the other side, here again."""
        self._exchanges += 1
        if back - sent < self._shortest:
            self._shortest, self._offset = back - sent, (sent + back) / 2 - there

    @property
    def seconds(self) -> float:
        """0 for what a way there that was longer or shorter than the way back may explain."""
        return self._offset if abs(self._offset) > self._shortest / 2 else 0.0


class Fitness:
    """What became of this process's time since `reset`: how late its loop ran at most, or served who
    was ready; CPU seconds used, and seconds that it waited for a CPU."""

    def __init__(self) -> None:
        self._next = time.perf_counter()
        self.reset()

    def reset(self) -> None:
        self._latest = 0.0
        self._begun = time.perf_counter()
        self._cpu, self._wait = time.process_time(), _waited()

    def watch(self) -> None:
        """For ever; to be run in a greenlet of its own."""
        while True:
            self._next = time.perf_counter() + TICK_SECONDS
            gevent.sleep(TICK_SECONDS)
            self._latest = self.lag

    @property
    def lag(self) -> float:
        """Seconds; also of the delay that it is in right now."""
        return max(self._latest, time.perf_counter() - self._next)

    def saw(self, lag: float) -> None:
        """Something had to wait so many seconds for this process."""
        self._latest = max(self._latest, lag)

    def told(self) -> dict[str, float]:
        return {
            "cpu_seconds": time.process_time() - self._cpu,
            "wait_seconds": _waited() - self._wait,
            "wall_seconds": time.perf_counter() - self._begun,
            "lag_max": self.lag,
        }


def _waited() -> float:
    """Seconds in the run queue; 0 where the kernel does not count them."""
    try:
        return int(SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
