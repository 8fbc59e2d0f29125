"""Limits how often a process that exits is restarted."""

import time
from collections import deque

MAX_RESTARTS, WINDOW_SECONDS = 3, 300.0


class ExitHistory:
    """The exits of one process within the last `WINDOW_SECONDS`."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._times)

    def add(self) -> None:
        now = time.monotonic()
        self._times.append(now)
        while self._times[0] < now - WINDOW_SECONDS:
            self._times.popleft()

    @property
    def too_many(self) -> bool:
        return len(self._times) > MAX_RESTARTS
