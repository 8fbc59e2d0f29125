"""Summary: one line a cell, computed from its rows alone."""

import math
from typing import Any

import pandas as pd

from analysis.rows import CELL_KEY

COLUMNS = [
    "mode",
    "url",
    "num_requests",
    "batch_size",
    "wait_seconds",
    "repetition",
    "timestamp",
    "hardware",
    "successful",
    "failed",
    "error_rate",
    "total_wall_time",
    "connect_p50",
    "connect_p95",
    "connect_p99",
    "reset_p50",
    "reset_p95",
    "reset_p99",
    "step_p50",
    "step_p95",
    "step_p99",
    "total_min",
    "total_max",
    "total_avg",
    "total_p50",
    "total_p90",
    "total_p95",
    "total_p99",
    "requests_per_second",
    "effective_concurrency",
    "unique_pids",
    "unique_sessions",
    "unique_hosts",
]
"""The columns that scaling results for OpenEnv already have."""

OWN_COLUMNS = [
    "run_id",
    "attempt",
    "expected_hosts",
    "capacity_errors",
    "timeouts",
    "lost",
    "errors",
    "valid",
    "reasons",
]

LOST = ("LOAD_WORKER_LOST", "ROW_MISSING", "NOT_STARTED", "INTERRUPTED")
"""Errors of the load, not of what is measured."""

PERCENTILES = {
    "connect": (50, 95, 99),
    "reset": (50, 95, 99),
    "step": (50, 95, 99),
    "total": (50, 90, 95, 99),
}


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each cell in `rows`, in the order in which the cells began.

    Latencies, waits and wall time in seconds; percentiles interpolate linearly between the rows of
    successful sessions and are empty when there are none.
    """
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS + OWN_COLUMNS)
    cells = [cell(group) for _, group in rows.groupby(CELL_KEY, sort=False)]
    return pd.DataFrame(cells, columns=COLUMNS + OWN_COLUMNS)


def as_csv(lines: list[dict[str, Any]]) -> str:
    """summary.csv from the lines of its cells."""
    return str(pd.DataFrame(lines, columns=COLUMNS + OWN_COLUMNS).to_csv(index=False))


def cell(rows: pd.DataFrame) -> dict[str, Any]:
    """The line of one cell."""
    first = rows.iloc[0]
    good = rows[rows["success"]]
    wall = wall_time(rows)
    line: dict[str, Any] = {
        "mode": first["mode"],
        "url": first["url"],
        "num_requests": first["batch_size"],
        "batch_size": first["batch_size"],
        "wait_seconds": first["wait_requested"],
        "repetition": first["repetition"],
        "timestamp": rows["timestamp"].min(),
        "hardware": first["hardware"],
        "successful": len(good),
        "failed": len(rows) - len(good),
        "error_rate": (len(rows) - len(good)) / len(rows),
        "total_wall_time": wall,
        "requests_per_second": _rate(len(good), wall),
        "effective_concurrency": _rate(len(good) * first["wait_requested"], wall),
        "unique_pids": good["pid"].nunique(),
        "unique_sessions": good["session_hash"].nunique(),
        "unique_hosts": good["host_url"].nunique(),
        "run_id": first["run_id"],
        "attempt": first["attempt"],
        "expected_hosts": first["expected_hosts"],
        "capacity_errors": int((rows["error_type"] == "CAPACITY_REACHED").sum()),
        "timeouts": int((rows["error_type"] == "TIMEOUT").sum()),
        "lost": int(rows["error_type"].isin(LOST).sum()),
        "errors": " ".join(f"{kind}:{n}" for kind, n in rows["error_type"].value_counts().items()),
    }
    for part, percents in PERCENTILES.items():
        latencies = good[f"{part}_latency"]
        for percent in percents:
            line[f"{part}_p{percent}"] = latencies.quantile(percent / 100)
    total = good["total_latency"]
    line |= {"total_min": total.min(), "total_max": total.max(), "total_avg": total.mean()}
    reasons = invalid(line, len(rows))
    return line | {"valid": not reasons, "reasons": "; ".join(reasons)}


def wall_time(rows: pd.DataFrame) -> float:
    """Seconds from the start of the first session to the end of the last; NaN when none ended."""
    started = rows.loc[rows["total_latency"].notna()]
    if started.empty:
        return math.nan
    begin = pd.to_datetime(started["timestamp"], format="ISO8601")
    end = begin + pd.to_timedelta(started["total_latency"], unit="s")
    return float((end.max() - begin.min()).total_seconds())


def invalid(line: dict[str, Any], recorded: int) -> list[str]:
    """Why a cell says nothing about what it meant to measure; empty for a valid one."""
    reasons = []
    if line["lost"]:
        reasons.append(f"{line['lost']} sessions lost by the load")
    if recorded != line["batch_size"]:
        reasons.append(f"{recorded} of {line['batch_size']} rows")
    expected = line["expected_hosts"]
    if not pd.isna(expected) and line["unique_hosts"] < expected:
        reasons.append(f"traffic reached {line['unique_hosts']} of {int(expected)} hosts")
    return reasons


def _rate(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else math.nan
