"""Deadlines of many sessions without a timer for each."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class HasDeadline(Protocol):
    # In seconds of `time.perf_counter`; infinity for none.
    deadline: float


Item = TypeVar("Item", bound=HasDeadline)


class Deadlines(Generic[Item]):
    """Keeps one queue for each duration, in which the first item is always the next to expire."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Item]]] = {}

    def set(self, item: Item, seconds: float) -> None:
        """Replaces the item's deadline by one that is `seconds` from now."""
        item.deadline = time.perf_counter() + seconds
        queue = self._queues.setdefault(seconds, deque())
        queue.append((item.deadline, item))

    def next(self) -> float | None:
        """The earliest deadline; None when no item has one."""
        for seconds, queue in list(self._queues.items()):
            while queue and queue[0][0] != queue[0][1].deadline:
                queue.popleft()
            if not queue:
                del self._queues[seconds]
        return min((queue[0][0] for queue in self._queues.values()), default=None)

    def expired(self) -> Iterator[Item]:
        """The items whose deadline has passed; each is returned once."""
        while (earliest := self.next()) is not None and earliest <= time.perf_counter():
            queue = min(self._queues.values(), key=lambda queue: queue[0][0])
            yield queue.popleft()[1]
