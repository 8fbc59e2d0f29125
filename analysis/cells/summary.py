"""The summary: one line per cell, from its rows and its entry in run.json. See analysis/README.md."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import validity
from analysis.cells.reasons import Counts
from analysis.cells.spans import peak_open, Spans, spans, wall_time
from analysis.rows.error_types import ErrorType
from analysis.rows.fields import Array, CONSTANT, DEFAULTS

# The columns that published scaling results for OpenEnv have.
COLUMNS = [
    "mode", "url", "num_requests", "batch_size", "wait_seconds", "repetition", "timestamp",
    "hardware", "successful", "failed", "error_rate", "total_wall_time", "connect_p50",
    "connect_p95", "connect_p99", "reset_p50", "reset_p95", "reset_p99", "step_p50", "step_p95",
    "step_p99", "total_min", "total_max", "total_avg", "total_p50", "total_p90", "total_p95",
    "total_p99", "requests_per_second", "effective_concurrency", "unique_pids", "unique_sessions",
    "unique_hosts",
]  # fmt: skip
OWN_COLUMNS = [
    "run_id", "attempt", "shape", "steps", "arrival_rate", "expected_hosts", "capacity_errors",
    "timeouts", "lost", "errors", "start_spread", "peak_open", "open_clients", "open_servers",
    "load_lag", "valid", "reasons", "warnings", "bound", "bound_evidence", "step_max_p99",
]  # fmt: skip

# Whole numbers that may be unknown.
WHOLE = ["expected_hosts", "peak_open", "open_clients", "open_servers"]

# What identifies a cell among the lines of a summary.
IDENTITY = ("mode", "shape", "batch_size", "wait_seconds", "steps", "arrival_rate", "repetition")

PERCENTILES = dict.fromkeys(("connect", "reset", "step"), (50, 95, 99)) | {
    "total": (50, 90, 95, 99)
}

# Columns whose values are codes in a line (`Findings`, `Counts`) and texts in a table.
TEXTS = ("errors", "reasons", "warnings")

Line = dict[str, Any]
Facts = Mapping[str, Any]  # the entry of one attempt in run.json; empty when there is none


def facts_of(facts: Sequence[Facts]) -> Callable[[pd.DataFrame], Facts | None]:
    """A function that finds the entry of an attempt in run.json, given its rows."""
    known = {_attempt(fact): fact for fact in facts}
    return lambda rows: known.get(_attempt(_constants(rows)))


def as_frame(lines: Iterable[Line]) -> pd.DataFrame:
    """The last attempt of each cell as a table, with codes as texts."""
    table = pd.DataFrame(map(as_text, last(lines)), columns=COLUMNS + OWN_COLUMNS)
    return table.astype(dict.fromkeys(WHOLE, "Int64"))


def as_text(line: Line) -> Line:
    """The line with its codes as texts."""
    return line | {name: str(line[name]) for name in TEXTS if name in line}


def as_csv(lines: Iterable[Line]) -> str:
    """summary.csv from the lines of all attempts."""
    return str(as_frame(lines).to_csv(index=False))


def last(lines: Iterable[Line]) -> list[Line]:
    """The line of each cell's last attempt, in the order in which the cells started."""
    counted: dict[tuple[Any, ...], Line] = {}
    for line in lines:
        key = tuple(None if pd.isna(line[name]) else line[name] for name in IDENTITY)
        if key not in counted or line["attempt"] >= counted[key]["attempt"]:
            counted[key] = line
    return list(counted.values())


def cell(rows: pd.DataFrame, facts: Facts | None = None) -> Line:
    """The line of one attempt of a cell."""
    facts = facts or {}
    times = spans(rows)
    good = rows["success"].to_numpy()
    errors = counts(rows["error_type"])
    line = _identity(rows, times) | _rates(rows, good, times)
    for part in PERCENTILES:
        line |= _latencies(part, rows[f"{part}_latency"].to_numpy()[good])
    line |= {
        "capacity_errors": errors.get(ErrorType.CAPACITY_REACHED, 0),
        "timeouts": errors.get(ErrorType.TIMEOUT, 0),
        "lost": sum(errors.get(kind, 0) for kind in validity.LOST),
        "errors": errors,
        "start_spread": _percentiles(times.late, (99,))[0],
        "peak_open": peak_open(times),
        "load_lag": _max(rows["load_lag"].to_numpy()),
        "step_max_p99": _percentiles(rows["step_latency_max"].to_numpy()[good], (99,))[0],
    }
    for name in ("open_clients", "open_servers"):
        known = facts.get(name)
        line[name] = whole(_max(rows[name].to_numpy()) if known is None else known)
    early = -float(np.fmin.reduce(times.late, initial=0.0))
    hosts = len(counts(rows["host_url"]))
    observed = validity.Observed(line, len(rows), errors, facts, early, hosts)
    reasons, bound = validity.reasons(observed), facts.get("bound") or {}
    return line | {
        "valid": not reasons,
        "reasons": reasons,
        "warnings": validity.warnings(observed),
        "bound": bound.get("by", ""),
        "bound_evidence": bound.get("evidence", ""),
    }


def counts(texts: "pd.Series[Any]") -> Counts:
    """How often each text occurs, the most frequent first."""
    codes = texts.cat.codes.to_numpy()
    number = np.bincount(codes[codes >= 0], minlength=len(texts.cat.categories)).tolist()
    pairs = [(str(name), n) for name, n in zip(texts.cat.categories, number, strict=True) if n]
    return Counts(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _constants(rows: pd.DataFrame) -> Line:
    first = {name: rows[name].iloc[0] for name in CONSTANT}
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in first.items()}


def _identity(rows: pd.DataFrame, times: Spans) -> Line:
    line = _constants(rows)
    line |= {"num_requests": line["batch_size"], "wait_seconds": line.pop("wait_requested")}
    return line | {"timestamp": times.first, "expected_hosts": whole(line["expected_hosts"])}


def _rates(rows: pd.DataFrame, good: Array, times: Spans) -> Line:
    successful, wall = int(good.sum()), wall_time(times)
    waited = float(rows["wait_requested"].iloc[0]) * int(rows["steps"].iloc[0])
    return {
        "successful": successful,
        "failed": len(rows) - successful,
        "error_rate": (len(rows) - successful) / len(rows),
        "total_wall_time": wall,
        "requests_per_second": _rate(successful, wall),
        "effective_concurrency": _rate(successful * waited, wall),
        "unique_pids": _unique(rows["pid"].to_numpy()[good]),
        "unique_sessions": _unique(rows["session_hash"].to_numpy()[good]),
        "unique_hosts": len(counts(rows["host_url"][good])),
    }


def _latencies(part: str, seconds: Array) -> Line:
    seconds = seconds[~np.isnan(seconds)]
    names = [f"{part}_p{percent}" for percent in PERCENTILES[part]]
    line: Line = dict(zip(names, _percentiles(seconds, PERCENTILES[part]), strict=True))
    if part == "total":
        line["total_min"] = float(np.fmin.reduce(seconds, initial=math.nan))
        line["total_max"] = _max(seconds)
        # fsum does not depend on the order of the rows.
        line["total_avg"] = math.fsum(seconds.tolist()) / len(seconds) if len(seconds) else math.nan
    return line


def _percentiles(values: Array, percents: Sequence[float]) -> list[float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return [math.nan] * len(percents)
    return [float(value) for value in np.percentile(values, percents)]


def _attempt(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """The key of an attempt, from its entry in run.json or from the constants of its rows."""
    rate = values.get("arrival_rate", np.nan)
    defaults = [(name, DEFAULTS[name]) for name in ("shape", "steps", "repetition", "attempt")]
    return (
        values.get("mode"),
        values.get("batch", values.get("batch_size")),
        values.get("wait", values.get("wait_requested")),
        None if pd.isna(rate) else rate,
        *(values.get(name, default) for name, default in defaults),
    )


def _unique(values: Array) -> int:
    """The number of different values; -1 and NaN are not counted."""
    return len(np.unique(values[values >= 0]))


def _max(values: Array) -> float:
    return float(np.fmax.reduce(values, initial=math.nan))


def whole(value: Any) -> int | None:
    """`value` as an integer; None when it is missing or not a number."""
    try:
        return None if pd.isna(value) else int(value)
    except (TypeError, ValueError):
        return None


def _rate(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else math.nan
