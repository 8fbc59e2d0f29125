"""A cell as the master sees it: which load worker has which sessions, and what has come of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from locustfiles.grid.arrivals import due, HELD_BACK


@dataclass
class Assignment:
    """The sessions [first, first + count) of a cell that one load worker runs."""

    worker: str
    first: int
    count: int

    def __contains__(self, request_id: int) -> bool:
        return self.first <= request_id < self.first + self.count


@dataclass
class Told:
    """What a load worker last said."""

    open: int = 0
    held: int = 0
    fitness: dict[str, float] = field(default_factory=dict)


@dataclass
class Cell:
    number: int
    order: Mapping[str, Any]
    assignments: list[Assignment] = field(default_factory=list)
    received: set[int] = field(default_factory=set)
    told: dict[str, Told] = field(default_factory=dict)
    failed: int = 0
    lost_workers: set[str] = field(default_factory=set)

    @property
    def batch(self) -> int:
        return int(self.order["constant"]["batch_size"])

    @property
    def holds(self) -> bool:
        return bool(self.order["constant"]["shape"] == "hold")

    @property
    def done(self) -> bool:
        return len(self.received) >= self.batch

    @property
    def held(self) -> int:
        return sum(told.held for told in self.told.values())

    @property
    def open(self) -> int:
        return sum(told.open for told in self.told.values())

    def assign(self, users: Mapping[str, int]) -> None:
        """As many sessions for each load worker as it has users."""
        first = 0
        for worker, count in users.items():
            mine = min(count, self.batch - first)
            self.assignments.append(Assignment(worker, first, mine))
            first += mine

    @property
    def unassigned(self) -> range:
        return range(sum(assignment.count for assignment in self.assignments), self.batch)

    def shares(self, start: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """What each load worker is told; the cell begins at `start`, a time of day."""
        for index, assignment in enumerate(self.assignments):
            if assignment.count:
                share = {"cell": self.number, "start": start, "first": assignment.first}
                part = {"index": index, "counts": [each.count for each in self.assignments]}
                yield assignment.worker, {**self.order, **share, **part}

    def last_due(self) -> float:
        """Seconds from the start of the cell to that of its last session."""
        return max(due(self.order), default=0.0)

    def last_begun(self) -> float:
        """Seconds from the start of the cell until its last session begins at the latest."""
        open_arrivals = self.order["constant"]["shape"] == "open"
        return self.last_due() + (0.0 if open_arrivals else HELD_BACK * self.order["timeout"])

    def missing(self, worker: str | None = None) -> list[int]:
        """Sessions without a row; of one load worker, or of all."""
        mine = [a for a in self.assignments if worker in (None, a.worker)]
        ids = (number for a in mine for number in range(a.first, a.first + a.count))
        return [number for number in ids if number not in self.received]

    def owner(self, request_id: int) -> str | None:
        return next((a.worker for a in self.assignments if request_id in a), None)

    def fitness(self, clocks: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """How each load worker fared; `clocks` are seconds that theirs are ahead of the master's."""
        return {
            a.worker: {
                "sessions": a.count,
                "clock_offset": clocks[a.worker],
                **self.told.get(a.worker, Told()).fitness,
            }
            for a in self.assignments
        }
