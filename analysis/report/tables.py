"""The sections of a report that are tables: the verdict with the ceilings, the bounds, all cells."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.report import sentences
from analysis.report.formatting import count, known, percent, plural, seconds, shown, span, text_of
from analysis.report.page import Content, Row, Section, Table
from analysis.report.series import Line, success
from analysis.results.file_names import SUMMARY

# The heading of each column, whether it holds numbers, and its text for a line.
Columns = Sequence[tuple[str, bool, Callable[[Line], str]]]

# Lines of the table of cells; the others are in summary.csv only.
MAX_CELLS = 1500


def verdict(content: Content) -> Section:
    facts = [sentences.ceiling_sentence(line) for line in content.ceilings]
    facts += sentences.efficiency_sentences(content.scaling)
    facts += sentences.status_sentences(content.results)
    facts += sentences.validity_sentences(content.lines)
    facts += [sentences.sharing_sentence(content.results)]
    facts += [f"Warning: {one}" for one in sentences.warning_sentences(content.results)]
    table = _table(CEILING_COLUMNS, content.ceilings, "Ceilings", "ceilings")
    tables = [table] if len(content.ceilings) > 1 else []
    return Section("verdict", "Verdict", (), facts, (), tables)


def _interval(line: Line) -> str:
    low, high = line["ceiling_low"], line["ceiling_high"]
    if not known(low):
        return "one repetition" if line["repetitions"] else "–"
    return span(low, high) if known(high) else f"at least {count(round(low))}"


def bounds(content: Content) -> Section:
    lines = [line for line in content.lines if known(line["bound"])]
    others = len(content.lines) - len(lines)
    paragraphs = ["No cell has a known bound."]
    if lines:
        paragraphs = [f"{plural(others, 'other cell')} had no known bound."] * bool(others)
    tables = [_table(BOUND_COLUMNS[len(content.results) == 1 :], lines)] if lines else []
    return Section("bounds", "What bound each cell", paragraphs, tables=tables)


def _remarks(line: Line) -> str:
    return "; ".join(
        str(line[name]) for name in ("errors", "reasons", "warnings") if known(line[name])
    )


CEILING_COLUMNS: Columns = (
    ("folder", False, lambda line: str(line["folder"])),
    ("servers", True, lambda line: _number(line["servers"])),
    ("mode", False, lambda line: str(line["mode"])),
    ("shape", False, lambda line: str(line["shape"])),
    ("steps", True, lambda line: _number(line["steps"])),
    ("wait (s)", True, lambda line: f"{line['wait_seconds']:g}"),
    ("ceiling", True, lambda line: sentences.ceiling(line, ",.0f")),
    ("95 % interval", True, _interval),
    ("by repetition (passed-failed)", True, lambda line: text_of(line["brackets"])),
    ("success at ceiling", True, lambda line: percent(line["success_at_ceiling"])),
    ("p99 at ceiling", True, lambda line: _seconds(line["p99_at_ceiling"])),
    ("rps at ceiling", True, lambda line: shown(line["rps_at_ceiling"], ",.0f")),
    ("bound", False, lambda line: text_of(line["bound"])),
)

BOUND_COLUMNS: Columns = (
    ("folder", False, lambda line: str(line["folder"])),
    ("cell", False, sentences.cell_name),
    ("success", True, lambda line: percent(success(line))),
    ("bound", False, lambda line: str(line["bound"])),
    ("evidence", False, lambda line: text_of(line["bound_evidence"])),
)

CELL_COLUMNS: Columns = (
    ("folder", False, lambda line: line.get("folder", "")),
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
    lines = content.lines
    columns = [
        (head, numeric, value)
        for head, numeric, value in CELL_COLUMNS
        if {value(line) for line in lines} - USUAL.get(head, {""})
    ]
    paragraphs = [USUAL_TEXT]
    if len(lines) > MAX_CELLS:
        shown_first = f"The first {MAX_CELLS:,} of {len(lines):,} cells; all are in {SUMMARY}."
        paragraphs = [shown_first, USUAL_TEXT]
    table = _table(columns, lines[:MAX_CELLS], name="all-cells")
    return Section("cells", "All cells", paragraphs, tables=[table])


def _table(columns: Columns, lines: Sequence[Line], caption: str = "", name: str = "") -> Table:
    rows = [
        Row([value(line) for _, _, value in columns], not line.get("valid", True)) for line in lines
    ]
    numeric = frozenset(n for n, (_, is_number, _) in enumerate(columns) if is_number)
    return Table([head for head, _, _ in columns], rows, numeric, caption, name)


USUAL: Mapping[str, frozenset[str] | set[str]] = dict.fromkeys(
    ("arrivals per s", "spread (ms)", "lag (ms)", "peak open"), frozenset({"–"})
) | {"mode": {"ws"}, "shape": {"burst"}, "steps": {"1"}, "attempt": {"1"}}

USUAL_TEXT = (
    "Mode ws, shape burst, 1 step and attempt 1 are hidden where all cells have them. p50 and p99 are "
    "of whole sessions; spread is the start spread, lag the load lag."
)


def _number(value: Any) -> str:
    return count(value) if known(value) else "–"


def _seconds(value: Any) -> str:
    return seconds(float(value)) if known(value) else "–"


def _milliseconds(value: Any) -> str:
    return f"{1000 * value:,.1f}" if known(value) else "–"


def _of(number: Any, expected: Any) -> str:
    return f"{number} of {expected:.0f}" if known(expected) else str(number)
