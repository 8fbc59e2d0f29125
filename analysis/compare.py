"""Two results of the same grid: what changed beyond the noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.ceilings import whole
from analysis.errors import ResultsError
from analysis.results import Results

CELL = ["mode", "shape", "batch_size", "wait_seconds", "steps", "arrival_rate"]
CAPS = ("max_concurrent_envs", "workers_per_node", "servers")
HIGHER_IS_BETTER = {"success": True, "requests_per_second": True}
MEASURES = ("success", "total_p50", "total_p99", "connect_p99", "step_p99", "requests_per_second")

ENOUGH = 3
"""Repetitions on each side, from which on an interval says something."""

FLOOR = 0.05
"""Relative changes up to this are noise, whatever the interval."""

SUCCESS_FLOOR = 0.01
"""Of success, which is a fraction itself, the difference."""

UNLIKELY = 2.576
"""Standard errors that two equal success rates differ by once in a hundred times."""

T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
"""Student's t for 95 %, two-sided, by degrees of freedom from 1; beyond, the last is safe."""

Cell = tuple[Any, ...]


@dataclass(frozen=True)
class Change:
    """One measure of one cell, means over its repetitions. `relative` is (b − a) / a, None for a = 0;
    `note` says why there is no interval."""

    cell: str
    measure: str
    a: float
    b: float
    relative: float | None
    beyond_noise: bool
    worse: bool
    note: str


@dataclass(frozen=True)
class Comparison:
    """`a` and `b` are the names of the folders; `notes` say what was left out."""

    a: str
    b: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Something got worse in b, beyond the noise."""
        return any(change.worse for change in self.changes)


def compare(a: Results, b: Results) -> Comparison:
    """Cells that both have, by their valid lines. Raises `ResultsError` when caps or the number of
    servers differ, or when no cell is in both."""
    notes = [*_check_caps(a, b), *_invalid(a), *_invalid(b)]
    ours, theirs = _cells(a), _cells(b)
    for result, only in ((a, ours.keys() - theirs.keys()), (b, theirs.keys() - ours.keys())):
        if only:
            names = ", ".join(sorted(map(_name, only)))
            notes.append(f"only {result.name} has valid lines of: {names}")
    both = [cell for cell in ours if cell in theirs]
    if not both:
        raise ResultsError(
            f"{a.folder} and {b.folder} have no cell in common that is valid in both"
        )
    changes = [
        _change(cell, measure, ours[cell], theirs[cell]) for cell in both for measure in MEASURES
    ]
    return Comparison(a.name, b.name, tuple(c for c in changes if c), tuple(notes))


def _check_caps(a: Results, b: Results) -> list[str]:
    notes = []
    for name in CAPS:
        ours, theirs = whole(a.caps.get(name)), whole(b.caps.get(name))
        if ours is None or theirs is None:
            notes.append(f"{name} is not known of both: they may differ in it")
        elif ours != theirs:
            raise ResultsError(
                f"{a.folder} has {name} {ours}, {b.folder} has {theirs}: a comparison would show that "
                "and nothing else; compare results with the same caps"
            )
    return notes


def _invalid(result: Results) -> list[str]:
    bad = result.summary[~result.summary["valid"].astype(bool)]
    if bad.empty:
        return []
    names = sorted({_name(tuple(line)) for line in bad[CELL].to_numpy(dtype=object)})
    return [f"{result.name}: {len(bad)} INVALID line(s) left out, of: {', '.join(names)}"]


def _cells(result: Results) -> dict[Cell, pd.DataFrame]:
    valid = result.summary[result.summary["valid"].astype(bool)]
    groups = valid.groupby(CELL, sort=False, dropna=False)
    return {tuple(map(_known, key)): group for key, group in groups}


def _known(value: Any) -> Any:
    return None if pd.isna(value) else value


def _name(cell: Cell) -> str:
    mode, shape, batch, wait, steps, rate = cell
    arrivals = "" if _known(rate) is None else f" arrival rate {rate:g}"
    return f"{mode} {shape} batch {batch} wait {wait:g} steps {steps}{arrivals}"


def _change(cell: Cell, measure: str, a: pd.DataFrame, b: pd.DataFrame) -> Change | None:
    """None where one side measured nothing."""
    ours, theirs = _values(a, measure), _values(b, measure)
    if not len(ours) or not len(theirs):
        return None
    before, after = float(ours.mean()), float(theirs.mean())
    relative = (after - before) / before if before else None
    beyond, note = _judge(measure, ours, theirs, a, b)
    better = (after > before) == HIGHER_IS_BETTER.get(measure, False)
    return Change(
        _name(cell), measure, before, after, relative, beyond, beyond and not better, note
    )


def _values(lines: pd.DataFrame, measure: str) -> "np.ndarray[Any, Any]":
    values = 1 - lines["error_rate"] if measure == "success" else lines[measure]
    return values.dropna().to_numpy(dtype=float)


def _judge(
    measure: str, ours: Any, theirs: Any, a: pd.DataFrame, b: pd.DataFrame
) -> tuple[bool, str]:
    """Whether the change is beyond the noise, and what to know about that."""
    difference = abs(float(theirs.mean() - ours.mean()))
    floor = SUCCESS_FLOOR if measure == "success" else FLOOR * abs(float(ours.mean()))
    fewest = min(len(ours), len(theirs))
    if fewest >= ENOUGH:
        low, high = welch(ours, theirs)
        return difference > floor and not low <= 0 <= high, ""
    note = f"no interval: {'one repetition' if fewest == 1 else f'{fewest} repetitions'}"
    if measure != "success":
        return False, note
    good, every = ([int(of[name].sum()) for of in (a, b)] for name in ("successful", "batch_size"))
    return difference > floor and differ(*good, *every), f"{note}; by sessions"


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the difference of means b − a, for variances that may differ."""
    sizes = len(a), len(b)
    parts = np.var(a, ddof=1) / sizes[0], np.var(b, ddof=1) / sizes[1]
    error, middle = math.sqrt(sum(parts)), float(np.mean(b) - np.mean(a))
    if error == 0:
        return middle, middle
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True))
    half = T95[min(max(1, int(freedom)), len(T95)) - 1] * error
    return middle - half, middle + half


def differ(good_a: int, good_b: int, all_a: int, all_b: int) -> bool:
    """Two proportions, by their pooled standard error with Yates' correction."""
    pooled = (good_a + good_b) / (all_a + all_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / all_a + 1 / all_b))
    distance = abs(good_a / all_a - good_b / all_b) - (1 / all_a + 1 / all_b) / 2
    return error > 0 and distance / error > UNLIKELY
