"""Rows: what raw.jsonl holds, one line a session."""

from collections.abc import Iterable
from datetime import datetime, UTC
from pathlib import Path
from typing import Any, TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import pandas as pd

CELL_KEY = ["mode", "batch_size", "wait_requested", "repetition", "attempt"]
"""What identifies a cell among the rows of one run."""

LATENCIES = ["connect_latency", "reset_latency", "step_latency", "total_latency"]
NUMBERS = [*LATENCIES, "waited_seconds"]


UNKNOWN = [
    *LATENCIES,
    "waited_seconds",
    "pid",
    "session_hash",
    "host_url",
]


def unfinished(
    constant: dict[str, Any], request_id: int, worker: str | None, error_type: str, message: str
) -> bytes:
    """The row of a session of which nobody will tell: a failure, not an absence."""
    moment = datetime.now(UTC).isoformat(timespec="microseconds")
    row = {"request_id": request_id, "timestamp": moment, "intended_timestamp": None}
    row |= constant | {"load_worker": worker} | dict.fromkeys(UNKNOWN)
    row |= {"success": False, "error_type": error_type, "error_message": message}
    return orjson.dumps(row)


def table(lines: Iterable[bytes]) -> "pd.DataFrame":
    """Rows as a table. Latencies are float seconds; what was not measured is NaN."""
    import pandas as pd

    frame = pd.DataFrame([orjson.loads(line) for line in lines])
    for name in NUMBERS:
        if name in frame:
            frame[name] = pd.to_numeric(frame[name]).astype("float64")
    return frame


def read(raw: Path) -> "pd.DataFrame":
    with raw.open("rb") as lines:
        return table(lines)
