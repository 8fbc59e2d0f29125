"""Figures from the samples of one cell. Pure."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = Mapping[str, Any]
Source = tuple[str, str, str]  # node, kind and name

# A thread that runs or waits for a CPU for at least this share of the time is CPU-bound.
SATURATED = 0.9


def source(sample: Sample) -> Source:
    return sample["node"], sample["kind"], sample.get("name", "")


@dataclass(frozen=True)
class Usage:
    """CPU time and descriptors of one tree of processes, over the time of the cell.

    `busiest` is the mean share of time for which its busiest thread ran or waited for a CPU,
    `saturated` the share of time for which that thread was CPU-bound, `runnable` the mean number of
    threads that ran or waited for a CPU (None when unknown).
    """

    node: str
    name: str
    busiest: float
    saturated: float
    runnable: float | None
    fds: int
    fd_limit: int

    @property
    def fullness(self) -> float:
        return self.fds / self.fd_limit if self.fd_limit else 0.0


class Sampled:
    """Samples of a cell in their order; those without a cell were taken before it started."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._series: dict[Source, list[Sample]] = {}
        for sample in samples:
            self._series.setdefault(source(sample), []).append(sample)

    def of(self, kind: str) -> dict[Source, list[Sample]]:
        """The samples of a kind within the cell, by source."""
        within = {
            each: [sample for sample in series if sample["cell"] is not None]
            for each, series in self._series.items()
            if each[1] == kind
        }
        return {each: series for each, series in within.items() if series}

    def rise(self, kind: str, counter: str) -> int:
        """The sum over all sources by which a counter grew. A counter that fell was reset to 0."""
        return sum(
            _rise([sample[counter] for sample in series if counter in sample])
            for each, series in self._series.items()
            if each[1] == kind
        )

    def peaks(self, kind: str, value: str) -> dict[Source, int]:
        """The largest value of each source within the cell."""
        return {
            each: max(sample.get(value, 0) for sample in series)
            for each, series in self.of(kind).items()
        }

    def cpu_busy(self, node: str) -> float | None:
        """The share of time for which a node's CPUs were busy; None when unknown. One machine may represent
        several nodes."""
        machines = self.of("node")
        series = machines.get((node, "node", ""))
        if series is None and len(machines) == 1:
            (series,) = machines.values()
        busy = [sample["cpu_busy"] for sample in series or () if "cpu_busy" in sample]
        return sum(busy) / len(busy) if busy else None

    def usages(self, prefix: str) -> list[Usage]:
        return [
            _usage(each, series)
            for each, series in self.of("process").items()
            if each[2].startswith(prefix)
        ]


def _rise(values: Sequence[int]) -> int:
    pairs = itertools.pairwise(values)
    return sum(now - before if now >= before else now for before, now in pairs)


def _usage(each: Source, within: Sequence[Sample]) -> Usage:
    seconds = [sample.get("seconds", 1.0) for sample in within]
    pairs = list(zip(within, seconds, strict=True))
    total = sum(seconds) or 1.0
    busy = sum(span for sample, span in pairs if sample["busiest"] >= SATURATED)
    fullest = max(within, key=lambda sample: sample["fds"])
    return Usage(
        each[0],
        each[2],
        sum(sample["busiest"] * span for sample, span in pairs) / total,
        busy / total,
        _runnable(within),
        fullest["fds"],
        fullest["fd_limit"],
    )


def _runnable(within: Sequence[Sample]) -> float | None:
    spans = sum(sample.get("seconds", 1.0) for sample in within[1:])
    if not spans or within[0]["pid"] != within[-1]["pid"]:
        return None
    first, last = within[0], within[-1]
    grown = float(last["cpu"] + last["wait"] - first["cpu"] - first["wait"])
    return float(max(0.0, grown) / spans)
