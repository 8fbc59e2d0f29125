"""The fields of a row, and how columns of them become arrays."""

from collections.abc import Callable, Sequence
from datetime import datetime, UTC
from hashlib import blake2b
from typing import Any

import numpy as np

from analysis.rows.schema import CELL_KEY, NUMBERS

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

ATTEMPT_KEY = [*CELL_KEY, "attempt"]
CONSTANT = [*ATTEMPT_KEY, "run_id", "url", "hardware", "expected_hosts"]
"""The same in every row of one attempt of a cell."""

DEFAULTS: Row = {"shape": "burst", "steps": 1, "repetition": 1, "attempt": 1}
"""What rows without these columns are: those of older versions."""

NEEDED = ("request_id", "timestamp", "mode", "batch_size", "wait_requested", "success")
OPTIONAL = (
    *("arrival_rate", "step_latency_max", "hold_latency", "load_lag"),
    *("open_clients", "open_servers"),
)
TEXTS = ("load_worker", "host_url", "error_type")
WHOLE = {"batch_size", "steps", "repetition", "attempt"}
FRACTIONS = {"wait_requested", "arrival_rate", "expected_hosts"}
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What goes wrong with a row whose values are not what their names say."""


def numbers(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.float64)


def whole(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.int64)


def truths(values: Sequence[Any]) -> Array:
    return np.array([value is True for value in values])


def moments(values: Sequence[Any]) -> Array:
    """ISO 8601 → UTC in microseconds. All of a run look alike, which numpy reads at once."""
    try:
        texts = np.array(values, dtype="S33").view("S1").reshape(-1, 33)
        if texts[:, 26:].tobytes() == b"+00:00\0" * len(values):
            return np.ascontiguousarray(texts[:, :26]).view("S26").ravel().astype("M8[us]")
    except ValueError:
        pass
    return np.array([_moment(value) for value in values], dtype="M8[us]")


def _moment(value: str | None) -> np.datetime64:
    if value is None:
        return np.datetime64("NaT", "us")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


def sessions(values: Sequence[Any]) -> Array:
    """A session's hash as a number that is its own; -1 for none."""
    try:
        if set(map(len, values)) == {12}:
            return np.array([int(value, 16) for value in values], dtype=np.int64)
    except (TypeError, ValueError):
        pass
    return np.array([_session(value) for value in values], dtype=np.int64)


def _session(value: Any) -> int:
    if value is None:
        return -1
    try:
        if len(value) == 12:
            return int(value, 16)
    except (TypeError, ValueError):
        pass
    return int.from_bytes(blake2b(str(value).encode(), digest_size=8).digest()) >> 1


CONVERT: dict[str, Callable[[Sequence[Any]], Array]] = {
    "request_id": whole,
    "timestamp": moments,
    "intended_timestamp": moments,
    **dict.fromkeys(NUMBERS, numbers),
    "step_latency_max": numbers,
    "hold_latency": numbers,
    "pid": numbers,
    "session_hash": sessions,
    "success": truths,
    "load_lag": numbers,
    "open_clients": numbers,
    "open_servers": numbers,
}
"""The columns that differ from row to row, texts excepted."""
