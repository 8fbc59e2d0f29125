"""Ceilings: the largest batch that meets the criterion."""

import math
from collections.abc import Mapping, Sequence
from enum import auto, Enum
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cells.reasons import Bound
from analysis.cells.summary import whole
from analysis.results.folder import Results
from analysis.scaling.brackets import Bracket, interval, means
from analysis.scaling.criterion import Criterion

COLUMNS = [
    "folder", "run_id", "mode", "shape", "wait_seconds", "steps", "servers", "workers_per_node",
    "max_concurrent_envs", "criterion", "ceiling", "ceiling_low", "ceiling_high",
    "first_failing", "repetitions", "by_repetition", "reached", "success_at_ceiling",
    "p99_at_ceiling", "rps_at_ceiling", "unique_hosts", "bound", "bound_evidence", "brackets",
    "first_invalid",
]  # fmt: skip
TEXT = [
    "folder", "run_id", "mode", "shape", "criterion", "by_repetition", "bound",
    "bound_evidence", "brackets",
]  # fmt: skip
WHOLE = [
    "servers", "workers_per_node", "max_concurrent_envs", "ceiling", "first_failing",
    "unique_hosts", "first_invalid",
]  # fmt: skip

# The lines of one folder that agree in these columns share a ceiling.
GROUP = ["mode", "shape", "wait_seconds", "steps"]

Line = Mapping[str, Any]


class CeilingStatus(Enum):
    """How well a ceiling is known. The ceiling is a lower bound where no larger batch failed, where an
    INVALID cell above it hides the first failure, and where the load generator was the limit. It is
    unknown without valid cells, and where an INVALID cell is below the smallest failing batch and no
    batch passed."""

    MEASURED = auto()
    NONE_PASSED = auto()
    NO_FAILURE = auto()
    INVALID_ABOVE = auto()
    LOAD_LIMITED = auto()
    NO_VALID_CELL = auto()
    INVALID_BELOW = auto()


LOWER_BOUNDS = frozenset(
    {CeilingStatus.NO_FAILURE, CeilingStatus.INVALID_ABOVE, CeilingStatus.LOAD_LIMITED}
)


def status(line: Line) -> CeilingStatus:
    hidden = not pd.isna(line["first_invalid"])
    if pd.isna(line["ceiling"]):
        return CeilingStatus.INVALID_BELOW if hidden else CeilingStatus.NO_VALID_CELL
    if not line["reached"]:
        return CeilingStatus.INVALID_ABOVE if hidden else CeilingStatus.NO_FAILURE
    if line["bound"] == Bound.LOAD:
        return CeilingStatus.LOAD_LIMITED
    return CeilingStatus.MEASURED if line["ceiling"] else CeilingStatus.NONE_PASSED


def censored(line: Line) -> bool:
    """Whether the servers' ceiling is only known to be at least the given one."""
    return status(line) in LOWER_BOUNDS


def ceilings(results: Sequence[Results], criterion: Criterion) -> pd.DataFrame:
    """One line for each folder, mode, shape, wait and number of steps. Open arrivals have none: their
    load is the rate, not the batch. Only valid cells count; success, latency and rate at the ceiling
    are means over repetitions."""
    lines = [
        _identity(result) | dict(zip(GROUP, key, strict=True)) | _ceiling(group, criterion)
        for result in results
        for key, group in result.summary[result.summary["shape"] != "open"].groupby(
            GROUP, sort=False
        )
    ]
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.astype(dict.fromkeys(WHOLE, "Int64"))


def read(file: Path) -> pd.DataFrame:
    as_text = dict.fromkeys(TEXT, str)
    table = pd.read_csv(file, dtype=as_text, keep_default_na=False, na_values=[""])
    return table.astype(dict.fromkeys(WHOLE, "Int64")).fillna(dict.fromkeys(TEXT, ""))


def _identity(result: Results) -> dict[str, Any]:
    return {
        "folder": result.name,
        "run_id": result.summary["run_id"].iloc[0],
        "servers": _servers(result),
        "workers_per_node": whole(result.caps.get("workers_per_node")),
        "max_concurrent_envs": whole(result.caps.get("max_concurrent_envs")),
    }


def _servers(result: Results) -> int | None:
    counts = [result.summary[name].max() for name in ("expected_hosts", "unique_hosts")]
    return next(filter(None, map(whole, [result.caps.get("servers"), *counts])), None)


def _ceiling(group: pd.DataFrame, criterion: Criterion) -> dict[str, Any]:
    valid = group[group["valid"].astype(bool)]
    lines: list[dict[str, Any]] = valid.to_dict("records")  # type: ignore[assignment]
    met = pd.Series([criterion.met(line) for line in lines], index=valid.index, dtype=bool)
    line: dict[str, Any] = {"criterion": criterion.text, "repetitions": 0, "reached": False}
    line |= dict.fromkeys(("by_repetition", "brackets", "bound", "bound_evidence"), "")
    if valid.empty:
        return line
    passing, failing, invalid = valid[met], valid[~met], group.drop(valid.index)
    line["first_failing"] = whole(failing["batch_size"].min())
    below = invalid[invalid["batch_size"] < failing["batch_size"].min()]
    if passing.empty and len(below):
        return line | {"first_invalid": whole(below["batch_size"].min())} | _bound(invalid)
    ceiling = int(passing["batch_size"].max()) if len(passing) else 0
    failing, invalid = (each[each["batch_size"] > ceiling] for each in (failing, invalid))
    brackets = _brackets(valid.assign(met=met), group.drop(valid.index))
    reached = _reached(ceiling, list(brackets), passing, failing, invalid)
    hiding = invalid[~(invalid["batch_size"] >= failing["batch_size"].min())]
    line |= {"ceiling": ceiling, "reached": reached}
    line["first_invalid"] = None if reached else whole(hiding["batch_size"].min())
    line |= _repetitions(list(brackets.values()), ceiling)
    line |= _at_ceiling(valid[valid["batch_size"] == ceiling])
    return line | _bound(failing if len(failing) else invalid)


def _brackets(valid: pd.DataFrame, invalid: pd.DataFrame) -> dict[Any, Bracket]:
    """For each repetition, the largest passing batch below its first failure, and that failure. A
    repetition with an invalid cell between the two has no bracket."""
    brackets = {}
    for repetition, lines in valid.groupby("repetition", sort=True):
        first_failure = lines.loc[~lines["met"], "batch_size"].min()  # NaN without a failure
        passed = lines.loc[lines["met"], "batch_size"]
        below = passed[~(passed >= first_failure)]
        largest = int(below.max()) if len(below) else 0
        hiding = invalid.loc[invalid["repetition"] == repetition, "batch_size"]
        if not ((hiding > largest) & ~(hiding >= first_failure)).any():
            brackets[repetition] = Bracket(largest, whole(first_failure))
    return brackets


def _reached(
    ceiling: int,
    bracketed: list[Any],
    passing: pd.DataFrame,
    failing: pd.DataFrame,
    invalid: pd.DataFrame,
) -> bool:
    """Whether a batch above the ceiling failed, and no smaller batch above it is invalid. Only
    repetitions with a bracket count, and one of them must have passed at the ceiling."""
    failures, hiding = (
        lines.loc[lines["repetition"].isin(bracketed), "batch_size"] for lines in (failing, invalid)
    )
    at_ceiling = passing.loc[passing["batch_size"] == ceiling, "repetition"]
    passed = ceiling == 0 or at_ceiling.isin(bracketed).any()
    return bool(len(failures) and passed and not (hiding < failures.min()).any())


def _repetitions(brackets: Sequence[Bracket], ceiling: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "repetitions": len(brackets),
        "by_repetition": " ".join(str(bracket.low) for bracket in brackets),
        "brackets": " ".join(map(str, brackets)),
    }
    if len(brackets) > 1:
        low, high = interval(means(brackets), means(brackets, beyond=math.inf), ceiling)
        # The upper end stays empty in the table when it is infinite.
        line |= {"ceiling_low": low, "ceiling_high": high if math.isfinite(high) else math.nan}
    return line


def _at_ceiling(lines: pd.DataFrame) -> dict[str, Any]:
    return {
        "success_at_ceiling": 1 - float(lines["error_rate"].mean()),
        "p99_at_ceiling": float(lines["total_p99"].mean()),
        "rps_at_ceiling": float(lines["requests_per_second"].mean()),
        "unique_hosts": whole(lines["unique_hosts"].min()),
    }


def _bound(lines: pd.DataFrame) -> dict[str, str]:
    """The most frequent bound among the cells of the smallest of these batches, and its evidence."""
    if lines.empty:
        return {}
    smallest = lines[lines["batch_size"] == lines["batch_size"].min()]
    known = smallest[smallest["bound"].astype(bool)]
    if known.empty:
        return {"bound": Bound.UNKNOWN.value, "bound_evidence": "no sampled value was at its limit"}
    bound = known["bound"].mode().iloc[0]
    evidence = known.loc[known["bound"] == bound, "bound_evidence"].iloc[0]
    return {"bound": str(bound), "bound_evidence": str(evidence)}
