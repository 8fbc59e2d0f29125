"""Sections of a report that say what was run, on what, and what its words mean."""

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

MOST_PROCESSES = 16


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
        return Part(one.name, {RUN: "missing: nothing of this is known"}, links=links)
    return Part(one.name, _facts(run), _command(run), links, _run_tables(run))


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
                    text_of(p.get("restarts")),
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
            Row(
                [*(timestamp(s.get(n)) for n in names[:2]), *(text_of(s.get(n)) for n in names[2:])]
            )
            for s in sittings
        ]
        heads = ["began", "ended", "status", "cells done", "URL", "error"]
        tables.append(Table(heads, rows, frozenset({3}), "Sittings"))
    return tables


def definitions() -> Section:
    part = Part("Words and formulas", DEFINITIONS)
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
    "cell": "one (mode, shape, batch, wait, steps, arrival rate, repetition). Of several attempts the "
    "last one counts.",
    "batch": "how many sessions a cell starts.",
    "wait": "seconds that the environment waits within a step.",
    "shape": "burst: all sessions start together. hold: all open, then all step together, then all "
    "close. open: sessions arrive at a given rate whatever the system does.",
    "success": "sessions that did all of their steps without an error, as a share of the batch.",
    "p50, p99": "percentiles over the successful sessions of a cell, linear between rows; "
    "computed from raw.jsonl.",
    "total": "from when a session was due to its end, without the time for which it was held.",
    "step": "mean over the steps of a session; contains the wait.",
    "rps": "successful sessions per second of wall time, from the first start to the last end.",
    "ceiling": "largest batch with a valid cell that meets the criterion. 'At least': no larger batch "
    "failed. Of one repetition: largest batch that met it before any smaller one failed.",
    "interval of a ceiling": "95 % bootstrap interval of the mean over the ceilings of the repetitions, "
    "widened to contain the ceiling itself.",
    "efficiency": "ceiling / (baseline ceiling × servers / baseline servers); the baseline is the fewest "
    "servers measured.",
    "USL": "universal scalability law (Gunther): C(N) = rate·N / (1 + contention·(N−1) + "
    "coherence·N·(N−1)).",
    "INVALID": "a cell that says nothing about what it meant to measure: sessions or workers of the load "
    "lost, a load worker late, too few hosts reached, a server replaced, a node shared with the load.",
    "bound": "what kept larger batches from succeeding, by the measurement named as evidence.",
    "peak open": "most sessions open at one timestamp, between connect and end, from the rows.",
    "start spread": "p99 of actual start − intended start.",
    "load lag": "most that a load worker's loop ran late.",
    "max/mean": "sessions of the busiest host (or load worker) by the mean over all; 1 is even.",
}
