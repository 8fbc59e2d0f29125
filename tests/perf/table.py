"""The table of targets, as text for a terminal and as Markdown."""

import textwrap
from collections.abc import Sequence

from tests.perf.targets import Line, lines, Result

SHORT = 60
HEAD = ("", "what", "figure", "spread", "target", "peer", "peer's figure", "ratio", "")


def number(value: float | None) -> str:
    """Three significant digits, or all digits before the decimal point."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cells(line: Line) -> tuple[str, ...]:
    target = line.target
    spread = "-" if line.low is None else f"{number(line.low)}–{number(line.high)}"
    return (
        target.number,
        target.what,
        f"{number(line.figure)} {target.unit}".strip() if line.figure is not None else "-",
        spread,
        target.limit_text,
        target.peer or "-",
        number(line.peer),
        "-" if line.ratio is None else f"{line.ratio:.3g} ×",
        line.verdict + (f": {line.why}" if line.why else ""),
    )


def rows(run: Result) -> list[tuple[str, ...]]:
    return [cells(line) for line in lines(run)]


def text(run: Result) -> str:
    """For a terminal. Reasons are shortened; the end of the run prints them in full."""
    table = [HEAD, *([*row[:-1], textwrap.shorten(row[-1], SHORT)] for row in rows(run))]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table; every row has as many cells as the heading."""
    rendered = [_row(head), _row(["---"] * len(head)), *map(_row, body)]
    return "\n".join(rendered) + "\n"


def _row(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
