"""The commands that load a deployment: grid, preflight, ui."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from analysis.validity import MAX_LAG
from benchmark.server.environment import MAX_WAIT_SECONDS
from launcher import grid as grids
from launcher import registry
from launcher.bench import Watcher
from launcher.cells import (
    ARRIVALS,
    Cell,
    default_hardware,
    default_output,
    Grid,
    MAX_BATCH,
    numbers,
    parse_url,
    SHAPES,
)
from launcher.errors import UsageError
from launcher.load import Progress
from launcher.loadplace import load_place
from launcher.recording import RUN
from launcher.resuming import resumed
from launcher.rundir import read_json
from launcher.target import check_server

F = TypeVar("F", bound=Callable[..., Any])

# A table that goes into a file or a pipe is not folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)

url_option = click.option(
    "--url",
    envvar="OPENENV_URL",
    help="where sessions go [env: OPENENV_URL; default: openenv-connection.env in this folder]",
)
load_workers_option = click.option(
    "--load-workers",
    metavar="N",
    help="Locust processes that make the load, on the deployment's client nodes where it has some, "
    "else here [default: one a core, at least 2]",
)


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
                help="addresses of this machine to connect from, when one has too few ports",
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
    place = grids.check(wanted)
    recording = grids.record(wanted, place)
    err.print(f"{len(wanted.cells)} cell(s) against {wanted.url}; {place.story}", markup=False)
    watcher = Display()
    try:
        grids.run(wanted, place, recording, watcher)
    finally:
        watcher.bar.stop()
        print_summary(recording.in_order, as_json=options["as_json"])
    if not options["as_json"]:
        out.print(f"results: {recording.folder}", markup=False)


def print_summary(lines: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        plain = [{key: _plain(value) for key, value in line.items()} for line in lines]
        print(json.dumps(plain, indent=2))
    elif lines:
        out.print(summary_table(lines))


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it: numbers as numbers, what is missing as null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _read(options: dict[str, Any]) -> Grid:
    """Raises `UsageError`."""
    given = _given()
    earlier = _earlier(options) if options["resume"] else None
    if earlier is not None:
        if "batches" not in given:
            options["requests_grid"] = ",".join(map(str, earlier["batches"]))
        options["url"] = options["url"] or earlier["url"]
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
    return grid if earlier is None else resumed(grid, given, earlier)


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
        raise UsageError("--resume needs --output-dir: which experiment is to go on?")
    run = read_json(options["output_dir"] / RUN)
    if run is None or "grid" not in run:
        raise UsageError(
            f"{options['output_dir']} has no experiment to go on with ({RUN} is missing or not "
            "whole); leave out --resume"
        )
    return dict(run["grid"])


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


def choice(text: str, option: str, of: Sequence[str]) -> str:
    """Raises `UsageError`."""
    if text not in of:
        raise UsageError(f"{option} {text!r} is none of {', '.join(of)}")
    return text


def one(text: str | None, option: str, kind: Any, low: float, high: float) -> Any:
    return None if text is None else numbers(text, option, kind, low, high)[0]


def find_load_workers(text: str | None) -> int | None:
    chosen = one(text, "--load-workers", int, 1, 4096)
    return None if chosen is None else int(chosen)


def find_url(url: str | None) -> str:
    if url is None:
        connection = registry.connection(Path())
        if connection is None:
            raise UsageError("where to? give --url, or run `launcher up` in this folder first")
        url = connection["OPENENV_URL"]
    return parse_url(url)


class Display(Watcher):
    """A bar for the cell under way; a line for each that has ended when there is no terminal."""

    def __init__(self) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[state]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self._task = self.bar.add_task("starting", total=None, state="")
        self._where = self._ends = ""

    def cell_started(self, cell: Cell, number: int, of: int, left: float | None) -> None:
        self._where = f"[{number}/{of}]"
        more = left is not None and number < of
        self._ends = f"  (all done about {_clock(left or 0.0)})" if more else ""
        description = f"{self._where} {cell.label}"
        self.bar.reset(self._task, total=cell.batch, description=description, state="")

    def progress(self, progress: Progress) -> None:
        self.bar.start()  # its thread begins after the load's processes have been started
        state = f"{progress.open} open, {progress.done} done, {progress.failed} failed{self._ends}"
        self.bar.update(self._task, completed=progress.done, state=state)

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None:
        verdict = "" if line["valid"] else f"  INVALID: {line['reasons']}"
        if line.get("warnings"):
            verdict += f"  warning: {line['warnings']}"
        err.print(
            f"{self._where} {cell}: {line['successful']} of {line['batch_size']} succeeded in "
            f"{line['total_wall_time']:.1f} s  {line['errors']}{verdict}{self._ends}".rstrip(),
            markup=False,
        )

    def warn(self, text: str) -> None:
        err.print(f"warning: {text}", markup=False, style="yellow")


def _clock(left: float) -> str:
    """When so many seconds will have passed; with its day where that is not today."""
    moment = datetime.now() + timedelta(seconds=left)
    today = moment.date() == datetime.now().date()
    return moment.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")


def summary_table(lines: list[dict[str, Any]]) -> Table:
    table = Table(
        "mode",
        "batch",
        "wait s",
        "rep",
        "success",
        "wall s",
        "p50 s",
        "p99 s",
        "rps",
        "hosts",
        "valid",
        box=None,
    )
    for line in lines:
        table.add_row(
            line["mode"],
            str(line["batch_size"]),
            f"{line['wait_seconds']:g}",
            str(line["repetition"]),
            f"{1 - line['error_rate']:.1%}",
            _seconds(line["total_wall_time"]),
            _seconds(line["total_p50"]),
            _seconds(line["total_p99"]),
            _seconds(line["requests_per_second"], 0),
            str(line["unique_hosts"]),
            "yes" if line["valid"] else f"NO: {line['reasons']}",
        )
    return table


def _seconds(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


@click.command()
@click.option("--name", help="which deployment [default: that of this folder, else openenv]")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def preflight(name: str | None, as_json: bool) -> None:
    """Check a deployment before an experiment: servers, Envoy, backends, distribution."""
    from launcher import preflight as checking
    from launcher.doctor.preflight import on_nodes

    state = _state(name)
    options = state["deployment"]
    checks = []
    serving = checking.checks(state["connection"], options["server_port"], options["admin_port"])
    for check in chain(serving, on_nodes(state)):
        checks.append(check)
        if not as_json:
            verdict = "[green]\\[OK]  [/]" if check.ok else "[red]\\[FAIL][/]"
            out.print(verdict, f"{check.name}:", end=" ")
            out.print(check.detail, markup=False)
            if check.advice:
                out.print(f"       {check.advice}", markup=False)
    if as_json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    if not all(check.ok for check in checks):
        sys.exit(1)


def _state(name: str | None) -> dict[str, Any]:
    """The state of the deployment with the name; without one, of the deployment of this folder."""
    if name is None and registry.connection(Path()) is not None:
        return registry.read_state(Path())
    found = registry.find(name or registry.usual_name())
    if not found.alive:
        raise registry.gone(found)
    return found.state


@click.command()
@url_option
@load_workers_option
@click.option(
    "--web-host",
    help="address of the page [default: 127.0.0.1; with client nodes: all of the first of them]",
)
@click.option("--web-port", default="8089", metavar="PORT", help="port of the page [default: 8089]")
def ui(url: str | None, load_workers: str | None, web_host: str | None, web_port: str) -> None:
    """Serve Locust's web page with load workers against a deployment, until Ctrl-C."""
    from launcher import ui as page

    address = find_url(url)
    check_server(address)
    wanted = page.WebUI(
        address,
        load_place(address, find_load_workers(load_workers)),
        web_host,
        one(web_port, "--web-port", int, 1, 65_535),
        Path().absolute(),
    )

    def ready() -> None:
        print(wanted.address, flush=True)
        err.print(wanted.place.story, markup=False)
        err.print(f"from your own machine: {wanted.tunnel}", markup=False)
        err.print("wait, steps and timeout of the users: under 'Custom parameters' on the page")

    page.hold(wanted, ready, lambda event: err.print(event, markup=False))
