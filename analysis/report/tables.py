"""The sections of a report that are tables: the verdict with the ceilings, the bounds, all cells."""

from collections.abc import Callable, Mapping
from typing import Any

from analysis.report import sentences
from analysis.report.formatting import (
    count,
    known,
    percent,
    plural,
    seconds,
    shown,
    span,
    text_of,
)  # fmt: skip
from analysis.report.page import Content, Row, Section, Table
from analysis.report.series import Line, records, success
from analysis.results.file_names import SUMMARY
from analysis.scaling.ceilings import censored

# Lines of the table of cells; the others are in summary.csv only.
MAX_CELLS = 1500


def verdict(content: Content) -> Section:
    facts = [sentences.ceiling_sentence(line) for line in content.ceilings]
    facts += sentences.efficiency_sentences(content.scaling)
    facts += sentences.status_sentences(content.results)
    facts += sentences.validity_sentences(content.lines)
    facts += [sentences.sharing_sentence(content.results)]
    facts += [
        f"Warning: {one}" for one in sentences.warning_sentences(content.results, content.lines)
    ]
    tables = [ceiling_table(content)] if len(content.ceilings) > 1 else []
    return Section("verdict", "Verdict", (), facts, (), tables)


def ceiling_table(content: Content) -> Table:
    heads = ["folder", "servers", "mode", "shape", "steps", "wait (s)", "ceiling", "95 % interval",
             "by repetition (passed-failed)", "success there", "p99 there", "rps there", "bound"]  # fmt: skip
    rows = [Row(_ceiling_cells(line)) for line in content.ceilings]
    return Table(heads, rows, frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11}), "Ceilings", "ceilings")


def _ceiling_cells(line: Line) -> list[str]:
    has_ceiling = known(line["ceiling"]) and line["ceiling"]
    mark = "≥ " if censored(line) else ""
    return [
        str(line["folder"]),
        _number(line["servers"]),
        str(line["mode"]),
        str(line["shape"]),
        _number(line["steps"]),
        f"{line['wait_seconds']:g}",
        f"{mark}{count(line['ceiling'])}" if has_ceiling else "none",
        _interval(line),
        text_of(line["brackets"]),
        percent(line["success_at_ceiling"]) if has_ceiling else "–",
        _seconds(line["p99_at_ceiling"]),
        shown(line["rps_at_ceiling"], ",.0f"),
        text_of(line["bound"]),
    ]


def _interval(line: Line) -> str:
    low, high = line["ceiling_low"], line["ceiling_high"]
    if not known(low):
        return "one repetition" if line["repetitions"] else "–"
    return span(low, high) if known(high) else f"at least {count(round(low))}"


def bounds(content: Content) -> Section:
    several = len(content.results) > 1
    heads = ["folder", "cell", "success", "bound", "evidence"][not several :]
    rows = [
        Row(_bound_cells(name, line)[not several :], not line["valid"])
        for name, line in _named(content)
        if known(line["bound"])
    ]
    others = len(content.lines) - len(rows)
    paragraphs = ["The bound of no cell is known."]
    if rows:
        paragraphs = [f"{plural(others, 'other cell')} had no bound that is known."] * bool(others)
    tables = [Table(heads, rows, frozenset({1 + several}))] if rows else []
    return Section("bounds", "What bound each cell", paragraphs, tables=tables)


def _bound_cells(name: str, line: Line) -> list[str]:
    share, evidence = percent(success(line)), text_of(line["bound_evidence"])
    return [name, sentences.cell_name(line), share, str(line["bound"]), evidence]


def _remarks(line: Line) -> str:
    return "; ".join(
        str(line[name]) for name in ("errors", "reasons", "warnings") if known(line[name])
    )


CELL_COLUMNS: tuple[tuple[str, bool, Callable[[Line], str]], ...] = (
    ("mode", False, lambda line: str(line["mode"])),
    ("shape", False, lambda line: str(line["shape"])),
    ("steps", True, lambda line: _number(line["steps"])),
    ("arrivals per s", True, lambda line: _number(line["arrival_rate"])),
    ("batch", True, lambda line: count(line["batch_size"])),
    ("wait (s)", True, lambda line: f"{line['wait_seconds']:g}"),
    ("rep.", True, lambda line: str(line["repetition"])),
    ("attempt", True, lambda line: _number(line["attempt"])),
    ("verdict", False, lambda line: "VALID" if line["valid"] else "INVALID"),
    ("success", True, lambda line: percent(success(line))),
    ("wall (s)", True, lambda line: shown(line["total_wall_time"], ",.3f")),
    ("p50 (s)", True, lambda line: shown(line["total_p50"], ",.3f")),
    ("p99 (s)", True, lambda line: shown(line["total_p99"], ",.3f")),
    ("rps", True, lambda line: shown(line["requests_per_second"], ",.0f")),
    ("hosts", True, lambda line: _of(line["unique_hosts"], line["expected_hosts"])),
    ("peak open", True, lambda line: _number(line["peak_open"])),
    ("spread (ms)", True, lambda line: _milliseconds(line["start_spread"])),
    ("lag (ms)", True, lambda line: _milliseconds(line["load_lag"])),
    ("errors; reasons; warnings", False, _remarks),
)


def cells(content: Content) -> Section:
    several = len(content.results) > 1
    named = _named(content)
    columns = [
        (head, numeric, value)
        for head, numeric, value in CELL_COLUMNS
        if {value(line) for _, line in named} - USUAL.get(head, {""})
    ]
    heads = [*(["folder"] if several else []), *(head for head, _, _ in columns)]
    offset = int(several)
    rows = [
        Row([*([name] if several else []), *(value(line) for _, _, value in columns)],
            not line["valid"])
        for name, line in named[:MAX_CELLS]
    ]  # fmt: skip
    numeric = frozenset(n + offset for n, (_, is_number, _) in enumerate(columns) if is_number)
    paragraphs = []
    if len(named) > MAX_CELLS:
        paragraphs = [f"The first {MAX_CELLS:,} of {len(named):,} cells; all are in {SUMMARY}."]
    paragraphs.append(USUAL_TEXT)
    return Section(
        "cells", "All cells", paragraphs, (), (), [Table(heads, rows, numeric, "", "all-cells")]
    )


USUAL: Mapping[str, frozenset[str] | set[str]] = dict.fromkeys(
    ("arrivals per s", "spread (ms)", "lag (ms)", "peak open"), frozenset({"–"})
) | {"mode": {"ws"}, "shape": {"burst"}, "steps": {"1"}, "attempt": {"1"}}

USUAL_TEXT = (
    "Mode ws, shape burst, 1 step and attempt 1 are hidden where all cells have them. p50 and p99 are "
    "of whole sessions; spread is the start spread, lag the load lag."
)


def _named(content: Content) -> list[tuple[str, Line]]:
    return [(one.name, line) for one in content.results for line in records(one.summary)]


def _number(value: Any) -> str:
    return count(value) if known(value) else "–"


def _seconds(value: Any) -> str:
    return seconds(float(value)) if known(value) else "–"


def _milliseconds(value: Any) -> str:
    return f"{1000 * value:,.1f}" if known(value) else "–"


def _of(number: Any, expected: Any) -> str:
    return f"{number} of {expected:.0f}" if known(expected) else str(number)
