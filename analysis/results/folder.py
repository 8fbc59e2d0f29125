"""Reads a folder of results, everything from raw.jsonl and run.json."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells.reasons import Findings
from analysis.cells.spans import open_spans, spans
from analysis.cells.summary import (
    as_frame,
    cell,
    COLUMNS,
    counts,
    facts_of,
    last,
    Line,
    OWN_COLUMNS,
)
from analysis.errors import ResultsError
from analysis.results.file_names import RAW, RUN, SUMMARY
from analysis.results.run_json import read as read_run
from analysis.rows.columns import Rows
from analysis.rows.fields import Array
from analysis.rows.files import read

CURVE_POINTS = 400

# Numbers that differ by less than this relative difference are equal: other versions round differently.
SAME = 1e-9

# Columns of summary.csv whose wording differs between versions; `valid` holds the same decision.
WORDED = ("reasons", "warnings")


@dataclass
class CellDetails:
    """Details of a cell that its line in the summary lacks. `curve` holds seconds since the start of the
    cell, and the number of sessions that were open."""

    curve: tuple[list[float], list[int]] = field(default_factory=lambda: ([], []))
    hosts: dict[str, int] = field(default_factory=dict)
    load_workers: dict[str, int] = field(default_factory=dict)
    warnings: Findings = field(default_factory=Findings)


@dataclass
class Results:
    """`details` has one entry for each line of `summary`, in the same order. Each warning names its file."""

    folder: Path
    run: dict[str, Any]
    summary: pd.DataFrame
    details: list[CellDetails]
    warnings: list[str]

    @property
    def caps(self) -> Mapping[str, Any]:
        return self.run.get("caps") or {}

    @property
    def name(self) -> str:
        return self.folder.name or str(self.folder)


def find(folder: Path) -> list[Path]:
    """The folder itself if it holds results, or else its subfolders that do, in natural order."""
    if (folder / RAW).exists():
        return [folder]
    folders = [each.parent for each in folder.glob(f"*/{RAW}")]
    return sorted(folders, key=lambda path: natural(path.name))


def load(folder: Path) -> Results:
    """Raises `ResultsError` when the folder holds no results or they cannot be read."""
    if not (folder / RAW).is_file():
        raise ResultsError(f"{folder} holds no results: there is no {RAW} in it")
    run, warnings = read_run(folder)
    rows = read(folder / RAW)
    if not len(rows):
        raise ResultsError(f"{folder / RAW} has no rows: no session has ended")
    _check_run(folder, run, rows)
    foreign = "run_id" in rows.missing
    warnings += rows.warnings
    if rows.missing:
        names = ", ".join(rows.missing)
        warnings.append(
            f"{folder / RAW} was written by an older version or another tool: its rows have no {names}"
        )
    lines, details = _lines(rows, run.get("cells") or [])
    summary = as_frame(lines)
    warnings += _differences(folder, summary, foreign)
    return Results(folder, run, summary, details, warnings)


def details(rows: pd.DataFrame, warnings: Findings) -> CellDetails:
    open_sessions = curve(*open_spans(spans(rows)))
    return CellDetails(
        open_sessions, counts(rows["host_url"]), counts(rows["load_worker"]), warnings
    )


def curve(opened: Array, ended: Array) -> tuple[list[float], list[int]]:
    """How many sessions were open, over seconds since the start of the cell: at every event, or at evenly
    spaced times and at the peak. `opened` and `ended` are sorted."""
    times = np.unique(np.concatenate([[0.0], opened, ended]))
    if len(times) > CURVE_POINTS:
        still = np.arange(1, len(opened) + 1) - np.searchsorted(ended, opened, side="right")
        even = np.linspace(0.0, times[-1], CURVE_POINTS - 1)
        times = np.unique(np.append(even, opened[still.argmax()]))
    count = np.searchsorted(opened, times, side="right")
    count -= np.searchsorted(ended, times, side="right")
    return times.tolist(), count.tolist()


def _check_run(folder: Path, run: Mapping[str, Any], rows: Rows) -> None:
    of_rows, of_run = rows.constants[0]["run_id"], run.get("run_id")
    if of_rows and of_run and of_rows != of_run:
        raise ResultsError(
            f"{folder / RAW} holds rows of run {of_rows}, but {RUN} describes run {of_run}; "
            "keep the files of each run in their own folder"
        )


def _lines(rows: Rows, facts: list[dict[str, Any]]) -> tuple[list[Line], list[CellDetails]]:
    of = facts_of(facts)
    lines, of_line = [], {}
    for attempt in rows.attempts():
        line = cell(attempt, of(attempt))
        lines.append(line)
        of_line[id(line)] = details(attempt, line["warnings"])
    counted = last(lines)
    return counted, [of_line[id(line)] for line in counted]


def _differences(folder: Path, ours: pd.DataFrame, foreign: bool) -> list[str]:
    path = folder / SUMMARY
    if not path.exists():
        return []
    try:
        theirs = pd.read_csv(path, keep_default_na=False, dtype=str)
    except (OSError, ValueError) as failure:
        return [f"{path} cannot be read: {failure}"]
    difference = _difference(ours, theirs, foreign)
    return [f"{path} disagrees with the rows, which count: {difference}"] if difference else []


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame, foreign: bool) -> str | None:
    if len(ours) != len(theirs):
        return f"it has {len(theirs)} cells, the rows have {len(ours)}"
    names = [name for name in COLUMNS + OWN_COLUMNS if name in theirs and name not in WORDED]
    for (_, our), (_, their) in zip(ours.iterrows(), theirs.iterrows(), strict=True):
        for name in names:
            if not _same(our[name], their[name], foreign):
                value = "nothing" if pd.isna(our[name]) else our[name]
                return f"{cell_name(our)}: {name} is {their[name] or 'empty'}, by the rows {value}"
    return None


def _same(ours: Any, text: str, foreign: bool) -> bool:
    if pd.isna(ours):
        return text in ("", "nan") or (foreign and _number(text) in (0.0, None))
    if isinstance(ours, (bool, np.bool_, str)):
        return str(ours) == text or (foreign and isinstance(ours, str))
    number = _number(text)
    return number is not None and abs(number - ours) <= SAME * max(abs(number), abs(ours))


def cell_name(line: "Mapping[str, Any] | pd.Series[Any]") -> str:
    shape = "" if line["shape"] == "burst" else f" {line['shape']}"
    steps = "" if line["steps"] == 1 else f" steps {line['steps']}"
    rate = "" if pd.isna(line["arrival_rate"]) else f" arrival rate {line['arrival_rate']:g}"
    name = f"{line['mode']}{shape} batch {line['batch_size']} wait {line['wait_seconds']:g}"
    return f"{name}{steps}{rate} repetition {line['repetition']}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts nodes-2 before nodes-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
