"""Lines of the tables of a report, made by hand."""

from math import nan
from pathlib import Path
from typing import Any

from analysis.report.series import Line, Panel
from analysis.results.folder import CellDetails, Results
from analysis.scaling.efficiency import Interpretation, Verdict
from analysis.scaling.usl import Usl


def cell(batch: int = 32, **fields: Any) -> Line:
    """A line of summary.csv: all of a batch succeeded."""
    return (
        {
            "mode": "ws",
            "shape": "burst",
            "steps": 1,
            "arrival_rate": nan,
            "batch_size": batch,
            "wait_seconds": 1.0,
            "repetition": 1,
            "attempt": 1,
            "error_rate": 0.0,
            "total_p99": 1.5,
            "valid": True,
            "reasons": "",
            "warnings": "",
        }
        | {f"{part}_p{n}": 0.1 for part in ("connect", "reset", "step") for n in (50, 99)}
        | fields
    )


def panel(*lines: Line, details: CellDetails | None = None, title: str = "") -> Panel:
    return Panel(title, lines, tuple(details or CellDetails() for _ in lines))


def ceiling_line(**fields: Any) -> Line:
    """A line of ceilings.csv."""
    return {
        "folder": "nodes-2",
        "run_id": "run",
        "mode": "ws",
        "shape": "burst",
        "wait_seconds": 1.0,
        "steps": 1,
        "servers": 2,
        "ceiling": 3072,
        "ceiling_low": 2900.0,
        "ceiling_high": 3100.0,
        "first_failing": 4096,
        "repetitions": 3,
        "by_repetition": "3072 2900 3072",
        "reached": True,
        "success_at_ceiling": 0.991,
        "p99_at_ceiling": 2.5,
        "rps_at_ceiling": 800.0,
        "unique_hosts": 2,
        "bound": "admission cap",
        "bound_evidence": "1024 refused",
        "brackets": "3072-3200 2900-3000 3072-3200",
        "first_invalid": None,
    } | fields


def scaled_line(servers: int, **fields: Any) -> Line:
    """A line of scaling.csv."""
    return {
        "mode": "ws",
        "shape": "burst",
        "wait_seconds": 1.0,
        "steps": 1,
        "servers": servers,
        "ceiling": 1000 * servers,
        "ceiling_low": 990.0 * servers,
        "ceiling_high": 1010.0 * servers,
        "scaling_factor": float(servers),
        "efficiency": 1.0,
        "efficiency_low": 0.97,
        "efficiency_high": 1.02,
        "interpretation": Interpretation(Verdict.GOOD, 1.0),
        "bound": "",
        "efficiency_of_means": 1.0,
    } | fields


def results(name: str = "grid", **run: Any) -> Results:
    import pandas as pd

    return Results(Path(name), run, pd.DataFrame([cell()]), [CellDetails()], [])


def law(**fields: Any) -> Usl:
    values: dict[str, Any] = {"rate": 1000.0, "contention": 0.0, "coherence": 0.0}
    values |= {"samples": (), "servers": (1, 2, 4)} | fields
    return Usl(**values)
