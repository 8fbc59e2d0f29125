"""The sections of a report that describe the run, its environment and the terms."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.report.formatting import text_of, timestamp
from analysis.report.page import Content, Part, Row, Section, Table
from analysis.results.file_names import RAW, RUN, SUMMARY
from analysis.results.folder import Results

MAX_PROCESSES = 16

# The key and the format of each column, by its heading.
Columns = Mapping[str, tuple[str, Callable[[Any], str]]]
PROCESS_COLUMNS: Columns = {
    "process": ("name", str),
    "role": ("role", str),
    "node": ("node", str),
    "restarts": ("restarts", text_of),
}
SITTING_COLUMNS: Columns = {
    "started": ("started", timestamp),
    "ended": ("ended", timestamp),
    "status": ("status", text_of),
    "cells done": ("cells_done", text_of),
    "URL": ("url", text_of),
    "error": ("error", text_of),
}


def environment(content: Content) -> Section:
    parts = [_part(one, content.output) for one in content.results]
    return Section("environment", "What was run, on what, with which caps", parts=parts)


def _part(one: Results, output: Path) -> Part:
    run = one.run
    links = {
        name: quote(os.path.relpath(one.folder / name, output))
        for name in (RAW, SUMMARY, RUN)
        if (one.folder / name).exists()
    }
    if not run:
        return Part(one.name, {RUN: "missing, so none of this is known"}, links=links)
    return Part(one.name, _facts(run), launcher_command(run), links, _run_tables(run))


def _facts(run: Mapping[str, Any]) -> dict[str, str]:
    placement, grid = run.get("placement") or {}, run.get("grid") or {}
    values = {
        "run": f"{run.get('run_id')}, {run.get('status')}, "
        f"{timestamp(run.get('started'))} to {timestamp(run.get('ended'))}",
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
    return {name: str(value) for name, value in values.items() if value}


def launcher_command(run: Mapping[str, Any]) -> str:
    arguments = run.get("arguments")
    return shlex.join(["launcher", *map(str, arguments)]) if arguments else ""


def _run_tables(run: Mapping[str, Any]) -> list[Table]:
    processes = (run.get("placement") or {}).get("processes") or []
    tables = []
    if processes:
        more = len(processes) - MAX_PROCESSES
        caption = f"Placement{f'; {more} more processes in run.json' if more > 0 else ''}"
        tables.append(_table(PROCESS_COLUMNS, processes[:MAX_PROCESSES], caption))
    if sittings := run.get("sittings") or []:
        tables.append(_table(SITTING_COLUMNS, sittings, "Sittings"))
    return tables


def _table(columns: Columns, facts: Sequence[Mapping[str, Any]], caption: str) -> Table:
    rows = [Row([shown(one.get(name)) for name, shown in columns.values()]) for one in facts]
    return Table(list(columns), rows, frozenset({3}), caption)


def definitions() -> Section:
    part = Part("Terms and formulas", DEFINITIONS)
    return Section("definitions", "How figures are computed", parts=[part])


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in values.items())


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


DEFINITIONS = {
    "session": "one WebSocket connection with one environment: connect, reset, steps, close.",
    "cell": "one (mode, shape, batch, wait, steps, arrival rate, repetition). Of several attempts, the "
    "last one counts.",
    "batch": "the number of sessions that a cell starts.",
    "wait": "seconds that the environment waits in a step.",
    "shape": "burst: all sessions start together. hold: all sessions open, then all step, then all "
    "close. open: sessions arrive at a given rate, whatever the system does.",
    "success": "the share of the batch that completed all its steps without an error.",
    "p50, p99": "percentiles of the successful sessions of a cell, interpolated linearly; "
    "computed from raw.jsonl.",
    "total": "from when a session was due until its end, without the time for which it was held.",
    "step": "the mean over the steps of a session, including the wait.",
    "rps": "successful sessions per second of wall time, from the first start to the last end.",
    "ceiling": "the largest batch with a valid cell that meets the criterion; a lower bound where no "
    "larger batch failed. For each repetition, the largest passing batch below its first failure.",
    "interval of a ceiling": "the 95 % bootstrap interval of the mean ceiling of the repetitions, "
    "widened to contain the ceiling itself.",
    "efficiency": "ceiling / (baseline ceiling × servers / baseline servers); the baseline has the "
    "fewest servers.",
    "USL": "universal scalability law (Gunther): C(N) = rate·N / (1 + contention·(N−1) + "
    "coherence·N·(N−1)).",
    "INVALID": "a cell that did not measure what it was meant to: sessions or load workers were lost, a "
    "load worker ran late, too few hosts were reached, a process was replaced, or the load generator "
    "shared a node with the deployment.",
    "bound": "what limited the cell, with the measurement that shows it as evidence.",
    "peak open": "the most sessions that were open at the same time, from the rows.",
    "start spread": "p99 of actual start − intended start.",
    "load lag": "the longest delay of a load worker's event loop.",
    "max/mean": "the sessions of the busiest host (or load worker) relative to the mean; 1 is even.",
}
