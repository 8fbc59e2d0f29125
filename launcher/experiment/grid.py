"""What an experiment runs: a grid of cells."""

import itertools
import os
import platform
import time
import uuid
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from analysis.cells.validity import MAX_LAG

MAX_BATCH = 10_000_000
SHAPES = ("burst", "hold", "open")
ARRIVALS = ("constant", "poisson")


@dataclass(frozen=True)
class Cell:
    """`wait` is in seconds, `arrival_rate` in sessions per second."""

    mode: str
    batch: int
    wait: float
    repetition: int
    shape: str = "burst"
    steps: int = 1
    arrival_rate: float | None = None

    def max_open_sessions(self, timeout: float) -> int:
        """How many sessions can be open at once when each may last `timeout` seconds."""
        if self.arrival_rate is None:
            return self.batch
        return min(self.batch, ceil(self.arrival_rate * timeout))

    @property
    def label(self) -> str:
        return f"{self.mode} {self.batch} × {self.wait:g} s #{self.repetition}"

    def __str__(self) -> str:
        rate = f" at {self.arrival_rate:g} per second" if self.arrival_rate else ""
        details = "" if self.shape == "burst" else f", {self.shape}{rate}"
        details += "" if self.steps == 1 else f", {self.steps} steps"
        return (
            f"{self.mode} batch {self.batch} × wait {self.wait:g} s, repetition "
            f"{self.repetition}{details}"
        )


@dataclass(frozen=True)
class Grid:
    url: str
    batches: tuple[int, ...]
    waits: tuple[float, ...]
    output: Path
    modes: tuple[str, ...] = ("ws",)
    reps: int = 1
    expected_hosts: int | None = None
    require_hosts: bool = False
    timeout: float = 120.0
    load_workers: int | None = None
    sources: tuple[str, ...] = ()
    hardware: str = ""
    shape: str = "burst"
    steps: int = 1
    arrival_rate: float | None = None
    arrivals: str = "poisson"
    seed: int = 1
    max_lag: float = MAX_LAG
    share_node: bool = False
    require_valid: bool = False
    resume: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        combinations = itertools.product(
            self.modes, self.waits, self.batches, range(1, self.reps + 1)
        )
        return [self.cell(mode, batch, wait, rep) for mode, wait, batch, rep in combinations]

    def cell(self, mode: str, batch: int, wait: float, repetition: int) -> Cell:
        return Cell(mode, batch, wait, repetition, self.shape, self.steps, self.arrival_rate)

    @property
    def max_open_sessions(self) -> int:
        return max(cell.max_open_sessions(self.timeout) for cell in self.cells)


def default_hardware() -> str:
    return f"{platform.system().lower()}-{platform.machine()}-{len(os.sched_getaffinity(0))}cpu"


def default_output() -> Path:
    timestamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    return Path("experiments") / "results" / f"{timestamp}-{uuid.uuid4().hex[:4]}"
