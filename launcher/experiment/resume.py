"""Opens a result folder, new or to resume it: its settings, its finished cells and its rows."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from analysis.results.file_names import LOGS, RAW, RUN, SAMPLES, SUMMARY
from analysis.rows.parser import table
from launcher.errors import UsageError
from launcher.experiment.grid import Cell, Grid
from launcher.system.files import check_writable, lock, read_json

# Settings of a grid that are chosen anew each time it is resumed.
PER_START = ("url", "output", "load_workers", "sources", "resume", "arguments")

# Settings of a grid that stay as recorded unless they are given again.
CHANGEABLE = ("require_hosts", "require_valid")

GRID_KEYS = {"url", "batches", "waits"}

Attempt = tuple[Cell, int]


@dataclass
class RecordedRun:
    """The content of a result folder: `run` is run.json, empty in a new folder. `lines` has the summary
    lines of finished cells, in order; `attempts` the number of the last attempt of every started
    cell. `file` holds `rows` whole rows in `size` bytes, and is locked until it is closed."""

    file: BinaryIO
    run: dict[str, Any] = field(default_factory=dict)
    lines: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[Cell, int] = field(default_factory=dict)
    size: int = 0
    rows: int = 0


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
    grid, cells = run["grid"], run["cells"]
    if not (isinstance(cells, list) and isinstance(grid, dict) and set(grid) >= GRID_KEYS):
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
        if name in recorded and requested[name] != recorded[name]:
            raise UsageError(
                f"{folder} was started with {name} {_text(recorded[name])}, not "
                f"{_text(requested[name])}; omit it to resume, or choose a new --output-dir"
            )
    current = {*per_start, *(given & set(changeable))}
    return {**requested, **{name: recorded[name] for name in recorded if name not in current}}


def resume_grid(grid: Grid, given: Collection[str], recorded: Mapping[str, Any]) -> Grid:
    """The grid of run.json, with the settings that were `given` now. Raises `UsageError`."""
    requested = vars(grid)
    earlier = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recorded.items()
        if name in requested
    }
    rules = {"per_start": PER_START, "changeable": CHANGEABLE}
    return Grid(**merge(grid.output, requested, given, earlier, **rules))


def _text(value: Any) -> str:
    """A setting as it is written on the command line."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(_text, value))
    is_whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if is_whole else str(value)


def create(folder: Path) -> RecordedRun:
    """Raises `UsageError` when the folder holds results or is not writable."""
    for name in (RAW, SUMMARY, RUN, LOGS, SAMPLES):
        if (folder / name).exists():
            raise UsageError(
                f"{folder} already holds results ({name}); choose a new --output-dir, or continue "
                "with --resume"
            )
    check_writable(folder)
    return RecordedRun(_open(folder))


def reopen(folder: Path) -> RecordedRun:
    """Raises `UsageError` when the folder cannot be resumed."""
    read_run(folder)
    recorded = RecordedRun(_open(folder), read_run(folder))  # read again under the lock
    try:
        entries = recorded.run["cells"]
        finished = {attempt_of(entry): entry for entry in entries if not entry["interrupted"]}
        with (folder / RAW).open("rb") as lines:
            _read_rows(recorded, _whole_lines(lines, recorded), finished)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        recorded.file.close()
        raise UsageError(
            f"{folder} cannot be resumed: line {recorded.rows} of {RAW}, or {RUN}: "
            f"{type(failure).__name__}: {failure}"
        ) from None
    return recorded


def _open(folder: Path) -> BinaryIO:
    """Opens and locks raw.jsonl."""
    try:
        file = (folder / RAW).open("ab", buffering=0)
    except OSError as failure:
        raise UsageError(f"cannot write {folder / RAW}: {failure.strerror}") from None
    try:
        lock(file, f"another launcher is writing results into {folder}; wait until it has ended")
    except UsageError:
        file.close()
        raise
    return file


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
    batch = values["batch"] if "batch" in values else values["batch_size"]
    wait = values["wait"] if "wait" in values else values["wait_requested"]
    shape = (values["shape"], values["steps"], values["arrival_rate"])
    return Cell(values["mode"], batch, wait, values["repetition"], *shape), values["attempt"]
