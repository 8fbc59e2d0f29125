"""Two results of the same grid: what changed beyond the noise.

Latencies and rates are compared by their logarithms and success by the arcsine of its root, so that
cells of different size have noise of about the same size. Every test that a comparison makes counts
in the correction of all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.compare import noise
from analysis.compare.comparable import check
from analysis.errors import ResultsError
from analysis.results.folder import Results
from analysis.rows.fields import Array

CELL = ["mode", "shape", "batch_size", "wait_seconds", "steps", "arrival_rate"]
HIGHER_IS_BETTER = {"success": True, "requests_per_second": True}
MEASURES = ("success", "total_p50", "total_p99", "connect_p99", "step_p99", "requests_per_second")

ENOUGH = 3
"""Repetitions on each side, from which on they tell how much they vary; cells, from which on there is
a test of all together."""

LEVEL = 0.05
"""Share of comparisons of equal systems that may find any change at all."""

FLOOR = 0.05
"""Relative changes up to this are noise, whatever the test says."""

SUCCESS_FLOOR = 0.01
"""Of success, which is a fraction itself, the difference."""

Cell = tuple[Any, ...]


@dataclass(frozen=True)
class Change:
    """One measure of one cell, means over its repetitions; or of all cells, means over these
    (geometric, but of success). `relative` is (b − a) / a, None for a = 0. `p` is how likely chance
    makes as much of it among all that was tested; None where that cannot be told, and `note` says
    why."""

    cell: str
    measure: str
    a: float
    b: float
    relative: float | None
    beyond_noise: bool
    worse: bool
    note: str
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """`a` and `b` are the names of the folders; `notes` say what was left out or differs besides;
    `missing` are cells that are valid in a and not in b."""

    a: str
    b: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def worse(self) -> bool:
        """Something got worse in b, beyond the noise, or is not there any more."""
        return bool(self.missing) or any(change.worse for change in self.changes)

    @property
    def untold(self) -> list[str]:
        """What could not be tested, and why."""
        found: dict[str, list[Change]] = {}
        for change in self.changes:
            if change.p is None:
                found.setdefault(change.note, []).append(change)
        return [f"{_of(changes)}: {note}" for note, changes in found.items()]


def _of(changes: Sequence[Change]) -> str:
    measures = ", ".join(dict.fromkeys(change.measure for change in changes))
    return f"{measures} of {len({change.cell for change in changes})} cell(s)"


@dataclass(frozen=True)
class Pair:
    """The values of one measure of one cell in both results, one a repetition."""

    cell: str
    measure: str
    a: Array
    b: Array
    sessions: tuple[int, int, int, int]
    """Successful in a, in b; all in a, in b."""

    @property
    def fewest(self) -> int:
        return min(len(self.a), len(self.b))

    @cached_property
    def scaled(self) -> tuple[Array, Array]:
        scale = _angle if self.measure == "success" else np.log
        return scale(self.a), scale(self.b)


def _angle(shares: Array) -> Array:
    return np.asarray(np.arcsin(np.sqrt(np.clip(shares, 0.0, 1.0))))


@dataclass(frozen=True)
class Found:
    """A change with its own chance, not corrected; None where it cannot be told."""

    cell: str
    measure: str
    a: float
    b: float
    chance: float | None
    note: str = ""


def compare(a: Results, b: Results) -> Comparison:
    """Cells that both have, by their valid lines. Raises `ResultsError` when caps, the number of
    servers or the way in which sessions arrive differ, or when no cell is in both."""
    notes = [*check(a, b), *_invalid(a), *_invalid(b)]
    ours, theirs = _cells(a), _cells(b)
    if only := theirs.keys() - ours.keys():
        notes.append(_only(b, only))
    missing, absent = _missing(b, ours.keys() - theirs.keys())
    if "search" in a.run or "search" in b.run:  # each search chooses its own batches
        notes += [_only(a, absent)] * bool(absent)
    else:
        missing += [f"{name}: not in {b.name}" for name in sorted(map(_name, absent))]
    both = [cell for cell in ours if cell in theirs]
    if not both and absent == ours.keys():
        raise ResultsError(
            f"{a.folder} and {b.folder} have no cell in common that is valid in both"
        )
    pairs = [pair for cell in both for pair in _pairs(cell, ours[cell], theirs[cell])]
    return Comparison(a.name, b.name, tuple(_changes(pairs)), tuple(notes), tuple(missing))


def _invalid(result: Results) -> list[str]:
    bad = result.summary[~result.summary["valid"].astype(bool)]
    if bad.empty:
        return []
    names = sorted({_name(tuple(line)) for line in bad[CELL].to_numpy(dtype=object)})
    return [f"{result.name}: {len(bad)} INVALID line(s) left out, of: {', '.join(names)}"]


def _only(result: Results, cells: set[Cell]) -> str:
    return f"only {result.name} has valid lines of: {', '.join(sorted(map(_name, cells)))}"


def _missing(b: Results, gone: set[Cell]) -> tuple[list[str], set[Cell]]:
    """Of cells without a valid line in b: what b says of those that it has, and those it has not."""
    lines = _grouped(b.summary)
    there = sorted((_name(cell), cell) for cell in gone if cell in lines)
    told = [
        f"{name}: INVALID in {b.name} ({lines[cell]['reasons'].iloc[0]})" for name, cell in there
    ]
    return told, gone - lines.keys()


def _cells(result: Results) -> dict[Cell, pd.DataFrame]:
    return _grouped(result.summary[result.summary["valid"].astype(bool)])


def _grouped(lines: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    groups = lines.groupby(CELL, sort=False, dropna=False)
    return {tuple(map(_known, key)): group for key, group in groups}


def _known(value: Any) -> Any:
    return None if pd.isna(value) else value


def _name(cell: Cell) -> str:
    mode, shape, batch, wait, steps, rate = cell
    arrivals = "" if _known(rate) is None else f" arrival rate {rate:g}"
    return f"{mode} {shape} batch {batch} wait {wait:g} steps {steps}{arrivals}"


def _pairs(cell: Cell, a: pd.DataFrame, b: pd.DataFrame) -> Iterator[Pair]:
    """Without measures of which one side has nothing."""
    good, every = ([int(of[name].sum()) for of in (a, b)] for name in ("successful", "batch_size"))
    sessions = (good[0], good[1], every[0], every[1])
    for measure in MEASURES:
        ours, theirs = _values(a, measure), _values(b, measure)
        if len(ours) and len(theirs):
            yield Pair(_name(cell), measure, ours, theirs, sessions)


def _values(lines: pd.DataFrame, measure: str) -> Array:
    """No latency and no rate is 0 but that of a cell without success, which success tells of."""
    if measure == "success":
        return (1 - lines["error_rate"]).to_numpy(dtype=float)
    values = lines[measure].to_numpy(dtype=float, na_value=np.nan)
    return values[values > 0]


def _changes(pairs: Sequence[Pair]) -> list[Change]:
    found: list[Found] = []
    of_all: list[Found] = []
    for measure in MEASURES:
        told = [pair for pair in pairs if pair.measure == measure and pair.fewest >= ENOUGH]
        common = noise.spread(side for pair in told for side in pair.scaled)
        found += [_of_cell(pair, common) for pair in pairs if pair.measure == measure]
        if len(told) >= ENOUGH:
            of_all.append(_of_all(measure, told))
    order = {cell: number for number, cell in enumerate(dict.fromkeys(p.cell for p in pairs))}
    found = [*sorted(found, key=lambda one: order[one.cell]), *of_all]
    adjusted = iter(noise.holm([one.chance for one in found if one.chance is not None]))
    return [_change(one, None if one.chance is None else next(adjusted)) for one in found]


def _of_cell(pair: Pair, common: noise.Spread) -> Found:
    means = float(pair.a.mean()), float(pair.b.mean())
    if pair.fewest >= ENOUGH:
        return Found(pair.cell, pair.measure, *means, noise.of_two(*pair.scaled, common))
    told = f"{pair.fewest} repetition(s)"
    if pair.measure == "success":
        chance, note = noise.of_shares(*pair.sessions), f"by sessions: {told}"
        return Found(pair.cell, pair.measure, *means, chance, note)
    note = f"cannot be told: {told}, give --reps {ENOUGH} or more"
    return Found(pair.cell, pair.measure, *means, None, note)


def _of_all(measure: str, pairs: Sequence[Pair]) -> Found:
    """Finds what is too small in each cell and the same in all."""
    differences = [float(b.mean() - a.mean()) for a, b in (pair.scaled for pair in pairs)]
    sides = zip(*((pair.a.mean(), pair.b.mean()) for pair in pairs), strict=True)
    a, b = (
        float(np.mean(side) if measure == "success" else np.exp(np.mean(np.log(side))))
        for side in sides
    )
    return Found(f"all {len(pairs)} cells", measure, a, b, noise.of_pairs(differences))


def _change(found: Found, p: float | None) -> Change:
    a, b, measure = found.a, found.b, found.measure
    floor = SUCCESS_FLOOR if measure == "success" else FLOOR * abs(a)
    beyond = p is not None and p <= LEVEL and abs(b - a) > floor
    better = (b > a) == HIGHER_IS_BETTER.get(measure, False)
    relative = (b - a) / a if a else None
    return Change(found.cell, measure, a, b, relative, beyond, beyond and not better, found.note, p)
