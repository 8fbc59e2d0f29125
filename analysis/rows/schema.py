"""The row of raw.jsonl: one JSON object per session. Everything that writes, reads or documents rows
uses the columns defined here."""

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


class Group(Enum):
    """Where the values of a column come from."""

    SESSION = "the order of sessions in the cell"
    CELL = "the cell: the same in every row of an attempt"
    LOAD = "the load worker and the load master"
    OUTCOME = "the session itself"


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
    group: Group
    meaning: str
    absent: Absent = Absent.WARN
    null: bool = False
    default: Any = None


S, C, L, O = Group.SESSION, Group.CELL, Group.LOAD, Group.OUTCOME  # noqa: E741
WHOLE, NUMBER, TEXT, TIME = Type.WHOLE, Type.NUMBER, Type.TEXT, Type.TIME
FAIL, ACCEPT = Absent.FAIL, Absent.ACCEPT

COLUMNS = (
    Column("request_id", WHOLE, S, "number of the session in its cell, from 0", FAIL),
    Column("timestamp", TIME, S, "when the session started", FAIL),
    Column("intended_timestamp", TIME, S, "when the session was due", null=True),
    Column("run_id", TEXT, C, "the run; a file holds rows of one run"),
    Column("mode", TEXT, C, "`ws` or `http`", FAIL),
    Column("shape", TEXT, C, "`burst`, `hold` or `open`", default="burst"),
    Column("url", TEXT, C, "the URL that the load was sent to"),
    Column("batch_size", WHOLE, C, "sessions in the cell", FAIL),
    Column("wait_requested", NUMBER, C, "seconds that each step asks the server to wait", FAIL),
    Column("steps", WHOLE, C, "steps of a session", default=1),
    Column("arrival_rate", NUMBER, C, "sessions per second of `open` cells", ACCEPT, null=True),
    Column("arrivals", TEXT, C, "distribution of the arrivals of `open` cells", ACCEPT, null=True),
    Column("repetition", WHOLE, C, "repetition of the cell, from 1", default=1),
    Column("expected_hosts", WHOLE, C, "hosts that the cell should reach", null=True),
    Column("hardware", TEXT, C, "`--hardware`, or the machine's platform and CPU count"),
    Column("attempt", WHOLE, C, "attempt at the cell, from 1; the last one counts", default=1),
    Column("load_worker", TEXT, L, "the load worker that ran the session", null=True),
    Column("open_clients", WHOLE, L, "sessions open at release in `hold` cells, by clients", ACCEPT,
           null=True),
    Column("open_servers", WHOLE, L, "the same, by servers", ACCEPT, null=True),
    Column("connect_latency", NUMBER, O, "seconds from when the session was due until it was open",
           null=True),
    Column("reset_latency", NUMBER, O, "seconds until reset was answered", null=True),
    Column("step_latency", NUMBER, O, "mean seconds over the steps that were answered", null=True),
    Column("step_latency_max", NUMBER, O, "seconds of the slowest step", ACCEPT, null=True),
    Column("hold_latency", NUMBER, O, "seconds held until all sessions of a `hold` cell were open",
           ACCEPT, null=True),
    Column("total_latency", NUMBER, O, "seconds from when the session was due to its end, without "
           "`hold_latency`", null=True),
    Column("waited_seconds", NUMBER, O, "seconds that the server reports to have waited", null=True),
    Column("pid", WHOLE, O, "the server process", null=True),
    Column("session_hash", TEXT, O, "the environment's session", null=True),
    Column("host_url", TEXT, O, "the server, as `ADDRESS:PORT`", null=True),
    Column("success", Type.FLAG, O, "whether every part of the session was answered", FAIL),
    Column("error_type", TEXT, O, "error code of a failed session", null=True),
    Column("error_message", TEXT, O, "details of the error, at most 500 characters", ACCEPT, null=True),
    Column("load_lag", NUMBER, L, "seconds that the load worker ran late when it recorded the row",
           ACCEPT, null=True),
)  # fmt: skip
NAMES = tuple(column.name for column in COLUMNS)


def names(group: Group) -> tuple[str, ...]:
    """The columns of a group, in their order."""
    return tuple(column.name for column in COLUMNS if column.group is group)


# What identifies a cell among the rows of a run.
CELL_KEY = [
    *("mode", "shape", "batch_size", "wait_requested", "steps", "arrival_rate", "repetition")
]
LATENCIES = ["connect_latency", "reset_latency", "step_latency", "total_latency"]


def unfinished(
    constant: dict[str, Any], request_id: int, worker: str | None, error: ErrorType, message: str
) -> bytes:
    """A failed row for a session that never reported its result. `constant` has the columns of the
    cell."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    values = {"request_id": request_id, "timestamp": now, "load_worker": worker, "success": False}
    values |= {"error_type": error, "error_message": message}
    return orjson.dumps(dict.fromkeys(NAMES) | constant | values)
