"""Resumes a recorded experiment: its settings, its finished cells and its rows."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from analysis.results.file_names import RAW, RUN
from analysis.rows.parser import table
from launcher.errors import UsageError
from launcher.experiment.grid import Cell, Grid
from launcher.system.files import lock, read_json

# Settings of a grid that are chosen anew each time it is resumed.
PER_START = ("output", "load_workers", "sources", "resume", "arguments")

# Settings of a grid that stay as recorded unless they are given again.
CHANGEABLE = ("url", "require_hosts", "require_valid")

Attempt = tuple[Cell, int]


@dataclass
class RecordedRun:
    """`lines` has the summary lines of finished cells, in order; `attempts` the number of the last
    attempt of every started cell; `size` the bytes of whole rows."""

    run: dict[str, Any]
    lines: dict[Cell, dict[str, Any]]
    attempts: dict[Cell, int]
    size: int
    rows: int
    # The file of rows, locked until it is closed.
    file: BinaryIO


def read_recorded(folder: Path, file: str, *keys: str) -> dict[str, Any]:
    """The content of run.json or experiment.json. Raises `UsageError` when it is missing or lacks
    one of `keys`."""
    content = read_json(folder / file)
    if content is None:
        raise UsageError(
            f"{folder} has no experiment to resume ({file} is missing or incomplete); omit --resume"
        )
    if not set(keys) <= set(content):
        raise _incompatible(folder / file)
    return content


def read_run(folder: Path) -> dict[str, Any]:
    """The content of run.json. Raises `UsageError`."""
    run = read_recorded(folder, RUN, "run_id", "begun", "grid", "cells")
    grid = run["grid"]
    if not isinstance(run["cells"], list) or not isinstance(grid, dict):
        raise _incompatible(folder / RUN)
    if not {"url", "batches", "waits"} <= set(grid):
        raise _incompatible(folder / RUN)
    return run


def _incompatible(file: Path) -> UsageError:
    return UsageError(f"{file} was written by an incompatible version and cannot be resumed")


def merge(
    folder: Path,
    requested: Mapping[str, Any],
    given: Collection[str],
    recorded: Mapping[str, Any],
    *,
    per_start: Collection[str] = (),
    changeable: Collection[str] = (),
) -> dict[str, Any]:
    """The requested settings, replaced by those recorded.

    Settings in `per_start`, and those in `changeable` that are in `given`, stay as requested. Raises
    `UsageError` when any other setting in `given` differs from the record.
    """
    given = set(given)
    for name in sorted(given - {*per_start, *changeable}):
        if name in recorded and _values(requested[name]) != _values(recorded[name]):
            raise UsageError(
                f"{folder} was started with {name} {_text(recorded[name])}, not "
                f"{_text(requested[name])}; omit it to resume, or choose a new --output-dir"
            )
    current = {*per_start, *(given & set(changeable))}
    return {**requested, **{name: recorded[name] for name in recorded if name not in current}}


def resume_grid(grid: Grid, given: Collection[str], recorded: Mapping[str, Any]) -> Grid:
    """The grid of run.json, with the settings that were `given` now. Raises `UsageError`."""
    known = {field.name: getattr(grid, field.name) for field in fields(Grid)}
    earlier = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recorded.items()
        if name in known
    }
    return Grid(
        **merge(grid.output, known, given, earlier, per_start=PER_START, changeable=CHANGEABLE)
    )


def _text(value: Any) -> str:
    """A setting as it is written on the command line."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(_text, value))
    is_whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if is_whole else str(value)


def _values(setting: Any) -> list[float | str]:
    """The setting for a comparison, whether it was recorded as text or as a value."""
    return [_number(part) for part in _text(setting).split(",")]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def reopen(folder: Path) -> RecordedRun:
    """Locks and reads a result folder. Raises `UsageError`."""
    read_run(folder)
    try:
        file = (folder / RAW).open("a+b", buffering=0)
    except OSError as failure:
        raise UsageError(f"cannot write {folder / RAW}: {failure.strerror}") from None
    lock_results(file, folder)
    recorded = RecordedRun(read_run(folder), {}, {}, 0, 0, file)  # read again under the lock
    try:
        finished = {
            attempt_of(facts): facts for facts in recorded.run["cells"] if not facts["interrupted"]
        }
        with (folder / RAW).open("rb") as lines:
            _read_rows(recorded, _whole_lines(lines, recorded), finished)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UsageError(
            f"{folder} cannot be resumed: line {recorded.rows} of {RAW}, or {RUN}: "
            f"{type(failure).__name__}: {failure}"
        ) from None
    return recorded


def lock_results(file: BinaryIO, folder: Path) -> None:
    lock(file, f"another launcher is writing results into {folder}; wait until it has ended")


def _whole_lines(file: Any, recorded: RecordedRun) -> Iterator[bytes]:
    """Yields and counts complete lines; a launcher that was killed can leave half a line."""
    for line in file:
        if line.endswith(b"\n"):
            recorded.size += len(line)
            recorded.rows += 1
            yield line[:-1]


def _read_rows(
    recorded: RecordedRun, lines: Iterator[bytes], finished: dict[Attempt, dict[str, Any]]
) -> None:
    from analysis.cells.summary import cell

    for key, group in itertools.groupby(lines, lambda line: attempt_of(orjson.loads(line))):
        which, attempt = key
        recorded.attempts[which] = attempt
        recorded.lines.pop(which, None)
        rows = list(group)
        if key not in finished:
            continue
        line = cell(table(rows), finished[key])
        if not line["lost"]:  # a cell that lost sessions of the load is repeated
            recorded.lines[which] = line


def attempt_of(values: dict[str, Any]) -> Attempt:
    """The cell and attempt of a row, or of an entry of run.json."""
    return (
        Cell(
            values["mode"],
            values["batch"] if "batch" in values else values["batch_size"],
            values["wait"] if "wait" in values else values["wait_requested"],
            values["repetition"],
            values["shape"],
            values["steps"],
            values["arrival_rate"],
        ),
        values["attempt"],
    )
