"""Millions of rows in little memory: arrays of numbers, and texts as numbers of distinct texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TYPE_CHECKING

import numpy as np

from analysis.rows.fields import Array, ATTEMPT_KEY, CONSTANT, FRACTIONS, Row, WHOLE

if TYPE_CHECKING:
    import pandas as pd


class Codes(dict[Any, int]):
    """Numbers distinct texts in the order in which they first occur; None is -1."""

    def __init__(self) -> None:
        super().__init__({None: -1})
        self.names: list[str] = []

    def __missing__(self, value: Any) -> int:
        name = str(value)
        if name not in self.names:
            self.names.append(name)
        self[value] = self.names.index(name)
        return self[value]

    def of(self, values: Sequence[Any]) -> Array:
        if values and values.count(values[0]) == len(values):
            return np.full(len(values), self[values[0]], dtype=np.int32)
        return np.array([self[value] for value in values], dtype=np.int32)


class Constants(dict[tuple[Any, ...], int]):
    """Numbers distinct tuples of the columns that are constant in an attempt."""

    def __init__(self) -> None:
        self.list: list[Row] = []

    def __missing__(self, values: tuple[Any, ...]) -> int:
        self.list.append(
            {name: _constant(name, v) for name, v in zip(CONSTANT, values, strict=True)}
        )
        self[values] = len(self.list) - 1
        return self[values]

    def of(self, columns: Sequence[Sequence[Any]]) -> Array:
        size = len(columns[0])
        if all(values.count(values[0]) == size for values in columns):
            return np.full(size, self[tuple(values[0] for values in columns)], dtype=np.int32)
        return np.array([self[values] for values in zip(*columns, strict=True)], dtype=np.int32)


def _constant(name: str, value: Any) -> Any:
    if name in WHOLE:
        return int(value)
    if name in FRACTIONS:
        return np.nan if value is None else float(value)
    return None if value is None else str(value)


@dataclass
class Rows:
    """All rows of a file. `attempt[i]` is the index in `constants` of row i; attempts are in the order
    in which they started. `missing` names the expected columns that no row has."""

    constants: list[Row]
    attempt: Array
    columns: dict[str, Array]
    names: dict[str, list[str]]
    runs: tuple[str, ...]
    missing: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.attempt)

    def frame(self) -> "pd.DataFrame":
        return self._frame(slice(None), self.attempt)

    def attempts(self) -> "Iterator[pd.DataFrame]":
        """Yields the rows of each attempt; they need not be adjacent in the file."""
        ends = [*(np.flatnonzero(np.diff(self.attempt)) + 1).tolist(), len(self)]
        order: Array | None = None
        if len(ends) > len(self.constants):
            order = np.argsort(self.attempt, kind="stable")
            ends = np.cumsum(np.bincount(self.attempt, minlength=len(self.constants))).tolist()
        for begin, end in zip([0, *ends], ends, strict=False):
            some = slice(begin, end) if order is None else order[begin:end]
            if end > begin:
                yield self._frame(some, self.attempt[some])

    def _frame(self, some: slice | Array, attempt: Array) -> "pd.DataFrame":
        import pandas as pd

        columns: dict[str, Any] = {
            name: _spread(name, [constant[name] for constant in self.constants], attempt)
            for name in CONSTANT
        }
        for name, values in self.columns.items():
            texts = self.names.get(name)
            columns[name] = values[some] if texts is None else _category(values[some], texts)
        return pd.DataFrame(columns, copy=False)


def _spread(name: str, values: list[Any], attempt: Array) -> Any:
    if name in WHOLE:
        return np.array(values, dtype=np.int64)[attempt]
    if name in FRACTIONS:
        return np.array(values, dtype=np.float64)[attempt]
    codes = Codes()
    return _category(codes.of(values)[attempt], codes.names)


def _category(codes: Array, names: list[str]) -> "pd.Categorical[Any]":
    import pandas as pd

    return pd.Categorical.from_codes(codes, pd.Index(names, dtype=object))


def count_repetitions(rows: Rows) -> None:
    """Counts repetitions of rows without that column: each time a request_id occurs again, another
    repetition has started."""
    order = np.lexsort((rows.columns["request_id"], rows.attempt))
    ids, attempts = rows.columns["request_id"][order], rows.attempt[order]
    new = np.append(True, (np.diff(ids) != 0) | (np.diff(attempts) != 0))
    position = np.arange(len(order))
    repetition = np.empty(len(order), dtype=np.int64)
    repetition[order] = position - np.maximum.accumulate(np.where(new, position, 0))
    count = int(repetition.max()) + 1
    pairs, rows.attempt = np.unique(rows.attempt * count + repetition, return_inverse=True)
    rows.constants = [
        rows.constants[pair // count] | {"repetition": pair % count + 1} for pair in pairs.tolist()
    ]


def join_attempts(rows: Rows) -> None:
    """Merges the constants of each attempt, and numbers attempts in the order of their first rows."""
    keys: dict[tuple[Any, ...], int] = {}
    firsts: list[Row] = []
    changes = np.flatnonzero(np.diff(rows.attempt)) + 1
    begins = [0, *changes.tolist()] if len(rows) else []
    renumber = np.zeros(len(rows.constants), dtype=np.int32)
    for code in dict.fromkeys(rows.attempt[np.array(begins, dtype=np.int64)].tolist()):
        constant = rows.constants[code]
        key = tuple(repr(constant[name]) for name in ATTEMPT_KEY)
        if key not in keys:
            keys[key] = len(firsts)
            firsts.append(constant)
        renumber[code] = keys[key]
    rows.attempt, rows.constants = renumber[rows.attempt], firsts
