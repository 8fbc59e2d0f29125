"""A result folder of an experiment that was interrupted: what is done, and what it was asked."""

import fcntl
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from analysis.rows.parser import table
from launcher.errors import UsageError
from launcher.experiment.grid import Cell, Grid
from launcher.system.files import read_json

OF_A_SITTING = ("output", "load_workers", "sources", "resume", "arguments")
"""Of a grid, what is asked each time."""

MAY_DIFFER = ("url", "require_hosts", "require_valid", *OF_A_SITTING)
"""What may be asked otherwise when an experiment goes on."""

Attempt = tuple[Cell, int]


@dataclass
class Before:
    """`lines` are the summaries of cells that are done, in their order; `attempts` has the last
    attempt of every cell that was begun."""

    run: dict[str, Any]
    lines: dict[Cell, dict[str, Any]]
    attempts: dict[Cell, int]
    whole: int
    rows: int
    file: BinaryIO
    """Of the rows; locked until it is closed."""


def story(folder: Path, run: str) -> dict[str, Any]:
    """What `run` in the folder says. Raises `UsageError`."""
    told = read_json(folder / run)
    if told is None:
        raise UsageError(
            f"{folder} has no experiment to go on with ({run} is missing or not whole); leave out "
            "--resume"
        )
    grid, cells = told.get("grid"), told.get("cells")
    whole = isinstance(grid, dict) and isinstance(cells, list) and {"run_id", "begun"} <= set(told)
    if not whole or not {"url", "batches", "waits"} <= set(grid or ()):
        raise UsageError(f"{folder / run} is of another version: it cannot be gone on with")
    return told


def before(folder: Path, raw: str, run: str) -> Before:
    """Locks and reads `raw` (rows), and reads `run` of the folder. Raises `UsageError`."""
    story(folder, run)
    try:
        file = (folder / raw).open("a+b", buffering=0)
    except OSError as failure:
        raise UsageError(f"cannot write {folder / raw}: {failure.strerror}") from None
    lock(file, folder)
    told = story(folder, run)  # nobody writes it any more
    found = Before(told, {}, {}, 0, 0, file)
    try:
        finished = {attempt_of(facts): facts for facts in told["cells"] if not facts["interrupted"]}
        with (folder / raw).open("rb") as lines:
            _read(found, _whole_lines(lines, found), finished)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UsageError(
            f"{folder} cannot be gone on with: line {found.rows} of {raw}, or {run}: "
            f"{type(failure).__name__}: {failure}"
        ) from None
    return found


def lock(file: BinaryIO, folder: Path) -> None:
    """Until the file is closed, by whatever. Raises `UsageError`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another launcher is writing results into {folder}; let it end") from None
    except OSError:
        return  # a file system without locks


def _whole_lines(file: Any, found: Before) -> Iterator[bytes]:
    """Counts them; what was written half is no row."""
    for line in file:
        if line.endswith(b"\n"):
            found.whole += len(line)
            found.rows += 1
            yield line[:-1]


def _read(found: Before, lines: Iterator[bytes], finished: dict[Attempt, dict[str, Any]]) -> None:
    from analysis.cells.summary import cell

    for key, group in itertools.groupby(lines, lambda line: attempt_of(orjson.loads(line))):
        which, attempt = key
        found.attempts[which] = attempt
        found.lines.pop(which, None)
        rows = list(group)
        if key not in finished:
            continue
        line = cell(table(rows), finished[key])
        if not line["lost"]:  # an experiment that lost sessions of its own ends there
            found.lines[which] = line


def attempt_of(values: dict[str, Any]) -> Attempt:
    """Which attempt at which cell a row, or an entry of run.json, is of."""
    batch = values["batch"] if "batch" in values else values["batch_size"]
    wait = values["wait"] if "wait" in values else values["wait_requested"]
    how = (values["shape"], values["steps"], values["arrival_rate"])
    return Cell(values["mode"], batch, wait, values["repetition"], *how), values["attempt"]


def resumed(grid: Grid, given: Collection[str], was: dict[str, Any]) -> Grid:
    """The grid as it was begun, `was` in run.json; `given` names the fields of `grid` that were asked
    for now. Raises `UsageError` where the two differ."""
    known = {field.name for field in fields(Grid)}
    begun = {name: _value(value) for name, value in was.items() if name in known}
    for name in sorted(set(given) - set(MAY_DIFFER)):
        if name in begun and getattr(grid, name) != begun[name]:
            raise UsageError(
                f"{grid.output} was begun with {name} {_told(begun[name])}, not "
                f"{_told(getattr(grid, name))}; leave it out to go on, or choose a new --output-dir"
            )
    said = {*OF_A_SITTING, *(set(given) & set(MAY_DIFFER))}
    return replace(grid, **{name: value for name, value in begun.items() if name not in said})


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _told(value: Any) -> str:
    return (
        ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
        if isinstance(value, tuple)
        else str(value)
    )
