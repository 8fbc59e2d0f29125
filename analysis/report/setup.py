"""The sections of a report that describe the run, its environment and the terms."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.report.formatting import text_of, timestamp
from analysis.report.page import Content, Part, Row, Section, Table
from analysis.results.file_names import RAW, RUN, SUMMARY
from analysis.results.folder import Results

MAX_PROCESSES = 16


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
    placement = dict(run.get("placement") or {})
    grid = dict(run.get("grid") or {})
    found = {
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
    return {name: str(value) for name, value in found.items() if value}


def launcher_command(run: Mapping[str, Any]) -> str:
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
                    text_of(p.get("restarts")),
                ]
            )
            for p in processes[:MAX_PROCESSES]
        ]
        more = len(processes) - len(rows)
        caption = f"Placement{f'; {more} more processes in run.json' if more else ''}"
        tables.append(Table(["process", "role", "node", "restarts"], rows, frozenset({3}), caption))
    sittings = run.get("sittings") or []
    if sittings:
        names = ("started", "ended", "status", "cells_done", "url", "error")
        rows = [
            Row(
                [*(timestamp(s.get(n)) for n in names[:2]), *(text_of(s.get(n)) for n in names[2:])]
            )
            for s in sittings
        ]
        heads = ["started", "ended", "status", "cells done", "URL", "error"]
        tables.append(Table(heads, rows, frozenset({3}), "Sittings"))
    return tables


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
