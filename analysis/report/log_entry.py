"""LOG_ENTRY.md: the log entry that the runbook asks for, filled in from the files of the results."""

import ipaddress
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from analysis.report import sentences
from analysis.report.formatting import known, plural, shown, text_of, timestamp
from analysis.report.page import Content, template
from analysis.report.series import ceilings_of, curve_key, Line, records, servers_of, total
from analysis.report.setup import launcher_command
from analysis.results.file_names import RAW, RUN, SAMPLES, SUMMARY
from analysis.results.folder import Results
from analysis.scaling.efficiency import Verdict

UNKNOWN = "unknown"

# Every node has a sample with its number of cores within this many lines of samples.jsonl.
SAMPLES_READ = 2000

# How a number is marked where a ceiling is a lower bound.
MARKS = {Verdict.AT_LEAST: "≥ ", Verdict.AT_MOST: "≤ "}


def render(content: Content) -> str:
    entries = [entry(one, content) for one in content.results]
    made = template("log_entry.md.j2")
    return made.render(entries=entries, metrics=metrics(content)).strip() + "\n"


def entry(one: Results, content: Content) -> dict[str, Any]:
    run = one.run
    caps = run.get("caps") or {}
    ceilings = ceilings_of(one, content.ceilings)
    servers = servers_of(one, content.ceilings)
    started = run.get("started")
    first = str(one.summary["timestamp"].min())
    return {
        "date": str(started or first or UNKNOWN)[:10],
        "infrastructure": infrastructure(run, servers),
        "start": timestamp(started or first),
        "end": timestamp(run.get("ended")),
        "status": _status(run),
        "nodes": shown(servers, "", UNKNOWN),
        "cpus": _cpus(one),
        "workers": shown(caps.get("workers_per_node"), "", UNKNOWN),
        "url": (run.get("grid") or {}).get("url") or text_of(one.summary["url"].iloc[0]) or UNKNOWN,
        "server_command": _server_command(run),
        "command": launcher_command(run) or f"# unknown: there is no {RUN}",
        "criterion": f"Max Batch: largest batch of a valid cell with {content.criterion}.",
        "rows": [_row(line) for line in ceilings],
        "links": list(_links(one, content.output)),
        "observations": observations(one, ceilings),
    }


def infrastructure(run: Mapping[str, Any], servers: int | None) -> str:
    """slurm-single, slurm-multi, local-single or local-multi; unknown-… without a placement."""
    processes = (run.get("placement") or {}).get("processes") or []
    nodes = {str(process.get("node")) for process in processes}
    size = "multi" if (servers or 0) > 1 else "single"
    if not nodes:
        return f"{UNKNOWN}-{size}"
    return f"{'local' if all(_loopback(node) for node in nodes) else 'slurm'}-{size}"


def _loopback(node: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(node).is_loopback
    return node == "localhost"


def observations(one: Results, ceilings: Sequence[Line]) -> list[str]:
    lines = records(one.summary)
    pairs = list(zip(lines, one.details, strict=True))
    hosts = total(detail.hosts for line, detail in pairs if line["valid"])
    workers = total(detail.load_workers for line, detail in pairs if line["valid"])
    points = [
        f"Unique hosts seen: {len(hosts)}",
        f"Load distribution: {sentences.evenness(hosts)} over hosts; {sentences.evenness(workers)} over "
        "load workers",
        *sentences.validity_sentences(lines),
        *(sentences.ceiling_sentence(line) for line in ceilings),
        *sentences.status_sentences([one]),
        sentences.sharing_sentence([one]),
    ]
    return points + [f"Warning: {warning}" for warning in sentences.warning_sentences([one])]


def metrics(content: Content) -> dict[str, Any] | None:
    """The table of the runbook, with a column for each number of servers beyond the baseline; None
    without such ceilings."""
    pairs = [(line, sentences.baseline(line, content.scaling)) for line in content.scaling]
    beyond = [(line, first) for line, first in pairs if line["servers"] != first["servers"]]
    if not beyond:
        return None
    base = plural(int(beyond[0][1]["servers"]), "server")
    rows = [
        (f"Single-node ceiling ({base})", "Max batch at the criterion",
         [sentences.ceiling(_ceiling_line(first, content), ".0f") for _, first in beyond]),
        ("Multi-node ceiling", "Max batch at the criterion",
         [sentences.ceiling(_ceiling_line(line, content), ".0f") for line, _ in beyond]),
        ("Scaling factor", "multi_ceiling / single_ceiling",
         [_limited(line, shown(line["scaling_factor"], ".2f", "-")) for line, _ in beyond]),
        ("Scaling efficiency", "scaling_factor / num_workers",
         [_limited(line, shown(line["efficiency"], ".1%", "-")) for line, _ in beyond]),
        ("unique_hosts", "From results",
         [shown(_ceiling_line(line, content)["unique_hosts"], ".0f", "-") for line, _ in beyond]),
    ]  # fmt: skip
    notes = [*sentences.efficiency_sentences(content.scaling), *content.caveats]
    heads = [sentences.subject(line) for line, _ in beyond]
    return {"heads": heads, "rows": [[*names, *values] for *names, values in rows], "notes": notes}


def _row(line: Line) -> list[str]:
    """A line of the Results Summary. An unusual mode, shape or number of steps is shown next to the wait."""
    extra = sentences.unusual(line)
    wait = str(float(line["wait_seconds"])) + (f" ({', '.join(extra)})" if extra else "")
    p99 = shown(line["p99_at_ceiling"], ".3f", "")
    share = shown(line["success_at_ceiling"], ".2%", "-").removesuffix("%")
    rps = shown(line["rps_at_ceiling"], ".1f", "-")
    return [wait, sentences.ceiling(line, ".0f"), f"{p99} s" if p99 else "-", share, rps]


def _limited(line: Line, number: str) -> str:
    verdict = line["interpretation"].verdict
    return UNKNOWN if verdict is Verdict.UNDETERMINED else f"{MARKS.get(verdict, '')}{number}"


def _ceiling_line(line: Line, content: Content) -> Line:
    key = (*curve_key(line), line["servers"])
    same = [one for one in content.ceilings if (*curve_key(one), one["servers"]) == key]
    return next(one for one in same if known(one["ceiling"]))


def _links(one: Results, output: Path) -> Iterator[tuple[str, str]]:
    for name, file in (("Raw data", RAW), ("Summary CSV", SUMMARY)):
        if (one.folder / file).exists():
            yield name, quote(os.path.relpath(one.folder / file, output))


def _status(run: Mapping[str, Any]) -> str:
    status, error = str(run.get("status") or UNKNOWN), run.get("error")
    return status.capitalize() + (f" ({error})" if error else "")


def _server_command(run: Mapping[str, Any]) -> str:
    command = (run.get("placement") or {}).get("command")
    if isinstance(command, list | tuple):
        return shlex.join(map(str, command))
    return (
        str(command) if command else f"# unknown: {RUN} does not contain the command of the servers"
    )


def _cpus(one: Results) -> str:
    processes = (one.run.get("placement") or {}).get("processes") or []
    nodes = {str(process["node"]) for process in processes if process.get("role") == "server"}
    cores = sorted({number for node, number in _cores(one.folder).items() if node in nodes})
    if not cores and nodes and all(_loopback(node) for node in nodes):
        cores = [int((one.run.get("machine") or {}).get("cores", 0))]
    return " to ".join(map(str, dict.fromkeys([cores[0], cores[-1]]))) if cores else UNKNOWN


def _cores(folder: Path) -> dict[str, int]:
    cores: dict[str, int] = {}
    with suppress(OSError, ValueError, KeyError), (folder / SAMPLES).open("rb") as lines:
        for _, line in zip(range(SAMPLES_READ), lines, strict=False):
            sample = orjson.loads(line)
            if sample["kind"] == "node":
                cores[str(sample["node"])] = int(sample["cores"])
    return cores
