"""A result folder of an experiment that was interrupted: what is done, and what it was asked."""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import orjson

from analysis import rows as row_tables
from launcher.cells import Cell, Grid
from launcher.errors import UsageError
from launcher.rundir import read_json

MAY_DIFFER = ("url", "output", "load_workers", "sources", "require_valid", "resume", "arguments")
"""Of a grid, between one sitting and the next."""

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


def before(folder: Path, raw: str, run: str) -> Before:
    """Reads `raw` (rows) and `run` of the folder. Raises `UsageError`."""
    story = read_json(folder / run)
    if story is None or "grid" not in story:
        raise UsageError(
            f"{folder} has no experiment to go on with ({run} is missing or not whole); leave out "
            "--resume"
        )
    found = Before(story, {}, {}, 0, 0)
    finished = {attempt_of(facts): facts for facts in story["cells"] if not facts["interrupted"]}
    try:
        with (folder / raw).open("rb") as file:
            _read(found, _whole_lines(file, found), finished)
    except FileNotFoundError:
        pass  # it was interrupted before the first row
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UsageError(
            f"{folder / raw} cannot be gone on with: line {found.rows}: {failure}"
        ) from None
    return found


def _whole_lines(file: Any, found: Before) -> Iterator[bytes]:
    """Counts them; what was written half is no row."""
    for line in file:
        if line.endswith(b"\n"):
            found.whole += len(line)
            found.rows += 1
            yield line[:-1]


def _read(found: Before, lines: Iterator[bytes], finished: dict[Attempt, dict[str, Any]]) -> None:
    from analysis.summary import cell

    for key, group in itertools.groupby(lines, lambda line: attempt_of(orjson.loads(line))):
        which, attempt = key
        found.attempts[which] = attempt
        found.lines.pop(which, None)
        rows = list(group)
        if key not in finished:
            continue
        line = cell(row_tables.table(rows), finished[key])
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
    kept = {name: value for name, value in begun.items() if name not in MAY_DIFFER}
    if "url" not in given:
        kept["url"] = begun["url"]
    return replace(grid, **kept)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _told(value: Any) -> str:
    return (
        ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
        if isinstance(value, tuple)
        else str(value)
    )
