"""Ceilings: the largest batch that meets the criterion."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cells.codes import Bound
from analysis.results.folder import Results
from analysis.scaling.brackets import Bracket, interval, means
from analysis.scaling.criterion import Criterion

__all__ = ["Criterion", "ceilings", "censored", "read", "whole"]

COLUMNS = [
    "folder",
    "run_id",
    "mode",
    "shape",
    "wait_seconds",
    "steps",
    "servers",
    "workers_per_node",
    "max_concurrent_envs",
    "criterion",
    "ceiling",
    "ceiling_low",
    "ceiling_high",
    "first_failing",
    "repetitions",
    "by_repetition",
    "reached",
    "success_at_ceiling",
    "p99_at_ceiling",
    "rps_at_ceiling",
    "unique_hosts",
    "bound",
    "bound_evidence",
    "brackets",
    "first_invalid",
]
TEXT = [
    "folder",
    "run_id",
    "mode",
    "shape",
    "criterion",
    "by_repetition",
    "bound",
    "bound_evidence",
    "brackets",
]
WHOLE = [
    "servers",
    "workers_per_node",
    "max_concurrent_envs",
    "ceiling",
    "first_failing",
    "unique_hosts",
    "first_invalid",
]
GROUP = ["mode", "shape", "wait_seconds", "steps"]
"""Lines of one folder that have one ceiling in common."""


def ceilings(results: Sequence[Results], criterion: Criterion) -> pd.DataFrame:
    """One line for each folder, mode, shape, wait and number of steps; none for open arrivals, of
    which the rate and not the batch is the load. Only valid lines count; without one the ceiling is
    unknown. Success and rates at the ceiling are means over repetitions."""
    lines = [
        _of_folder(result) | dict(zip(GROUP, key, strict=True)) | _ceiling(group, criterion)
        for result in results
        for key, group in result.summary[result.summary["shape"] != "open"].groupby(
            GROUP, sort=False
        )
    ]
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.astype(dict.fromkeys(WHOLE, "Int64"))


def read(file: Path) -> pd.DataFrame:
    """ceilings.csv, as `ceilings` made it."""
    as_text = dict.fromkeys(TEXT, str)
    table = pd.read_csv(file, dtype=as_text, keep_default_na=False, na_values=[""])
    return table.astype(dict.fromkeys(WHOLE, "Int64")).fillna(dict.fromkeys(TEXT, ""))


def censored(line: Mapping[str, Any]) -> bool:
    """Whether all that is known of the servers' ceiling is that it is no less."""
    return not line["reached"] or line.get("bound") == Bound.LOAD


def whole(value: Any) -> int | None:
    try:
        return None if pd.isna(value) else int(value)
    except (TypeError, ValueError):
        return None


def _of_folder(result: Results) -> dict[str, Any]:
    caps = result.caps
    return {
        "folder": result.name,
        "run_id": result.summary["run_id"].iloc[0],
        "servers": _servers(result),
        "workers_per_node": whole(caps.get("workers_per_node")),
        "max_concurrent_envs": whole(caps.get("max_concurrent_envs")),
    }


def _servers(result: Results) -> int | None:
    """As the run was told; else as many as it expected, else as answered."""
    told = whole(result.caps.get("servers"))
    if told is not None:
        return told
    for name in ("expected_hosts", "unique_hosts"):
        most = whole(result.summary[name].max())
        if most:
            return most
    return None


def _ceiling(group: pd.DataFrame, criterion: Criterion) -> dict[str, Any]:
    valid = group[group["valid"].astype(bool)]
    lines: list[dict[str, Any]] = valid.to_dict("records")  # type: ignore[assignment]
    met = pd.Series([criterion.met(line) for line in lines], index=valid.index, dtype=bool)
    found: dict[str, Any] = {"criterion": criterion.text, "repetitions": 0, "reached": False}
    found |= dict.fromkeys(("by_repetition", "brackets", "bound", "bound_evidence"), "")
    if valid.empty:
        return found
    passing, failing, invalid = valid[met], valid[~met], group.drop(valid.index)
    found["first_failing"] = _least(failing)
    below = invalid[invalid["batch_size"] < failing["batch_size"].min()]
    if passing.empty and len(below):
        return found | {"first_invalid": _least(below)} | _bound(invalid)
    ceiling = int(passing["batch_size"].max()) if len(passing) else 0
    above, beyond = (each[each["batch_size"] > ceiling] for each in (failing, invalid))
    brackets = _brackets(valid.assign(met=met), invalid)
    reached = _reached(ceiling, brackets, passing, above, beyond)
    hides = beyond[~(beyond["batch_size"] >= above["batch_size"].min())]
    found |= {
        "ceiling": ceiling,
        "reached": reached,
        "first_invalid": None if reached else _least(hides),
    }
    found |= _repetitions(list(brackets.values()), ceiling)
    at = valid[valid["batch_size"] == ceiling]
    return found | _at_ceiling(at) | _bound(above if len(above) else beyond)


def _least(lines: pd.DataFrame) -> int | None:
    """The smallest batch."""
    return int(lines["batch_size"].min()) if len(lines) else None


def _brackets(valid: pd.DataFrame, invalid: pd.DataFrame) -> dict[Any, Bracket]:
    """Of each repetition the largest batch that met the criterion below any that did not, and that one;
    without repetitions of which an invalid cell between the two hides it."""
    found = {}
    for repetition, lines in valid.groupby("repetition", sort=True):
        fails = lines.loc[~lines["met"], "batch_size"].min()  # NaN where none did
        met = lines.loc[lines["met"], "batch_size"]
        below = met[~(met >= fails)]
        largest = int(below.max()) if len(below) else 0
        hidden = invalid.loc[invalid["repetition"] == repetition, "batch_size"]
        if not ((hidden > largest) & ~(hidden >= fails)).any():
            found[repetition] = Bracket(largest, whole(fails))
    return found


def _reached(
    ceiling: int,
    counted: Mapping[Any, Bracket],
    passing: pd.DataFrame,
    above: pd.DataFrame,
    beyond: pd.DataFrame,
) -> bool:
    """Whether a batch above the ceiling failed, and no invalid cell below that may have met it. Only
    repetitions that count can tell, of which one must have met it at the ceiling."""
    of_counted = [lines[lines["repetition"].isin(list(counted))] for lines in (above, beyond)]
    fails, hidden = (lines["batch_size"] for lines in of_counted)
    at = passing.loc[passing["batch_size"] == ceiling, "repetition"]
    told = at.isin(list(counted)).any() or ceiling == 0
    return bool(len(fails) and told and not (hidden < fails.min()).any())


def _repetitions(brackets: Sequence[Bracket], ceiling: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "repetitions": len(brackets),
        "by_repetition": " ".join(str(bracket.low) for bracket in brackets),
        "brackets": " ".join(bracket.text for bracket in brackets),
    }
    if len(brackets) > 1:
        low, high = interval(means(brackets), means(brackets, beyond=math.inf), ceiling)
        # An interval without an upper end has none in the table.
        found |= {"ceiling_low": low, "ceiling_high": high if math.isfinite(high) else math.nan}
    return found


def _at_ceiling(lines: pd.DataFrame) -> dict[str, Any]:
    if lines.empty:
        return {}
    return {
        "success_at_ceiling": 1 - float(lines["error_rate"].mean()),
        "p99_at_ceiling": float(lines["total_p99"].mean()),
        "rps_at_ceiling": float(lines["requests_per_second"].mean()),
        "unique_hosts": int(lines["unique_hosts"].min()),
    }


def _bound(lines: pd.DataFrame) -> dict[str, str]:
    """What bound the smallest of these batches, as most of its lines say."""
    if lines.empty:
        return {"bound": "", "bound_evidence": ""}
    smallest = lines[lines["batch_size"] == lines["batch_size"].min()]
    named = smallest[smallest["bound"].astype(bool)]
    if named.empty:
        return {
            "bound": Bound.UNKNOWN.value,
            "bound_evidence": "nothing that was sampled was at its limit",
        }
    bound = str(named["bound"].mode().iloc[0])
    evidence = named.loc[named["bound"] == bound, "bound_evidence"].iloc[0]
    return {"bound": bound, "bound_evidence": str(evidence)}
