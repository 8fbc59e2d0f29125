"""Sessions whose time is over, without a timer for each."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Limited(Protocol):
    deadline: float
    """Of `time.perf_counter`; infinity when it has ended or waits for something else."""


Who = TypeVar("Who", bound=Limited)


class Deadlines(Generic[Who]):
    """One queue for each length of time: in it, who comes first is due first."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Who]]] = {}

    def add(self, limited: Who, seconds: float) -> None:
        """Its deadline is so far away, instead of what was before."""
        limited.deadline = time.perf_counter() + seconds
        queue = self._queues.setdefault(seconds, deque())
        queue.append((limited.deadline, limited))

    def next(self) -> float | None:
        """The earliest; None when nobody has any."""
        for seconds, queue in list(self._queues.items()):
            while queue and queue[0][0] != queue[0][1].deadline:
                queue.popleft()
            if not queue:
                del self._queues[seconds]
        return min((queue[0][0] for queue in self._queues.values()), default=None)

    def over(self) -> Iterator[Who]:
        """Those whose deadline has passed; each only once."""
        while (earliest := self.next()) is not None and earliest <= time.perf_counter():
            queue = min(self._queues.values(), key=lambda queue: queue[0][0])
            yield queue.popleft()[1]
