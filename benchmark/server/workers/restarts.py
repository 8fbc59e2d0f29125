"""How often a process that dies is started again before its keeper gives up."""

import time
from collections import deque

REPLACEMENTS, WITHIN_SECONDS = 3, 300.0


class Deaths:
    """When one process died, as far back as it counts."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._times)

    def add(self) -> None:
        now = time.monotonic()
        self._times.append(now)
        while self._times[0] < now - WITHIN_SECONDS:
            self._times.popleft()

    @property
    def too_many(self) -> bool:
        return len(self._times) > REPLACEMENTS
