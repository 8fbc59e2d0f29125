"""What changed beyond the noise between two results of the same grid.

Latencies and rates are compared by their logarithms, and success by the arcsine of its square root, so
that cells of different sizes have similar noise. All tests of a comparison are corrected together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import auto, Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.compare import noise
from analysis.compare.comparable import Difference, differences
from analysis.errors import ResultsError
from analysis.results.folder import Results
from analysis.rows.fields import Array

HIGHER_IS_BETTER = {"success": True, "requests_per_second": True}
MEASURES = ("success", "total_p50", "total_p99", "connect_p99", "step_p99", "requests_per_second")

# With fewer repetitions on either side, their variance is unknown; with fewer cells, all cells together
# are not tested.
MIN_REPETITIONS = MIN_CELLS = 3

# The share of comparisons of equal systems in which any change may be reported.
LEVEL = 0.05

# Relative changes up to this size are noise, whatever the test results in; for success, differences.
FLOOR = 0.05
SUCCESS_FLOOR = 0.01


class Cell(NamedTuple):
    """A cell without its repetition, by the columns of summary.csv."""

    mode: str
    shape: str
    batch_size: int
    wait_seconds: float
    steps: int
    arrival_rate: float | None


class Basis(Enum):
    """The values on which a change is tested: the repetitions of a cell, the means of all cells, or for
    success the sessions of too few repetitions. Other measures of too few repetitions are not tested."""

    REPETITIONS = auto()
    CELLS = auto()
    SESSIONS = auto()
    NONE = auto()


class Verdict(Enum):
    WORSE = auto()
    BETTER = auto()
    NOISE = auto()
    NOT_TESTED = auto()


@dataclass(frozen=True)
class Change:
    """One measure of one cell, or of all `cells` together when `cell` is None.

    `a` and `b` are means over repetitions; those of all cells are means over the cells, geometric except
    for success. `relative` is (b − a) / a, None for a = 0. `p` is the corrected probability that chance
    makes a change as large; None when it is not tested. `repetitions` is the smaller number of both.
    """

    cell: Cell | None
    cells: int
    measure: str
    a: float
    b: float
    basis: Basis
    repetitions: int
    p: float | None

    @property
    def relative(self) -> float | None:
        return (self.b - self.a) / self.a if self.a else None

    @property
    def verdict(self) -> Verdict:
        if self.p is None:
            return Verdict.NOT_TESTED
        floor = SUCCESS_FLOOR if self.measure == "success" else FLOOR * abs(self.a)
        if self.p > LEVEL or abs(self.b - self.a) <= floor:
            return Verdict.NOISE
        is_better = (self.b > self.a) == HIGHER_IS_BETTER.get(self.measure, False)
        return Verdict.BETTER if is_better else Verdict.WORSE


@dataclass(frozen=True)
class LeftOut:
    """Cells that were not compared: those with INVALID lines in a folder (`lines` is their number), or, if
    `lines` is 0, those that have valid lines in this folder only."""

    folder: str
    cells: tuple[Cell, ...]
    lines: int = 0


class Missing(NamedTuple):
    """A cell that is valid in a only. `reasons` are those for which it is INVALID in b; None when b
    does not have it."""

    cell: Cell
    reasons: str | None


@dataclass(frozen=True)
class Comparison:
    a: str
    b: str
    changes: tuple[Change, ...]
    notes: tuple[Difference | LeftOut, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def worse(self) -> bool:
        return bool(self.missing) or any(one.verdict is Verdict.WORSE for one in self.changes)


@dataclass(frozen=True)
class Pair:
    """The values of one measure of one cell in both results, one for each repetition. `sessions` are four
    numbers: the successful sessions in a and in b, and all sessions in a and in b."""

    cell: Cell
    measure: str
    a: Array
    b: Array
    sessions: tuple[int, int, int, int]

    @property
    def repetitions(self) -> int:
        return min(len(self.a), len(self.b))

    @cached_property
    def scaled(self) -> tuple[Array, Array]:
        scale = _angle if self.measure == "success" else np.log
        return scale(self.a), scale(self.b)


def _angle(shares: Array) -> Array:
    return np.asarray(np.arcsin(np.sqrt(np.clip(shares, 0.0, 1.0))))


def compare(a: Results, b: Results) -> Comparison:
    """Compares the cells with valid lines in both. Raises `ResultsError` when caps, the number of
    servers or the arrivals of sessions differ, or when no cell is in both."""
    notes: list[Difference | LeftOut] = [*differences(a, b), *_invalid(a), *_invalid(b)]
    ours, theirs = _cells(a), _cells(b)
    if only := theirs.keys() - ours.keys():
        notes.append(LeftOut(b.name, tuple(only)))
    there = _grouped(b.summary)
    lost = ours.keys() - theirs.keys()
    absent = lost - there.keys()
    missing = [Missing(cell, str(there[cell]["reasons"].iloc[0])) for cell in lost if cell in there]
    if "search" not in a.run and "search" not in b.run:
        missing += [Missing(cell, None) for cell in absent]
    elif absent:  # each search chooses its own batches
        notes.append(LeftOut(a.name, tuple(absent)))
    both = [cell for cell in ours if cell in theirs]
    if not both and absent == ours.keys():
        raise ResultsError(
            f"{a.folder} and {b.folder} have no cell in common that is valid in both"
        )
    pairs = [pair for cell in both for pair in _pairs(cell, ours[cell], theirs[cell])]
    return Comparison(a.name, b.name, tuple(_changes(pairs)), tuple(notes), tuple(missing))


def _invalid(result: Results) -> Iterator[LeftOut]:
    invalid = result.summary[~result.summary["valid"].astype(bool)]
    if len(invalid):
        yield LeftOut(result.name, tuple(_grouped(invalid)), len(invalid))


def _cells(result: Results) -> dict[Cell, pd.DataFrame]:
    return _grouped(result.summary[result.summary["valid"].astype(bool)])


def _grouped(lines: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    groups = lines.groupby(list(Cell._fields), sort=False, dropna=False)
    return {Cell(*map(_known, key)): group for key, group in groups}


def _known(value: Any) -> Any:
    return None if pd.isna(value) else value


def _pairs(cell: Cell, a: pd.DataFrame, b: pd.DataFrame) -> Iterator[Pair]:
    """Omits measures for which one side has no value."""
    good, every = ([int(of[name].sum()) for of in (a, b)] for name in ("successful", "batch_size"))
    sessions = (good[0], good[1], every[0], every[1])
    for measure in MEASURES:
        ours, theirs = _values(a, measure), _values(b, measure)
        if len(ours) and len(theirs):
            yield Pair(cell, measure, ours, theirs, sessions)


def _values(lines: pd.DataFrame, measure: str) -> Array:
    """Omits latencies and rates of 0: their cells had no successful session, which `success` shows."""
    if measure == "success":
        return (1 - lines["error_rate"]).to_numpy(dtype=float)
    values = lines[measure].to_numpy(dtype=float, na_value=np.nan)
    return values[values > 0]


def _changes(pairs: Sequence[Pair]) -> list[Change]:
    of_cells: list[Change] = []
    of_all: list[Change] = []
    for measure in MEASURES:
        some = [pair for pair in pairs if pair.measure == measure]
        repeated = [pair for pair in some if pair.repetitions >= MIN_REPETITIONS]
        common = noise.spread(side for pair in repeated for side in pair.scaled)
        of_cells += [_of_cell(pair, common) for pair in some]
        if len(repeated) >= MIN_CELLS:
            of_all.append(_of_all(measure, repeated))
    cells = list(dict.fromkeys(pair.cell for pair in pairs))
    changes = [*sorted(of_cells, key=lambda one: cells.index(one.cell)), *of_all]  # type: ignore[arg-type]
    corrected = iter(noise.holm([one.p for one in changes if one.p is not None]))
    return [replace(one, p=None if one.p is None else next(corrected)) for one in changes]


def _of_cell(pair: Pair, common: noise.Spread) -> Change:
    """The `p` of the change is not yet corrected for the number of tests."""
    basis, chance = Basis.NONE, None
    if pair.repetitions >= MIN_REPETITIONS:
        basis, chance = Basis.REPETITIONS, noise.of_two(*pair.scaled, common)
    elif pair.measure == "success":
        basis, chance = Basis.SESSIONS, noise.of_shares(*pair.sessions)
    a, b = float(pair.a.mean()), float(pair.b.mean())
    return Change(pair.cell, 1, pair.measure, a, b, basis, pair.repetitions, chance)


def _of_all(measure: str, pairs: Sequence[Pair]) -> Change:
    """Detects a change that is the same in all cells and too small in each."""
    scaled = [float(b.mean() - a.mean()) for a, b in (pair.scaled for pair in pairs)]
    sides = zip(*((pair.a.mean(), pair.b.mean()) for pair in pairs), strict=True)
    a, b = (
        float(np.mean(side) if measure == "success" else np.exp(np.mean(np.log(side))))
        for side in sides
    )
    repetitions = min(pair.repetitions for pair in pairs)
    chance = noise.of_pairs(scaled)
    return Change(None, len(pairs), measure, a, b, Basis.CELLS, repetitions, chance)
