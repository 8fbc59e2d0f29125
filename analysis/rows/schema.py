"""Rows: what raw.jsonl holds, one line a session."""

from datetime import datetime, UTC
from typing import Any, TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    pass

CELL_KEY = [
    "mode",
    "shape",
    "batch_size",
    "wait_requested",
    "steps",
    "arrival_rate",
    "repetition",
]
"""What identifies a cell among the rows of one run; `attempt` says which run of it."""

LATENCIES = ["connect_latency", "reset_latency", "step_latency", "total_latency"]
NUMBERS = [*LATENCIES, "waited_seconds"]

UNKNOWN = [
    *NUMBERS,
    "step_latency_max",
    "pid",
    "session_hash",
    "host_url",
    "load_lag",
    "open_clients",
    "open_servers",
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
