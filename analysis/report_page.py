"""The page of a report: sections of sentences, figures and tables, rendered into one file."""

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from analysis import report_text as text
from analysis.report_series import Curve, known, Line, Panel, plural, records, success
from analysis.report_words import count, listed, percent, seconds, span
from analysis.results import Results

MOST_CELLS = 1500
"""Lines of the table of cells; the others are in summary.csv."""

MOST_PROCESSES = 64


@dataclass(frozen=True)
class Row:
    cells: Sequence[str]
    bad: bool = False


@dataclass(frozen=True)
class Table:
    heads: Sequence[str]
    rows: Sequence[Row]
    numeric: frozenset[int] = frozenset()
    caption: str = ""
    id: str = ""


@dataclass(frozen=True)
class Drawn:
    """A figure of the page."""

    id: str
    svg: str
    caption: str
    alt: str
    number: int = 0


@dataclass(frozen=True)
class Part:
    """A piece of a section under a heading of its own."""

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    parts: Sequence[Part] = ()


@dataclass(frozen=True)
class Content:
    """What a report is made from."""

    results: Sequence[Results]
    panels: Sequence[Panel]
    ceilings: Sequence[Line]
    scaling: Sequence[Line]
    criterion: str
    output: Path
    curves: Sequence[Curve] = ()
    caveats: Sequence[str] = ()

    @property
    def lines(self) -> list[Line]:
        return [line for one in self.results for line in records(one.summary)]


def render(content: Content, sections: Sequence[Section]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tied"] = tied
    runs = ", ".join(sorted({str(one.run.get("run_id", "unknown")) for one in content.results}))
    return environment.get_template("report.html.j2").render(
        title=f"Report: {_title(content)}",
        subtitle=f"{plural(len(content.lines), 'cell')} of run {runs}. Criterion: {content.criterion}.",
        sections=sections,
    )


def _title(content: Content) -> str:
    names = listed([one.name for one in content.results])
    if len(content.results) == 1:
        return names
    return f"{content.output.absolute().name} ({names})"


def tied(sentence: str) -> str:
    """A number and its unit stay on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|s)(?!\w))", "\u00a0", sentence)


def verdict(content: Content) -> Section:
    """What was found, before anything else."""
    facts = [text.ceiling_sentence(line) for line in content.ceilings]
    facts += text.efficiency_sentences(content.scaling)
    facts += text.status_sentences(content.results)
    facts += text.validity_sentences(content.lines)
    facts += [text.sharing_sentence(content.results)]
    if any(not one.run for one in content.results):
        facts.append("Without run.json: validity is by the rows alone, and nothing bound is known.")
    facts += [f"Warning: {one}" for one in text.warning_sentences(content.results, content.lines)]
    tables = [ceiling_table(content)] if len(content.ceilings) > 1 else []
    return Section("verdict", "Verdict", (), facts, (), tables)


def ceiling_table(content: Content) -> Table:
    heads = ["folder", "servers", "mode", "shape", "steps", "wait (s)", "ceiling", "95 % interval",
             "by repetition", "success there", "p99 there", "rps there", "bound"]  # fmt: skip
    rows = [Row(_ceiling_cells(line)) for line in content.ceilings]
    return Table(heads, rows, frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11}), "Ceilings", "ceilings")


def _ceiling_cells(line: Line) -> list[str]:
    reached = "" if line["reached"] else "≥ "
    found = known(line["ceiling"]) and line["ceiling"]
    low, high = line["ceiling_low"], line["ceiling_high"]
    return [
        str(line["folder"]),
        _number(line["servers"]),
        str(line["mode"]),
        str(line["shape"]),
        _number(line["steps"]),
        f"{line['wait_seconds']:g}",
        f"{reached}{count(line['ceiling'])}" if found else "none",
        span(low, high) if known(low) else "one repetition" if line["repetitions"] else "–",
        _said(line["by_repetition"]),
        percent(line["success_at_ceiling"]) if found else "–",
        _seconds(line["p99_at_ceiling"]),
        _rate(line["rps_at_ceiling"]),
        _said(line["bound"]),
    ]


def bounds(content: Content) -> Section:
    several = len(content.results) > 1
    heads = ["folder", "cell", "success", "bound", "evidence"][not several :]
    rows = [
        Row(_bound_cells(name, line)[not several :], not line["valid"])
        for name, line in _named(content)
        if known(line["bound"])
    ]
    left = len(content.lines) - len(rows)
    said = [f"Nothing bound the other {plural(left, 'cell')}, or it is not known."] if left else []
    if not rows:
        said = ["Of no cell is it known what bound it."]
    tables = [Table(heads, rows, frozenset({1 + several}))] if rows else []
    return Section("bounds", "What bound each cell", said, tables=tables)


def _bound_cells(name: str, line: Line) -> list[str]:
    share, evidence = percent(success(line)), _said(line["bound_evidence"])
    return [name, text.cell_name(line), share, str(line["bound"]), evidence]


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
    ("wall (s)", True, lambda line: _fixed(line["total_wall_time"])),
    ("p50 (s)", True, lambda line: _fixed(line["total_p50"])),
    ("p99 (s)", True, lambda line: _fixed(line["total_p99"])),
    ("rps", True, lambda line: _rate(line["requests_per_second"])),
    ("hosts", True, lambda line: _of(line["unique_hosts"], line["expected_hosts"])),
    ("peak open", True, lambda line: _number(line["peak_open"])),
    ("spread (ms)", True, lambda line: _milliseconds(line["start_spread"])),
    ("lag (ms)", True, lambda line: _milliseconds(line["load_lag"])),
    ("errors; reasons; warnings", False, _remarks),
)


def cells(content: Content) -> Section:
    """Every cell; columns in which all cells are empty or usual are left out."""
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
        for name, line in named[:MOST_CELLS]
    ]  # fmt: skip
    numeric = frozenset(n + offset for n, (_, is_number, _) in enumerate(columns) if is_number)
    said = []
    if len(named) > MOST_CELLS:
        said = [f"The first {MOST_CELLS:,} of {len(named):,} cells; all are in summary.csv."]
    said.append(USUAL_TEXT)
    return Section(
        "cells", "All cells", said, (), (), [Table(heads, rows, numeric, "", "all-cells")]
    )


USUAL: Mapping[str, set[str]] = {
    "mode": {"ws"},
    "shape": {"burst"},
    "steps": {"1"},
    "arrivals per s": {"–"},
    "attempt": {"1"},
    "spread (ms)": {"–"},
    "lag (ms)": {"–"},
    "peak open": {"–"},
}
USUAL_TEXT = (
    "Mode ws, shape burst, 1 step and attempt 1 are not shown where all cells have them. p50 and p99 "
    "are of whole sessions; spread is the start spread, lag the load lag."
)


def environment(content: Content) -> Section:
    parts = [_part(one, content.output) for one in content.results]
    return Section("environment", "What was run, on what, with which caps", parts=parts)


def _part(one: Results, output: Path) -> Part:
    run = one.run
    links = {
        name: quote(os.path.relpath(one.folder / name, output))
        for name in ("raw.jsonl", "summary.csv", "run.json")
        if (one.folder / name).exists()
    }
    if not run:
        return Part(one.name, {"run.json": "missing: nothing of this is known"}, links=links)
    return Part(one.name, _facts(run), _command(run), links, _run_tables(run))


def _facts(run: Mapping[str, Any]) -> dict[str, str]:
    placement = dict(run.get("placement") or {})
    grid = dict(run.get("grid") or {})
    found = {
        "run": f"{run.get('run_id')}, {run.get('status')}, "
        f"{_moment(run.get('started'))} to {_moment(run.get('ended'))}",
        "error": run.get("error"),
        "URL": grid.get("url"),
        "hardware": grid.get("hardware"),
        "machine of the grid": _pairs(run.get("machine")),
        "caps": _pairs(run.get("caps")),
        "limits": _pairs(run.get("limits")),
        "versions": _pairs(run.get("versions")),
        "deployment": placement.get("deployment"),
        "images": _pairs(placement.get("images")),
        "load nodes": ", ".join(placement.get("load_nodes") or []),
        "load shares a node": {True: "yes", False: "no"}.get(placement.get("load_shares_node", "")),
    }
    return {name: str(value) for name, value in found.items() if value}


def _command(run: Mapping[str, Any]) -> str:
    arguments = run.get("arguments")
    return shlex.join(["launcher", *map(str, arguments)]) if arguments else ""


def _run_tables(run: Mapping[str, Any]) -> list[Table]:
    processes = (run.get("placement") or {}).get("processes") or []
    tables = []
    if processes:
        rows = [
            Row(
                [
                    str(p.get("name")),
                    str(p.get("role")),
                    str(p.get("node")),
                    _said(p.get("restarts")),
                ]
            )
            for p in processes[:MOST_PROCESSES]
        ]
        more = len(processes) - len(rows)
        caption = f"Placement{f'; {more} more processes in run.json' if more else ''}"
        tables.append(Table(["process", "role", "node", "restarts"], rows, frozenset({3}), caption))
    sittings = run.get("sittings") or []
    if sittings:
        names = ("started", "ended", "status", "cells_done", "url", "error")
        rows = [
            Row([*(_moment(s.get(n)) for n in names[:2]), *(_said(s.get(n)) for n in names[2:])])
            for s in sittings
        ]
        heads = ["began", "ended", "status", "cells done", "URL", "error"]
        tables.append(Table(heads, rows, frozenset({3}), "Sittings"))
    return tables


def definitions() -> Section:
    part = Part("Words and formulas", text.DEFINITIONS)
    return Section("definitions", "How figures are computed", parts=[part])


def _named(content: Content) -> list[tuple[str, Line]]:
    return [(one.name, line) for one in content.results for line in records(one.summary)]


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in values.items())


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(value: Any) -> str:
    return count(value) if known(value) else "–"


def _seconds(value: Any) -> str:
    return seconds(float(value)) if known(value) else "–"


def _moment(value: Any) -> str:
    return f"{str(value)[:19]}Z" if value else "unknown"


def _fixed(value: Any) -> str:
    return f"{value:,.3f}" if known(value) else "–"


def _milliseconds(value: Any) -> str:
    return f"{1000 * value:,.1f}" if known(value) else "–"


def _rate(value: Any) -> str:
    return f"{value:,.0f}" if known(value) else "–"


def _of(number: Any, expected: Any) -> str:
    return f"{number} of {expected:.0f}" if known(expected) else str(number)


def _said(value: Any) -> str:
    return str(value) if known(value) else ""
