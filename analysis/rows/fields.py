"""How columns of rows become arrays."""

from collections.abc import Callable, Sequence
from datetime import datetime, UTC
from hashlib import blake2b
from typing import Any

import numpy as np

from analysis.rows.schema import Absent, CELL_KEY, Column, COLUMNS, Type
from analysis.rows.schema import CONSTANT as CELL_COLUMNS

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

ATTEMPT_KEY = [*CELL_KEY, "attempt"]
CONSTANT = CELL_COLUMNS[:-1]  # the analysis does not use arrivals
DEFAULTS: Row = {column.name: column.default for column in COLUMNS}
REQUIRED = tuple(column.name for column in COLUMNS if column.absent is Absent.FAIL)

# The columns that rows of this version always have; a reader warns about the others.
EXPECTED = {column.name for column in COLUMNS if column.absent is not Absent.ACCEPT}
TEXTS = ("load_worker", "host_url", "error_type")

# Constant columns that hold whole numbers, and those that hold numbers or null.
WHOLE = {c.name for c in COLUMNS if c.type is Type.WHOLE and not c.null} & {*CONSTANT}
FRACTIONS = {c.name for c in COLUMNS if c.type in (Type.WHOLE, Type.NUMBER)} & {*CONSTANT} - WHOLE

# The exceptions of conversions for a value of another type than its column's.
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def numbers(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.float64)


def whole(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.int64)


def booleans(values: Sequence[Any]) -> Array:
    return np.array([value is True for value in values])


def times(values: Sequence[Any]) -> Array:
    """ISO 8601 → UTC in microseconds. Equally written values are converted by numpy at once."""
    try:
        texts = np.array(values, dtype="S33").view("S1").reshape(-1, 33)
        if texts[:, 26:].tobytes() == b"+00:00\0" * len(values):
            return np.ascontiguousarray(texts[:, :26]).view("S26").ravel().astype("M8[us]")
    except ValueError:
        pass
    return np.array([_time(value) for value in values], dtype="M8[us]")


def _time(value: str | None) -> np.datetime64:
    if value is None:
        return np.datetime64("NaT", "us")
    time = datetime.fromisoformat(value)
    if time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(time, "us")


def sessions(values: Sequence[Any]) -> Array:
    """A number for each session hash, equal for equal hashes; -1 for null."""
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


def _converter(column: Column) -> Callable[[Sequence[Any]], Array]:
    if column.name == "session_hash":
        return sessions
    if column.type is Type.WHOLE and not column.null:
        return whole
    return {Type.TIME: times, Type.FLAG: booleans}.get(column.type, numbers)


# The columns that differ from row to row, without texts.
CONVERT: dict[str, Callable[[Sequence[Any]], Array]] = {
    column.name: _converter(column)
    for column in COLUMNS
    if column.name not in CELL_COLUMNS
    and (column.type is not Type.TEXT or column.name == "session_hash")
}
