"""The commands that read results: report, compare. Files alone; no cluster."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from analysis.errors import ResultsError
from launcher.cli.console import err, out
from launcher.errors import LauncherError, UsageError

if TYPE_CHECKING:
    from analysis.compare.compare import Change, Comparison
    from analysis.report.report import Report

folder = click.Path(path_type=Path)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=folder, metavar="DIR...")
@click.option("--output", type=folder, help="where the report goes [default: DIR]")
@click.option(
    "--success",
    default=0.95,
    type=float,
    metavar="SHARE",
    help="criterion: least share of sessions that succeed [default: 0.95]",
)
@click.option("--p99", metavar="EXPR", help="criterion: most seconds of p99, such as 'wait*2+1'")
@click.option("--require-valid", is_flag=True, help="exit with 1 when a cell is INVALID")
def report(
    folders: tuple[Path, ...],
    output: Path | None,
    success: float,
    p99: str | None,
    require_valid: bool,
) -> None:
    """Make the report of results from their files: report.html, figures, ceilings.csv, scaling.csv,
    LOG_ENTRY.md, and each summary.csv again from its rows."""
    from analysis.report.report import INSTALL, write
    from analysis.scaling.ceilings import Criterion

    with _told():
        made = write(folders, output, Criterion(success, p99))
    _print(made)
    if made.missing:
        raise LauncherError(
            f"no {made.missing} here, so there are no figures and no report.html: {INSTALL}"
        )
    if require_valid and made.invalid:
        raise LauncherError(
            f"{made.invalid} of {made.cells} cell(s) are INVALID; report.html says why"
        )


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with results is a user's business."""
    try:
        yield
    except ResultsError as failure:
        raise UsageError(str(failure)) from None


def _print(made: "Report") -> None:
    for text in made.warnings:
        err.print(f"warning: {text}", markup=False, style="yellow")
    for path in made.files:
        out.print(str(path), markup=False)


@click.command()
@click.argument("a", type=folder)
@click.argument("b", type=folder)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Show what changed from result A to result B beyond the noise; exit with 1 when B is worse."""
    from analysis.compare.compare import compare as compare_results
    from analysis.results.folder import load

    with _told():
        found = compare_results(load(a), load(b))
    if as_json:
        more = {"untold": found.untold, "worse": found.worse}
        print(json.dumps(asdict(found) | more, indent=2))
    else:
        _print_comparison(found)
    if found.worse:
        sys.exit(1)


def _print_comparison(found: "Comparison") -> None:
    for note in found.notes:
        err.print(f"note: {note}", markup=False)
    beyond = [change for change in found.changes if change.beyond_noise]
    if beyond:
        table = Table("cell", "measure", "A", "B", "change", "", "note", box=None)
        for change in beyond:
            table.add_row(*map(Text, _change(change)))
        out.print(table)
    for text in found.missing:
        out.print(f"WORSE: valid in {found.a} only: {text}", markup=False, soft_wrap=True)
    for text in found.untold:
        out.print(text, markup=False, soft_wrap=True)
    if not (beyond or found.missing or found.untold):
        out.print(f"nothing changed beyond the noise from {found.a} to {found.b}", markup=False)


def _change(change: "Change") -> list[str]:
    relative = "-" if change.relative is None else f"{change.relative:+.1%}"
    verdict = "WORSE" if change.worse else "better"
    numbers = [f"{change.a:.6g}", f"{change.b:.6g}"]
    return [change.cell, change.measure, *numbers, relative, verdict, change.note]
