"""The command `grid`, and what it has in common with those that search for a ceiling."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from analysis.cells.validity import MAX_LAG
from benchmark.server.environment import MAX_WAIT_SECONDS
from launcher.cli.console import err, out
from launcher.cli.options import (
    choice,
    find_load_workers,
    find_url,
    load_workers_option,
    one,
    url_option,
)
from launcher.cli.progress import Display, print_summary
from launcher.errors import UsageError
from launcher.experiment import grid_run as grids
from launcher.experiment.grid import (
    ARRIVALS,
    default_hardware,
    default_output,
    Grid,
    MAX_BATCH,
    numbers,
    SHAPES,
)
from launcher.experiment.resume import read_run, resume_grid
from launcher.experiment.target import resolve

F = TypeVar("F", bound=Callable[..., Any])

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
"""Of a Grid, by the name of an option that is another."""


def load_options(command: F) -> F:
    """The options that a grid and a search for the ceiling have in common."""
    for option in reversed(
        (
            url_option,
            click.option(
                "--shape",
                default="burst",
                metavar="burst|hold|open",
                help="burst: all sessions start together; hold: all open, then all step together; open: they "
                "arrive at --arrival-rate, whatever the system does [default: burst]",
            ),
            click.option(
                "--steps", default="1", metavar="K", help="steps of each session [default: 1]"
            ),
            click.option(
                "--expected-hosts", metavar="N", help="warn when traffic reached fewer hosts"
            ),
            click.option(
                "--require-hosts",
                is_flag=True,
                help="fail when traffic reached fewer hosts than expected",
            ),
            click.option(
                "--require-valid", is_flag=True, help="end with an error when a cell is INVALID"
            ),
            click.option(
                "--timeout",
                default="120",
                metavar="S",
                help="seconds until a session has failed; with hold, once to open and once to step "
                "[default: 120]",
            ),
            click.option(
                "--output-dir",
                type=click.Path(path_type=Path),
                help="new folder for the results [default: experiments/results/TIME]",
            ),
            click.option(
                "--resume",
                is_flag=True,
                help="go on with the experiment in --output-dir; what it was asked need not be said again",
            ),
            load_workers_option,
            click.option(
                "--source-addresses",
                metavar="A,A,...",
                help="addresses of this machine to connect from, when one has too few ports [default for a "
                "loopback URL: as many as the largest batch needs]",
            ),
            click.option(
                "--max-lag",
                default=f"{MAX_LAG:g}",
                metavar="S",
                help="a cell is INVALID when a load worker ran later than that "
                f"[default: {MAX_LAG:g}]",
            ),
            click.option(
                "--share-node",
                is_flag=True,
                help="a load that shares a node with what it measures is no reason for INVALID",
            ),
            click.option("--hardware", help="what to call this machine in the results"),
        )
    ):
        command = option(command)
    return command


@click.command()
@load_options
@click.option("--requests-grid", metavar="N,N,...", help="batches: sessions of a cell")
@click.option("-n", "--requests", metavar="N", help="one batch")
@click.option("--wait-grid", metavar="S,S,...", help="seconds that a step waits")
@click.option("--wait", metavar="S", help="one wait [default: 1.0]")
@click.option("--reps", default="1", metavar="N", help="repetitions of each cell [default: 1]")
@click.option(
    "--mode",
    default="ws",
    metavar="ws|http",
    help="sessions over WebSocket or plain HTTP [default: ws]",
)
@click.option("--compare", is_flag=True, help="every cell in both modes")
@click.option(
    "--arrival-rate", metavar="R", help="sessions a second that arrive, with --shape open"
)
@click.option(
    "--arrivals",
    default="poisson",
    metavar="poisson|constant",
    help="how they arrive [default: poisson]",
)
@click.option(
    "--seed",
    default="1",
    metavar="N",
    help="of the Poisson arrivals, which it repeats [default: 1]",
)
@click.option("--json", "as_json", is_flag=True, help="print the summary as JSON")
def grid(**options: Any) -> None:
    """Run a batch × wait grid against a URL and record every session."""
    wanted = _read(options)
    wanted = grids.with_source_addresses(wanted, wanted.max_open_sessions)
    placement = grids.check(wanted, resolve(wanted.url))
    recording = grids.open_recording(wanted, placement)
    err.print(f"{len(wanted.cells)} cell(s) against {wanted.url}; {placement}", markup=False)
    display = Display()
    try:
        grids.run(wanted, placement, recording, display)
    finally:
        display.bar.stop()
        print_summary(recording.in_order, as_json=options["as_json"])
    if not options["as_json"]:
        out.print(f"results: {recording.folder}", markup=False)


def _read(options: dict[str, Any]) -> Grid:
    """Raises `UsageError`."""
    given = _given()
    earlier = _earlier(options) if options["resume"] else None
    if earlier is not None:
        if "batches" not in given:
            options["requests_grid"] = ",".join(map(str, earlier["batches"]))
        options["url"] = options["url"] or earlier["url"]
        hosts = earlier.get("expected_hosts")
        options["expected_hosts"] = options["expected_hosts"] or (hosts and str(hosts))
    grid = Grid(
        batches=_batches(options),
        waits=_waits(options),
        modes=_modes(options),
        reps=one(options["reps"], "--reps", int, 1, 1e6),
        arrival_rate=one(options["arrival_rate"], "--arrival-rate", float, 1e-6, 1e9),
        arrivals=choice(options["arrivals"], "--arrivals", ARRIVALS),
        seed=one(options["seed"], "--seed", int, 0, 2**63),
        **common(options),
    )
    return grid if earlier is None else resume_grid(grid, given, earlier)


def common(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Grid that `load_options` are about. Raises `UsageError`."""
    hosts = one(options["expected_hosts"], "--expected-hosts", int, 1, 1e6)
    if options["require_hosts"] and hosts is None:
        raise UsageError("--require-hosts needs --expected-hosts N")
    sources = (options["source_addresses"] or "").split(",")
    return {
        "url": find_url(options["url"]),
        "output": options["output_dir"] or default_output(),
        "shape": choice(options["shape"], "--shape", SHAPES),
        "steps": one(options["steps"], "--steps", int, 1, 1e6),
        "expected_hosts": hosts,
        "require_hosts": options["require_hosts"],
        "require_valid": options["require_valid"],
        "timeout": one(options["timeout"], "--timeout", float, 0.001, 1e6),
        "load_workers": find_load_workers(options["load_workers"]),
        "sources": tuple(address.strip() for address in sources if address.strip()),
        "max_lag": one(options["max_lag"], "--max-lag", float, 0, 1e6),
        "share_node": options["share_node"],
        "hardware": options["hardware"] or default_hardware(),
        "resume": options["resume"],
        "arguments": tuple(sys.argv[1:]),
    }


def _given() -> set[str]:
    """Fields of a Grid for which an option stands on the command line."""
    context = click.get_current_context()
    said = {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    return {FIELDS.get(name, name) for name in said}


def _earlier(options: dict[str, Any]) -> dict[str, Any]:
    if options["output_dir"] is None:
        raise UsageError("--resume requires --output-dir")
    return dict(read_run(options["output_dir"])["grid"])


def _modes(options: dict[str, Any]) -> tuple[str, ...]:
    if options["compare"]:
        return ("ws", "http")
    if options["mode"] not in ("ws", "http"):
        raise UsageError(f"--mode {options['mode']!r} is neither ws nor http")
    return (options["mode"],)


def _batches(options: dict[str, Any]) -> tuple[int, ...]:
    if options["requests"] and options["requests_grid"]:
        raise UsageError("-n and --requests-grid exclude each other")
    batch_option, batches = ("--requests-grid", options["requests_grid"])
    if batches is None:
        batch_option, batches = ("-n", options["requests"])
    if batches is None:
        raise UsageError("how many sessions? give -n N or --requests-grid N,N,...")
    return numbers(batches, batch_option, int, 1, MAX_BATCH)


def _waits(options: dict[str, Any]) -> tuple[float, ...]:
    if options["wait"] and options["wait_grid"]:
        raise UsageError("--wait and --wait-grid exclude each other")
    wait_option, waits = ("--wait-grid", options["wait_grid"])
    if waits is None:
        wait_option, waits = ("--wait", options["wait"] or "1.0")
    return numbers(waits, wait_option, float, 0, MAX_WAIT_SECONDS)
