"""The master's view of a cell: which load worker runs which sessions, and which have ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from locustfiles.grid.arrivals import due_times, MAX_HOLD_BACK


@dataclass
class Assignment:
    """One load worker runs the sessions [first, first + count) of a cell."""

    worker: str
    first: int
    count: int

    def __contains__(self, request_id: int) -> bool:
        return self.first <= request_id < self.first + self.count


@dataclass
class WorkerReport:
    """The latest report of a load worker."""

    open: int = 0
    held: int = 0
    fitness: dict[str, float] = field(default_factory=dict)


@dataclass
class Cell:
    number: int
    order: Mapping[str, Any]
    assignments: list[Assignment] = field(default_factory=list)
    received: set[int] = field(default_factory=set)
    reports: dict[str, WorkerReport] = field(default_factory=dict)
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
        return sum(report.held for report in self.reports.values())

    @property
    def open(self) -> int:
        return sum(report.open for report in self.reports.values())

    def assign(self, users: Mapping[str, int]) -> None:
        """Gives each load worker as many sessions as it has users."""
        first = 0
        for worker, user_count in users.items():
            count = min(user_count, self.batch - first)
            self.assignments.append(Assignment(worker, first, count))
            first += count

    @property
    def unassigned(self) -> range:
        return range(sum(assignment.count for assignment in self.assignments), self.batch)

    def shares(self, start: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """The message for each load worker; `start` is the Unix time at which the cell starts."""
        for index, assignment in enumerate(self.assignments):
            if assignment.count:
                sessions = {"cell": self.number, "start": start, "first": assignment.first}
                turns = {"index": index, "counts": [each.count for each in self.assignments]}
                yield assignment.worker, {**self.order, **sessions, **turns}

    def last_due(self) -> float:
        """When the last session is due, in seconds from the start of the cell."""
        return max(due_times(self.order), default=0.0)

    def last_start(self) -> float:
        """When the last session starts at the latest, in seconds from the start of the cell."""
        held_back = self.order["constant"]["shape"] != "open"
        return self.last_due() + (MAX_HOLD_BACK * self.order["timeout"] if held_back else 0.0)

    def missing(self, worker: str | None = None) -> list[int]:
        """The sessions without a row, of one load worker or of all."""
        selected = [a for a in self.assignments if worker in (None, a.worker)]
        ids = (number for a in selected for number in range(a.first, a.first + a.count))
        return [number for number in ids if number not in self.received]

    def owner(self, request_id: int) -> str | None:
        return next((a.worker for a in self.assignments if request_id in a), None)

    def fitness(self, clocks: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Facts about each load worker; `clocks` are the offsets of their clocks in seconds."""
        return {
            a.worker: {
                "sessions": a.count,
                "clock_offset": clocks[a.worker],
                **self.reports.get(a.worker, WorkerReport()).fitness,
            }
            for a in self.assignments
        }
