"""The command that shows a deployment while it works: top."""

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, UTC
from typing import Any, TYPE_CHECKING

import click
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher.cli.console import err, out
from launcher.deployment.state import DeploymentState, DeploymentStatus, LIVE_STATES
from launcher.envoy.admin import COLUMNS
from launcher.errors import LauncherError
from launcher.experiment.grid import numbers
from launcher.lifecycle import registry
from launcher.system.signals import interruptible

if TYPE_CHECKING:
    from launcher.lifecycle.registry import Known
    from launcher.sampling import Sampler

FIRST_SECONDS = 10.0
BUSY, FULL = 0.9, 0.9


@click.command()
@click.argument("name", required=False)
@click.option("--interval", default="1", metavar="S", help="seconds between samples [default: 1]")
@click.option("--once", is_flag=True, help="show one sample, over that many seconds, and end")
@click.option("--json", "as_json", is_flag=True, help="print JSON, an object a line")
@click.option(
    "--prometheus-targets",
    is_flag=True,
    help="print what Prometheus can scrape, for file_sd_configs",
)
def top(
    name: str | None, interval: str, once: bool, as_json: bool, prometheus_targets: bool
) -> None:
    """Show what a deployment's processes and nodes use, until Ctrl-C: CPU, memory, descriptors,
    places, Envoy's counters. BUSIEST is the share of the time that the busiest thread ran or waited
    for a CPU. NAME is by default that of this folder's, else openenv."""
    from launcher.sampling import Sampler
    from launcher.sampling.snapshot import prometheus_targets as targets

    seconds = float(numbers(interval, "--interval", float, 0.1, 3600)[0])
    found = registry.find(name or registry.usual_name())
    if not found.alive:
        raise registry.gone(found)
    if prometheus_targets:
        print(json.dumps(targets(found.state), indent=2))
        return
    with interruptible(), Sampler(None, found.state, None, found.state.url, seconds) as sampler:
        _wait_for_first(sampler, seconds)
        if once:
            _print(_seen(found, sampler), as_json)
        elif as_json or not out.is_terminal:
            for seen in _moments(found, sampler, seconds):
                _print(seen, as_json)
        else:
            with Live(console=out, auto_refresh=False) as live:
                for seen in _moments(found, sampler, seconds):
                    live.update(_tables(seen), refresh=True)
    if not once:
        status = registry.read_state(found.rundir.folder).status
        shown = DeploymentStatus.GONE if status in LIVE_STATES else status
        err.print(f"{found.rundir.name} is {shown}", markup=False)
        sys.exit(0 if status is DeploymentStatus.STOPPED else 1)


def _wait_for_first(sampler: "Sampler", interval: float) -> None:
    def all_known(seen: Any) -> bool:
        return sampler.expected <= set(seen)

    if sampler.wait_for(all_known, FIRST_SECONDS + 2 * interval):
        return
    missing = sorted(
        {" ".join(filter(None, each)) for each in sampler.expected - set(sampler.latest())}
    )
    for text in (*sampler.warnings, f"no samples of {', '.join(missing)}"):
        err.print(f"warning: {text}", markup=False)
    if not sampler.latest():
        raise LauncherError("nothing of the deployment can be sampled; see launcher status")


def _moments(found: "Known", sampler: "Sampler", interval: float) -> Iterator[dict[str, Any]]:
    """Until the deployment ends."""
    while registry.read_state(found.rundir.folder).status in LIVE_STATES:
        if not (sampler.latest() if found.job else found.alive):
            return
        yield _seen(found, sampler)
        time.sleep(interval)


def _seen(found: "Known", sampler: "Sampler") -> dict[str, Any]:
    from launcher.sampling.snapshot import view

    state = DeploymentState.load(found.rundir.state) or found.state
    head = {"name": state.name, "status": state.status, "url": state.url}
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    seen = view(sampler.latest().values(), state)
    return {"time": moment} | head | seen | {"warnings": sampler.warnings}


def _print(seen: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(seen), flush=True)
    else:
        out.print(_tables(seen))
        sys.stdout.flush()


def _tables(seen: dict[str, Any]) -> Group:
    head = Text(f"{seen['name']}: {seen['status']}  {seen['url']}", style="bold")
    warnings = [Text(f"warning: {text}", style="yellow") for text in seen["warnings"]]
    parts: list[RenderableType] = [head, _processes(seen["processes"]), _nodes(seen["nodes"])]
    if seen["envoy"]:
        parts.append(_envoy(seen["envoy"]))
    return Group(*parts, *warnings)


def _processes(rows: list[dict[str, Any]]) -> Table:
    table = Table("process", "node", box=None)
    for name in ("CPU %", "busiest %", "memory", "descriptors", "used", "free", "refused"):
        table.add_column(name, justify="right")
    for row in rows:
        if "pid" in row:
            fullness = row["fds"] / row["fd_limit"] if row["fd_limit"] else 0.0
            cells = [
                Text(f"{row['cpus'] * 100:.0f}"),
                Text(f"{row['busiest'] * 100:.0f}", style=_warm(row["busiest"] >= BUSY)),
                Text(decimal(row["rss"])),
                Text(f"{row['fds']:,}/{row['fd_limit']:,}", style=_warm(fullness >= FULL)),
            ]
        else:
            cells = [Text("-")] * 4
        places = row.get("places", {})
        counts = [f"{places[key]:,}" if places else "" for key in ("used", "free", "refused")]
        table.add_row(row["name"], row["node"], *cells, *counts)
    return table


def _nodes(rows: list[dict[str, Any]]) -> Table:
    table = Table("machine", box=None)
    for name in ("cores", "CPU %", "memory", "TCP", "time-wait", "queue overflows"):
        table.add_column(name, justify="right")
    for row in rows:
        used = row["memory_total"] - row["memory_available"]
        table.add_row(
            row["node"],
            str(row["cores"]),
            Text(f"{row['cpu_busy'] * 100:.0f}", style=_warm(row["cpu_busy"] >= BUSY)),
            f"{decimal(used)}/{decimal(row['memory_total'])}",
            *(f"{row[key]:,}" for key in ("tcp_inuse", "tcp_tw", "listen_overflows")),
        )
    return table


def _envoy(counters: dict[str, Any]) -> Text:
    sums = {text: sum(counters.get(each, 0) for each in names) for text, names in COLUMNS.items()}
    return Text("Envoy: " + "  ".join(f"{text} {count:,}" for text, count in sums.items()))


def _warm(hot: bool) -> str:
    return "red" if hot else ""
