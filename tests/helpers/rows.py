"""Rows of raw.jsonl."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from analysis.rows.schema import COLUMNS, LATENCIES, NAMES, Type


def row(**fields: Any) -> dict[str, Any]:
    """A successful session as an early version wrote it, without the columns that were added later."""
    return {
        "request_id": 0,
        "timestamp": "2026-03-01T12:00:00.000000+00:00",
        "run_id": "run",
        "mode": "ws",
        "url": "http://n1:8000",
        "batch_size": 2,
        "wait_requested": 1.0,
        "repetition": 1,
        "attempt": 1,
        "expected_hosts": None,
        "hardware": "test",
        "load_worker": "load-1",
        "connect_latency": 0.1,
        "reset_latency": 0.2,
        "step_latency": 1.0,
        "total_latency": 1.3,
        "waited_seconds": 1.0,
        "pid": 100,
        "session_hash": "aaaaaaaaaaaa",
        "host_url": "n2:8000",
        "success": True,
        "error_type": None,
        "error_message": None,
    } | fields


def failed(error_type: str, **fields: Any) -> dict[str, Any]:
    """A session that failed after 0.5 s, before it was connected."""
    latencies = ["connect_latency", "reset_latency", "step_latency", "waited_seconds"]
    unknown = dict.fromkeys([*latencies, "pid", "session_hash", "host_url"])
    failure = {"success": False, "error_type": error_type, "error_message": "no"}
    return row(**(unknown | failure | {"total_latency": 0.5} | fields))


def some(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Rows with different values in every column of a session; every fifth failed."""
    generator = np.random.default_rng(1)
    made = []
    for n in range(count):
        latencies = generator.random(4).tolist()
        of = dict(zip(LATENCIES, latencies, strict=True)) | {"load_lag": latencies[0]}
        of |= {"request_id": n, "batch_size": count, "session_hash": f"{n * 7919:012x}"}
        of |= {"timestamp": f"2026-03-01T12:00:00.{n:06}+00:00", "host_url": f"n{n % 3}:8000"}
        of |= fields
        made.append(failed("TIMEOUT", **of) if n % 5 == 4 else row(**of))
    return made


def published(request_id: int, **fields: Any) -> dict[str, Any]:
    """A row of the published tool, which writes 0.0 for a latency that was not measured."""
    names = (
        "mode timestamp wait_requested batch_size hardware connect_latency reset_latency "
        "step_latency total_latency waited_seconds pid session_hash host_url success error_type "
        "error_message"
    )
    made = {"request_id": request_id} | {name: row()[name] for name in names.split()}
    return made | {"timestamp": "2026-03-01T12:00:00.123456"} | fields


def problems(row: Mapping[str, Any]) -> Iterator[str]:
    """How a row that this version writes differs from the schema."""
    if tuple(row) != NAMES:
        yield f"the columns are {', '.join(row)}, not {', '.join(NAMES)}"
    by_name = {column.name: column for column in COLUMNS}
    for name, value in row.items():
        column = by_name.get(name)
        if column is None or (value is None and column.null):
            continue
        if not _is(column.type, value):
            yield f"{name} is {value!r}, not a {column.type}"
    if row.get("success") is not (row.get("error_type") is None):
        yield f"success is {row.get('success')} with the error {row.get('error_type')}"


def _is(kind: Type, value: Any) -> bool:
    if kind is Type.TIME:
        return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None
    if kind is Type.NUMBER:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types = {Type.WHOLE: int, Type.TEXT: str, Type.FLAG: bool}
    return type(value) is types[kind]
