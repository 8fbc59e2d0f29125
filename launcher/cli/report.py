"""The commands that read results: report, compare. They need the files only."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from analysis.scaling.criterion import Criterion
from launcher.cli.display.console import out, print_json, say, warn
from launcher.cli.options import (
    criterion_options,
    FOLDER,
    json_option,
    option,
    require_valid_option,
)
from launcher.errors import FAILED, LauncherError


@click.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER, metavar="DIR...")
@option("--output", "The folder of the report.", FOLDER, default_text="DIR")
@criterion_options
@require_valid_option
def report(
    folders: tuple[Path, ...],
    output: Path | None,
    success: float,
    p99: str | None,
    require_valid: bool,
) -> None:
    """Write the report of result folders.

    Writes report.html, the figures, ceilings.csv, scaling.csv and LOG_ENTRY.md, and recomputes each
    summary.csv from its rows.
    """
    from analysis.report.report import INSTALL, write

    written = write(folders, output, Criterion(success, p99))
    for text in written.warnings:
        warn(text)
    for path in written.files:
        out.print(str(path))
    if written.missing:
        raise LauncherError(
            f"{written.missing} is not installed, so there are no figures and no report.html: {INSTALL}"
        )
    if require_valid and written.invalid:
        raise LauncherError(
            f"{written.invalid} of {written.cells} cell(s) are INVALID; report.html says why"
        )


@click.command()
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@json_option
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Show what changed from A to B beyond the noise.

    Exits with 1 if B is worse.
    """
    from analysis.compare.compare import compare as compare_results
    from analysis.report.texts import comparison
    from analysis.results.folder import load

    compared = compare_results(load(a), load(b))
    if as_json:
        print_json(comparison(compared))
    else:
        _print_comparison(comparison(compared))
    if compared.worse:
        sys.exit(FAILED)


def _print_comparison(comparison: Mapping[str, Any]) -> None:
    for note in comparison["notes"]:
        say(f"note: {note}")
    beyond = [change for change in comparison["changes"] if change["beyond_noise"]]
    if beyond:
        table = Table("cell", "measure", "A", "B", "change", "", "note", box=None)
        for change in beyond:
            relative = "-" if change["relative"] is None else f"{change['relative']:+.1%}"
            verdict = "WORSE" if change["worse"] else "better"
            numbers = (f"{change['a']:.6g}", f"{change['b']:.6g}", relative, verdict)
            cells = (change["cell"], change["measure"], *numbers, change["note"])
            table.add_row(*map(Text, cells))
        out.print(table)
    for text in comparison["missing"]:
        out.print(f"WORSE: valid in {comparison['a']} only: {text}")
    for text in comparison["untold"]:
        out.print(text)
    if not (beyond or comparison["missing"] or comparison["untold"]):
        folders = f"from {comparison['a']} to {comparison['b']}"
        out.print(f"nothing changed beyond the noise {folders}")
