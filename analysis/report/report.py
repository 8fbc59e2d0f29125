"""Writes the report of result folders, from their files alone."""

import csv
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import ResultsError
from analysis.report import log_entry, texts
from analysis.report.page import Content, render
from analysis.report.sentences import subject
from analysis.report.series import Curve, Line, panels, records
from analysis.results.file_names import CEILINGS, FIGURES, LOG_ENTRY, RAW, REPORT, SCALING, SUMMARY
from analysis.results.folder import find, load, Results, WORDED
from analysis.scaling.ceilings import ceilings, GROUP
from analysis.scaling.criterion import Criterion
from analysis.scaling.efficiency import caveats, scaling
from analysis.scaling.usl import usl

if TYPE_CHECKING:
    import pandas as pd

INSTALL = 'pip install -e ".[analysis]"'


@dataclass
class Report:
    """The files that were written, and warnings. `missing` is a package that the page requires."""

    output: Path
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cells: int = 0
    invalid: int = 0
    missing: str | None = None


def write(folders: Sequence[Path], output: Path | None, criterion: Criterion) -> Report:
    """Writes the files of the report. Raises `ResultsError` for folders that cannot be read or written."""
    results = [load(folder) for folder in _result_folders(folders)]
    report = Report(output or default_output(folders))
    try:
        _write(results, report, criterion)
    except OSError as failure:
        where = failure.filename or report.output
        raise ResultsError(f"cannot write {where}: {failure.strerror}; give --output") from None
    return report


def default_output(folders: Sequence[Path]) -> Path:
    if len(folders) == 1:
        return folders[0]
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _result_folders(folders: Sequence[Path]) -> list[Path]:
    unique: dict[Path, Path] = {}
    for folder in folders:
        inside = find(folder)
        if not inside:
            what = f"holds no results (no {RAW} in it or in a folder of it)"
            raise ResultsError(f"{folder} {what if folder.is_dir() else 'is not a folder'}")
        unique |= {path.resolve(): path for path in inside}
    return list(unique.values())


def _write(results: Sequence[Results], report: Report, criterion: Criterion) -> None:
    report.output.mkdir(parents=True, exist_ok=True)
    for one in results:
        _summary(one, report)
        report.warnings += one.warnings
        report.cells += len(one.summary)
        report.invalid += int((~one.summary["valid"].astype(bool)).sum())
    content = _content(results, criterion, report)
    _put(report, LOG_ENTRY, log_entry.render(content))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        report.missing = "matplotlib"
        return
    from analysis.report.sections import sections

    (report.output / FIGURES).mkdir(exist_ok=True)
    made = sections(content, criterion, report.output / FIGURES)
    for drawn in (figure for section in made for figure in section.figures):
        report.files.append(report.output / FIGURES / f"{drawn.name}.png")
    _put(report, REPORT, render(content, made))


def _content(results: Sequence[Results], criterion: Criterion, report: Report) -> Content:
    ceiling_table = ceilings(results, criterion)
    _put(report, CEILINGS, ceiling_table.to_csv(index=False))
    scaled: list[Line] = []
    curves: list[Curve] = []
    notes: list[str] = []
    # Files of an earlier report would be mistaken for those of this one.
    for stale in (SCALING, f"{FIGURES}/scaling.png"):
        (report.output / stale).unlink(missing_ok=True)
    if ceiling_table["servers"].nunique() > 1:
        try:
            table = scaling(ceiling_table)
            readable = table["interpretation"].map(texts.interpretation)
            _put(report, SCALING, table.assign(interpretation=readable).to_csv(index=False))
            scaled, curves = records(table), list(_curves(ceiling_table))
            notes = [texts.caveat(caveat) for caveat in caveats(ceiling_table)]
        except ResultsError as failure:
            notes = [f"No scaling: {failure}."]
            report.warnings.append(f"no {SCALING}: {failure}")
    return Content(
        results=results,
        panels=panels(results, records(ceiling_table)),
        ceilings=records(ceiling_table),
        scaling=scaled,
        criterion=criterion.text,
        output=report.output,
        curves=curves,
        caveats=notes,
    )


def _curves(ceiling_table: "pd.DataFrame") -> Iterator[Curve]:
    for _, group in ceiling_table[ceiling_table["servers"].notna()].groupby(GROUP, sort=False):
        if group["servers"].nunique() > 1:
            lines = records(group.sort_values("servers", kind="stable"))
            yield Curve(subject(lines[0], servers=False), tuple(lines), usl(group))


def _summary(one: Results, report: Report) -> None:
    """Writes summary.csv from the rows, and keeps a file that differs under another name."""
    path = one.folder / SUMMARY
    text = one.summary.to_csv(index=False)
    before = path.read_bytes() if path.exists() else None
    if before is not None and _comparable(before.decode(errors="replace")) == _comparable(text):
        return
    # A run that was interrupted, or is still running, has not summarised its last cell.
    if before and not text.encode().startswith(before):
        kept = _unused(path.with_name(f"{SUMMARY}.before"))
        path.rename(kept)
        report.warnings.append(f"{path} was rewritten; the previous file is {kept.name}")
    replace(path, text)
    report.files.append(path)


def _comparable(table: str) -> list[dict[str, str]]:
    """The lines of summary.csv without the columns that versions word differently."""
    lines = csv.DictReader(table.splitlines())
    return [{name: line[name] for name in line if name not in WORDED} for line in lines]


def _unused(path: Path) -> Path:
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], names) if not each.exists())


def _put(report: Report, name: str, text: str) -> None:
    replace(report.output / name, text)
    report.files.append(report.output / name)


def replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
