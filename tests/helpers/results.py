"""Lines of summaries, and results made from them."""

from pathlib import Path
from typing import Any

from analysis.cells.summary import as_frame
from analysis.results.folder import Results

CAPS = {"max_concurrent_envs": 100, "workers_per_node": "4", "servers": 2}


def cell(batch: int, error_rate: float = 0.0, **fields: Any) -> dict[str, Any]:
    good = round(batch * (1 - error_rate))
    return {
        "mode": "ws",
        "shape": "burst",
        "batch_size": batch,
        "wait_seconds": 1.0,
        "steps": 1,
        "arrival_rate": None,
        "repetition": 1,
        "attempt": 1,
        "run_id": "run",
        "error_rate": error_rate,
        "successful": good,
        "failed": batch - good,
        "total_p50": 1.2,
        "total_p99": 1.5,
        "connect_p99": 0.2,
        "step_p99": 1.1,
        "requests_per_second": batch / 2,
        "unique_hosts": 2,
        "expected_hosts": None,
        "valid": True,
        "reasons": "",
        "warnings": "",
        "bound": "",
        "bound_evidence": "",
    } | fields


def results(*cells: dict[str, Any], name: str = "nodes-2", caps: Any = CAPS) -> Results:
    return Results(Path("/exp") / name, {"run_id": "run", "caps": caps}, as_frame(cells), [], [])


def repeated(*tops: int) -> list[dict[str, Any]]:
    """For each repetition, the batches up to its ceiling and one that fails."""
    return [
        cell(batch, 0.0 if batch <= top else 0.5, repetition=number)
        for number, top in enumerate(tops, 1)
        for batch in range(100, top + 101, 100)
    ]
