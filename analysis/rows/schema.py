"""The columns of raw.jsonl, for everything that writes, reads or documents rows."""

from dataclasses import dataclass
from datetime import datetime, UTC
from enum import Enum, StrEnum
from typing import Any

import orjson

from analysis.rows.error_types import ErrorType


class Type(StrEnum):
    """The JSON type of a value that is not null; the values are those of the documentation."""

    WHOLE = "whole number"
    NUMBER = "number"
    TEXT = "text"
    TIME = "UTC time"
    FLAG = "true or false"


class Absent(Enum):
    """What a reader does with rows that lack a column: those of older versions or of other tools."""

    FAIL = "the file cannot be read"
    WARN = "the default is used, with a warning"
    ACCEPT = "the default is used"


@dataclass(frozen=True)
class Column:
    """`default` is the value in rows that lack the column; `null` is whether a value may be null."""

    name: str
    type: Type
    meaning: str
    absent: Absent = Absent.WARN
    null: bool = False
    default: Any = None


WHOLE, NUMBER, TEXT, TIME = Type.WHOLE, Type.NUMBER, Type.TEXT, Type.TIME
FAIL, ACCEPT = Absent.FAIL, Absent.ACCEPT

COLUMNS = (
    Column("request_id", WHOLE, "number of the session in its cell, from 0", FAIL),
    Column("timestamp", TIME, "when the session started", FAIL),
    Column("intended_timestamp", TIME, "when the session was due", null=True),
    Column("run_id", TEXT, "the run; a file holds rows of one run"),
    Column("mode", TEXT, "`ws` or `http`", FAIL),
    Column("shape", TEXT, "`burst`, `hold` or `open`", default="burst"),
    Column("url", TEXT, "the URL that the load was sent to"),
    Column("batch_size", WHOLE, "sessions in the cell", FAIL),
    Column("wait_requested", NUMBER, "seconds that each step asks the server to wait", FAIL),
    Column("steps", WHOLE, "steps of a session", default=1),
    Column("arrival_rate", NUMBER, "sessions per second of `open` cells", ACCEPT, null=True),
    Column("arrivals", TEXT, "distribution of the arrivals of `open` cells", ACCEPT, null=True),
    Column("repetition", WHOLE, "repetition of the cell, from 1", default=1),
    Column("expected_hosts", WHOLE, "hosts that the cell should reach", null=True),
    Column("hardware", TEXT, "`--hardware`, or the machine's platform and CPU count"),
    Column("attempt", WHOLE, "attempt at the cell, from 1; the last one counts", default=1),
    Column("load_worker", TEXT, "the load worker that ran the session", null=True),
    Column("open_clients", WHOLE, "sessions open at release (`hold`), by clients", ACCEPT, null=True),
    Column("open_servers", WHOLE, "the same, by servers", ACCEPT, null=True),
    Column("connect_latency", NUMBER, "seconds from when it was due until it was open", null=True),
    Column("reset_latency", NUMBER, "seconds until reset was answered", null=True),
    Column("step_latency", NUMBER, "mean seconds over the steps that were answered", null=True),
    Column("step_latency_max", NUMBER, "seconds of the slowest step", ACCEPT, null=True),
    Column("hold_latency", NUMBER, "seconds held until all sessions were open (`hold`)", ACCEPT, null=True),
    Column("total_latency", NUMBER, "seconds from when it was due to its end, without holds", null=True),
    Column("waited_seconds", NUMBER, "seconds that the server reports having waited", null=True),
    Column("pid", WHOLE, "the server process", null=True),
    Column("session_hash", TEXT, "the environment's session", null=True),
    Column("host_url", TEXT, "the server, as `ADDRESS:PORT`", null=True),
    Column("success", Type.FLAG, "whether every part of the session was answered", FAIL),
    Column("error_type", TEXT, "error code of a failed session", null=True),
    Column("error_message", TEXT, "details of the error, at most 500 characters", ACCEPT, null=True),
    Column("load_lag", NUMBER, "seconds that the load worker was late in recording it", ACCEPT, null=True),
)  # fmt: skip
NAMES = tuple(column.name for column in COLUMNS)

# What identifies a cell among the rows of a run.
CELL_KEY = ("mode", "shape", "batch_size", "wait_requested", "steps", "arrival_rate", "repetition")

# Columns that are the same in every row of an attempt.
CONSTANT = (*CELL_KEY, "attempt", "run_id", "url", "hardware", "expected_hosts", "arrivals")
LATENCIES = ["connect_latency", "reset_latency", "step_latency", "total_latency"]


def unfinished(
    constant: dict[str, Any], request_id: int, worker: str | None, error: ErrorType, message: str
) -> bytes:
    """A failed row for a session that never reported its result."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    values = {"request_id": request_id, "timestamp": now, "load_worker": worker, "success": False}
    values |= {"error_type": error, "error_message": message}
    return orjson.dumps(dict.fromkeys(NAMES) | constant | values)
