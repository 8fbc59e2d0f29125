"""Parses lines of raw.jsonl into columns."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, TYPE_CHECKING

import numpy as np
import orjson

from analysis.errors import ResultsError
from analysis.rows import fields
from analysis.rows.columns import Codes, Constants, count_repetitions, join_attempts, Rows
from analysis.rows.fields import Array, CONVERT, DEFAULTS, Row
from analysis.rows.schema import LATENCIES

if TYPE_CHECKING:
    import pandas as pd

# As many rows as fit the processor's cache once they are objects.
PIECE_ROWS = 200


class Reader:
    """Collects rows in pieces. Raises `ResultsError` with the number of the line in `where`."""

    def __init__(self, where: str = "row", messages: bool = False) -> None:
        self.where = where
        self.warnings: list[str] = []
        self._lines = 0
        self._texts = {
            name: Codes() for name in (*fields.TEXTS, *(("error_message",) if messages else ()))
        }
        self._constants = Constants()
        self._seen: set[str] = set()
        self._pieces: dict[str, list[Array]] = {
            name: [] for name in ("attempt", *CONVERT, *self._texts)
        }

    def take(self, text: bytes) -> None:
        """Parses complete lines, the last one without its line end."""
        try:
            rows = orjson.loads(b"[" + text.replace(b"\n", b",") + b"]")
            self._add(rows)
            self._lines += len(rows)
        except fields.BROKEN:
            lines = text.split(b"\n")
            self._take_singly(lines)
            self._lines += len(lines)

    def _take_singly(self, lines: Sequence[bytes]) -> None:
        numbered = [(n, line) for n, line in enumerate(lines, self._lines + 1) if line.strip()]
        rows = [(number, self._parse(line, number)) for number, line in numbered]
        if not rows:
            return
        try:
            self._add([row for _, row in rows])
        except fields.BROKEN:
            for number, row in rows:
                try:
                    self._add([row])
                except fields.BROKEN as failure:
                    raise ResultsError(f"{self.where}:{number}: {failure}") from None

    def _parse(self, line: bytes, number: int) -> Row:
        with suppress(ValueError):
            row = json.loads(line)  # accepts NaN, unlike orjson
            if isinstance(row, dict):
                return row
        raise ResultsError(f"{self.where}:{number}: not a row: {line[:60]!r}")

    def _add(self, rows: list[Row]) -> None:
        columns = _transposed(rows)
        for name in fields.REQUIRED:
            if name not in columns:
                raise LookupError(f"the row has no {name}")
        size = len(rows)
        constant = [columns.get(name) or (DEFAULTS.get(name),) * size for name in fields.CONSTANT]
        new = {"attempt": self._constants.of(constant)}
        nothing = (None,) * size
        for name, convert in CONVERT.items():
            given = columns.get(name)
            new[name] = convert(given) if given else _nothing(name, size)
        for name, codes in self._texts.items():
            new[name] = codes.of(columns.get(name) or nothing)
        for name, values in new.items():
            self._pieces[name].append(values)
        self._seen.update(columns)

    def part(self, rest: bytes) -> "Part":
        """Returns what was collected and leaves the reader empty."""
        columns = {name: _joined(name, self._pieces.pop(name)) for name in list(self._pieces)}
        names = {name: codes.names for name, codes in self._texts.items()}
        return Part(columns, list(self._constants), names, self._seen, self._lines, rest)

    def join(self, part: "Part") -> None:
        """Appends what another reader collected."""
        for name, values in part.columns.items():
            if name == "attempt":
                new = np.array([self._constants[key] for key in part.constants], dtype=np.int32)
            elif name in part.names:
                codes = self._texts[name]
                new = np.array([*map(codes.__getitem__, part.names[name]), -1], dtype=np.int32)
            else:
                self._pieces[name].append(values)
                continue
            self._pieces[name].append(new[values])
        self._seen |= part.seen
        self._lines += part.lines

    def rows(self) -> Rows:
        """Returns what was collected and leaves the reader empty."""
        whole = self.part(b"")
        attempt = whole.columns.pop("attempt")
        missing = tuple(sorted(fields.EXPECTED - self._seen)) if len(attempt) else ()
        constants = self._constants.list
        runs = tuple(sorted({str(constant["run_id"]) for constant in constants}))
        rows = Rows(constants, attempt, whole.columns, whole.names, runs, missing, self.warnings)
        if "run_id" in missing:
            _forget_zeros(rows)
        if "repetition" in missing:
            count_repetitions(rows)
        join_attempts(rows)
        return rows


@dataclass
class Part:
    """The rows that a reader collected from a part of a file; `rest` is the text after its last line end."""

    columns: dict[str, Array]
    constants: list[tuple[Any, ...]]
    names: dict[str, list[str]]
    seen: set[str]
    lines: int
    rest: bytes


@lru_cache(maxsize=1024)
def _nothing(name: str, size: int) -> Array:
    return CONVERT[name]((None,) * size)


def _forget_zeros(rows: Rows) -> None:
    """Other tools write 0.0 for a latency that was not measured."""
    for name in LATENCIES:
        seconds = rows.columns[name]
        seconds[seconds == 0.0] = np.nan


def _joined(name: str, pieces: list[Array]) -> Array:
    if pieces:
        return np.concatenate(pieces)
    return CONVERT[name](()) if name in CONVERT else np.empty(0, dtype=np.int32)


def _transposed(rows: list[Row]) -> dict[str, tuple[Any, ...]]:
    names = tuple(rows[0])
    if len(names) > 1 and set(map(len, rows)) == {len(names)}:
        try:
            return dict(zip(names, zip(*map(_getter(names), rows), strict=True), strict=True))
        except KeyError:
            pass
    names = tuple({name: None for row in rows for name in row})
    return {name: tuple(row.get(name, DEFAULTS.get(name)) for row in rows) for name in names}


@lru_cache(maxsize=64)
def _getter(names: tuple[str, ...]) -> Callable[[Row], tuple[Any, ...]]:
    return itemgetter(*names)


def table(lines: Iterable[bytes]) -> "pd.DataFrame":
    """A table of rows in their order: latencies in seconds, timestamps in UTC microseconds, texts as
    categories; NaN for null."""
    reader = Reader(messages=True)
    rest = iter(lines)
    while some := list(islice(rest, PIECE_ROWS)):
        reader.take(b"\n".join(some))
    return reader.rows().frame()
