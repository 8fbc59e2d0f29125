"""The first part of the performance page: a user's app under the kit, beside plain uvicorn."""

import tomllib
from pathlib import Path
from typing import Any

from tests.perf.table import markdown, number
from tests.perf.targets import (
    APPS,
    ENVOY,
    Line,
    lines,
    median,
    Result,
    STOCK,
    subjects,
    TWO_WORKERS,
)

# For each target that was missed, by its `what`: `where` the time goes, and what was `tried`.
EXPLAINED = Path(__file__).with_name("explained.toml")
FIGURES = {target.number for target in APPS}
INTRO = """\
This is what an ordinary OpenEnv app gets from the kit. The same unmodified apps run under plain uvicorn
("stock OpenEnv") and under the kit, in one run, with the same client, which uses no framework and checks
every reply.

- Plain uvicorn is one process, as the images of OpenEnv's catalogue start it, so the kit has one worker.
  It is loaded directly, or through Envoy where the line says so. Stock OpenEnv has no balancer in front
  of it.
- The async app overrides `reset_async` and `step_async`. The blocking app has plain functions; either
  server runs each of its sessions on a thread of its own. Their steps do nothing, so the figures are the
  servers' own cost.
- picows is a bare WebSocket engine in Cython, which checks nothing: the floor.
- The client asks for no compression. OpenEnv's own client does, and plain uvicorn then compresses every
  message, which the kit never does: with that client stock OpenEnv costs more than these tables say.
"""
TWO = """\
Plain uvicorn with `--workers 2` and the kit with two workers: the workers, Envoy and the load then share
two cores, so Envoy's CPU is missing elsewhere. On a cluster, Envoy has a node of its own. These lines
have no target.
"""
OWN_TEXT = """\
The other tables of this page load the kit's own environment, `benchmark.server.app`, whose step only
waits. They say what the kit itself costs (server, Envoy, load, launcher) and how far it scales when the
environment costs nothing. They do not say how fast your environment is: that depends on the work of its
`reset` and `step`, on its observations, and on whether it blocks. The environment is served by the same
engine as every OpenEnv app; its steps are cheaper than those of the async app above because it encodes
its observations by itself, without OpenEnv's pydantic models, and because its factory is known not to
block. The table above is the one that holds for your own app.
"""
COLUMNS = (
    ("cpu_us", "CPU µs per session"),
    ("envoy_us", "Envoy µs per session"),
    ("steps_per_s", "steps/s"),
    ("p50_ms", "p50, ms"),
    ("p99_ms", "p99, ms"),
    ("step_cpu_us", "CPU µs per step"),
    ("envoy_cpu_us", "Envoy µs per step"),
    ("memory_kb", "KB per open session"),
    ("mb_per_s", "MB/s"),
    ("server_us_per_mb", "server µs per MB"),
    ("envoy_us_per_mb", "Envoy µs per MB"),
    ("load_us_per_mb", "load µs per MB"),
)


def lead(run: Result) -> str:
    """The table of the targets, and an explanation of each that was missed."""
    measured = lines(run, APPS)
    missed = [each for each in measured if each.met is False]
    met = sum(each.met is True for each in measured)
    head = ("what was measured", "stock, or (peer)", "kit", "ratio", "target", "")
    parts = [
        f"{INTRO}\n{len(measured)} targets: {met} met, {len(missed)} missed.\n",
        markdown(head, [_cells(each) for each in measured]),
    ]
    if missed:
        parts.append(f"### Missed targets\n\n{_explanations(missed)}")
    if more := [each for each in lines(run, TWO_WORKERS) if each.figure is not None]:
        body = [_cells(each)[:-2] for each in more]
        parts.append(f"### With two workers\n\n{TWO}\n{markdown(head[:-2], body)}")
    parts.append(f"### What the benchmark environment's figures are and are not\n\n{OWN_TEXT}")
    parts.append(f"### Everything that was measured of these apps\n\n{_everything(run)}")
    return "\n".join(parts)


def _cells(each: Line) -> tuple[str, ...]:
    target = each.target
    unit = target.unit if target.unit.startswith("/") else f" {target.unit}"
    peer = "" if target.peer == STOCK else f" ({target.peer})"
    path = ", through Envoy" if target.of == ENVOY else ""
    verdict = {True: "met", False: "missed, see below", None: f"not measured: {each.why}"}
    return (
        f"{target.what}{path}",
        "-" if each.peer is None else f"{number(each.peer)}{unit}{peer}",
        "-" if each.figure is None else f"{number(each.figure)}{unit}",
        "-" if each.ratio is None else f"{each.ratio:.3g} ×",
        target.limit_text,
        verdict[each.met],
    )


def _explanations(missed: list[Line]) -> str:
    known: dict[str, Any] = tomllib.loads(EXPLAINED.read_text())
    return "\n".join(_explanation(each, known.get(each.target.what)) for each in missed)


def _explanation(each: Line, known: dict[str, Any] | None) -> str:
    target = each.target
    text = f"**{target.what}**: {each.ratio:.3g} × {target.peer}, target {target.limit_text}. "
    if known is None:
        return f"{text}Not explained yet.\n"
    tried = "".join(f"- Tried: {attempt.strip()}\n" for attempt in known["tried"])
    return f"{text}{known['where'].strip()}\n\n{tried}"


def _everything(run: Result) -> str:
    figures = dict.fromkeys(
        each["figure"] for each in run["measurements"] if each["figure"].split()[0] in FIGURES
    )
    return "\n".join(_table(run, figure) for figure in figures)


def _table(run: Result, figure: str) -> str:
    names = subjects(run, figure)
    columns = [
        (title, [median(run, figure, name, value) for name in names]) for value, title in COLUMNS
    ]
    filled = [(title, column) for title, column in columns if any(column)]
    body = [
        [name, *(number(column[row]) for _, column in filled)] for row, name in enumerate(names)
    ]
    return markdown((figure, *(title for title, _ in filled)), body)
