"""Ceilings: the largest batch that meets the criterion."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.criterion import Criterion
from analysis.results import Results

__all__ = ["Criterion", "by_repetition", "ceilings", "interval", "means", "whole"]

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
]
WHOLE = [
    "servers",
    "workers_per_node",
    "max_concurrent_envs",
    "ceiling",
    "first_failing",
    "unique_hosts",
]
GROUP = ["mode", "shape", "wait_seconds", "steps"]
"""Lines of one folder that have one ceiling in common."""

RESAMPLES = 2000
SEED = 20260301


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


def interval(resampled: np.ndarray[Any, Any], contains: float) -> tuple[float, float]:
    """95 % of the resampled values, widened to what it is an interval of."""
    low, high = np.percentile(resampled, (2.5, 97.5)).tolist()
    return min(low, contains), max(high, contains)


def means(values: Sequence[float], seed: int = SEED) -> np.ndarray[Any, Any]:
    """Means of resamples of `values`; the same for the same values."""
    generator = np.random.default_rng(seed)
    resampled = generator.choice(np.array(values, dtype=float), (RESAMPLES, len(values)))
    return np.asarray(resampled.mean(axis=1))


def by_repetition(text: str) -> list[int]:
    """The ceilings of the repetitions of a line."""
    return [int(word) for word in str(text).split()]


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
    found: dict[str, Any] = {"criterion": criterion.text, "repetitions": 0, "by_repetition": ""}
    if valid.empty:
        return found | {"reached": False, "bound": "", "bound_evidence": ""}
    passing, failing = valid[met], valid[~met]
    invalid = group.drop(valid.index)
    each = _by_repetition(valid.assign(met=met), invalid)
    if passing.empty and (invalid["batch_size"] < failing["batch_size"].min()).any():
        return found | {"reached": False} | _bound(invalid)
    ceiling = int(passing["batch_size"].max()) if len(passing) else 0
    above = failing[failing["batch_size"] > ceiling]
    beyond = invalid[invalid["batch_size"] > ceiling]
    found |= {
        "ceiling": ceiling,
        "first_failing": int(failing["batch_size"].min()) if len(failing) else None,
        "repetitions": len(each),
        "by_repetition": " ".join(map(str, each)),
        "reached": not above.empty,
    }
    if len(each) > 1:
        low, high = interval(means(each), ceiling)
        found |= {"ceiling_low": low, "ceiling_high": high}
    at = valid[valid["batch_size"] == ceiling]
    return found | _at_ceiling(at) | _bound(above if len(above) else beyond)


def _by_repetition(valid: pd.DataFrame, invalid: pd.DataFrame) -> list[int]:
    """Of each repetition the largest batch that met the criterion below any that did not; without
    repetitions of which an invalid cell between the two hides it."""
    found = []
    for repetition, lines in valid.groupby("repetition", sort=True):
        fails = lines.loc[~lines["met"], "batch_size"].min()  # NaN where none did
        met = lines.loc[lines["met"], "batch_size"]
        below = met[~(met >= fails)]
        largest = int(below.max()) if len(below) else 0
        hidden = invalid.loc[invalid["repetition"] == repetition, "batch_size"]
        if not ((hidden > largest) & ~(hidden >= fails)).any():
            found.append(largest)
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
        return {"bound": "unknown", "bound_evidence": "nothing that was sampled was at its limit"}
    bound = str(named["bound"].mode().iloc[0])
    evidence = named.loc[named["bound"] == bound, "bound_evidence"].iloc[0]
    return {"bound": bound, "bound_evidence": str(evidence)}
