"""The command `grid`, and the options that it shares with the searches for a ceiling."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from analysis.cells.validity import MAX_LAG
from benchmark.server.environment import MAX_WAIT_SECONDS
from launcher.cli.display.console import out, say
from launcher.cli.display.progress import Display, print_summary
from launcher.cli.options import (
    find_url,
    flag,
    FOLDER,
    given_options,
    json_option,
    load_workers_option,
    name_option,
    option,
    options,
    require_valid_option,
    url_option,
)
from launcher.cli.parameters import CommaSeparated, Integer, Number, Seconds
from launcher.errors import UsageError
from launcher.experiment import grid_run
from launcher.experiment.grid import (
    ARRIVALS,
    default_hardware,
    default_output,
    Grid,
    MAX_BATCH,
    SHAPES,
)
from launcher.experiment.resume import read_run, resume_grid
from launcher.experiment.target import resolve

# The field of a Grid that an option sets, if its name is another one.
FIELDS = {
    "requests_grid": "batches",
    "requests": "batches",
    "wait_grid": "waits",
    "wait": "waits",
    "mode": "modes",
    "compare": "modes",
    "output_dir": "output",
    "source_addresses": "sources",
}
# The fields of a Grid that `load_options` set as they are.
SAME_NAME = (
    *("shape", "steps", "expected_hosts", "require_hosts", "require_valid", "timeout"),
    *("load_workers", "max_lag", "share_node", "resume"),
)
DEFAULT_WAIT = 1.0

wait_options = options(
    option("--wait-grid", "The waits to measure: how many seconds each step waits.",
           CommaSeparated(Seconds(0, MAX_WAIT_SECONDS))),
    option("--wait", "A single wait.", Seconds(0, MAX_WAIT_SECONDS),
           default_text=f"{DEFAULT_WAIT}"),
)  # fmt: skip

# The options of a load that an experiment does not choose for each of its phases.
session_options = options(
    option("--shape", "burst: all sessions start together. hold: all sessions open, then all of "
           "them step together. open: sessions arrive at --arrival-rate, however the system "
           "responds.", click.Choice(SHAPES), default="burst"),
    option("--steps", "The number of steps per session.", Integer(1, 1_000_000), default=1),
    require_valid_option,
    option("--timeout", "The seconds after which a session has failed; with --shape hold, for "
           "opening and for stepping separately.", Seconds(0.001, 1_000_000), default=120.0),
    option("--output-dir", "A new folder for the results.", FOLDER,
           default_text="experiments/results/TIME"),
    flag("--resume", "Continue the experiment in --output-dir, with the options it was started "
         "with."),
    load_workers_option,
    option("--source-addresses", "The addresses of this machine to connect from, if one has too "
           "few ports.", CommaSeparated(click.STRING), metavar="ADDRESS,...",
           default_text="for a loopback URL as many as the largest batch needs"),
    option("--max-lag", "A cell is INVALID if a load worker fell behind its schedule by more than "
           "this.", Seconds(0, 1_000_000), default=MAX_LAG),
    flag("--share-node", "Accept load that shares a node with what it measures; it is not a reason "
         "for INVALID."),
    option("--hardware", "The name of this machine in the results.", metavar="TEXT",
           default_text="system, architecture and cores"),
)  # fmt: skip

load_options = options(
    url_option,
    name_option,
    option("--expected-hosts", "Warn if sessions reached fewer servers than this.",
           Integer(1, 1_000_000)),
    flag("--require-hosts", "Fail if they did; requires --expected-hosts."),
    session_options,
)  # fmt: skip

grid_options = options(
    load_options,
    option("--requests-grid", "The batches to measure: how many sessions each cell starts.",
           CommaSeparated(Integer(1, MAX_BATCH))),
    option("-n --requests", "A single batch.", Integer(1, MAX_BATCH)),
    wait_options,
    option("--reps", "The repetitions of each cell.", Integer(1, 1_000_000), default=1),
    option("--mode", "Run sessions over WebSocket or over plain HTTP.",
           click.Choice(["ws", "http"]), default="ws"),
    flag("--compare", "Run every cell in both modes."),
    option("--arrival-rate", "With --shape open: how many sessions arrive per second.",
           Number(1e-6, 1e9)),
    option("--arrivals", "With --shape open: whether sessions arrive at random or at equal "
           "intervals.", click.Choice(ARRIVALS), default="poisson"),
    option("--seed", "The seed of the random arrivals; the same seed repeats them.",
           Integer(0, 2**63), default=1),
    json_option,
)  # fmt: skip


@click.command()
@grid_options
def grid(as_json: bool, **values: Any) -> None:
    """Run a grid of batches and waits and record every session.

    Each cell starts one batch of sessions, waits for all of them, and checks that it is valid.
    """
    requested = _read(values)
    requested = grid_run.with_source_addresses(requested, requested.max_open_sessions)
    placement = grid_run.check(requested, resolve(requested.url))
    recording = grid_run.open_recording(requested, placement)
    say(f"{len(requested.cells)} cell(s) against {requested.url}; {placement}")
    display = Display()
    try:
        grid_run.run(requested, placement, recording, display)
    finally:
        display.bar.stop()
        print_summary(recording.in_order, as_json=as_json)
    if not as_json:
        out.print(f"results: {recording.folder}")


def _read(values: dict[str, Any]) -> Grid:
    earlier = None
    given = {FIELDS.get(name, name) for name in given_options()}
    if values["resume"]:
        earlier = resumed_run(values)["grid"]
        if "batches" not in given:
            values["requests_grid"] = tuple(earlier["batches"])
        values["expected_hosts"] = values["expected_hosts"] or earlier.get("expected_hosts")
    requested = Grid(
        batches=_batches(values),
        waits=waits(values),
        modes=("ws", "http") if values["compare"] else (values["mode"],),
        **{name: values[name] for name in ("reps", "arrival_rate", "arrivals", "seed")},
        **common(values),
    )
    return requested if earlier is None else resume_grid(requested, given, earlier)


def common(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Grid that `load_options` set. Raises `UsageError`."""
    if values["require_hosts"] and values["expected_hosts"] is None:
        raise UsageError("--require-hosts requires --expected-hosts N")
    return {
        "url": find_url(values["url"], values["name"]),
        "output": values["output_dir"] or default_output(),
        "sources": values["source_addresses"] or (),
        "hardware": values["hardware"] or default_hardware(),
        "arguments": tuple(sys.argv[1:]),
        **{name: values[name] for name in SAME_NAME},
    }


def resumed_folder(values: Mapping[str, Any]) -> Path:
    if values["output_dir"] is None:
        raise UsageError("--resume requires --output-dir")
    return Path(values["output_dir"])


def resumed_run(values: dict[str, Any]) -> dict[str, Any]:
    """The run.json that --resume continues. A deployment that a fresh run would load replaces the
    recorded one: `values` receive its URL."""
    run = read_run(resumed_folder(values))
    values["url"] = find_url(values["url"], values["name"], run["grid"]["url"])
    values["name"] = None
    return run


def _batches(values: dict[str, Any]) -> tuple[int, ...]:
    if values["requests"] and values["requests_grid"]:
        raise UsageError("-n and --requests-grid are mutually exclusive")
    if values["requests"] is None and values["requests_grid"] is None:
        raise UsageError("the number of sessions is missing; give -n N or --requests-grid N,N,...")
    return values["requests_grid"] or (values["requests"],)


def waits(values: Mapping[str, Any]) -> tuple[float, ...]:
    if values["wait"] is not None and values["wait_grid"] is not None:
        raise UsageError("--wait and --wait-grid are mutually exclusive")
    wait = DEFAULT_WAIT if values["wait"] is None else values["wait"]
    return values["wait_grid"] or (wait,)
