"""The command that shows what a running deployment uses: top."""

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, UTC
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher.cli.display.console import out, print_json, say, warn
from launcher.cli.options import flag, named_deployment, option, options
from launcher.cli.parameters import Seconds
from launcher.deployment.state import DeploymentState, DeploymentStatus, LIVE_STATES
from launcher.envoy.admin import COLUMNS
from launcher.errors import FAILED, LauncherError
from launcher.lifecycle import registry
from launcher.lifecycle.registry import Known
from launcher.sampling import Sampler, snapshot
from launcher.system.signals import interruptible

FIRST_SECONDS = 10.0
BUSY, FULL = 0.9, 0.9

top_options = options(
    option("--interval", "The seconds between two samples.", Seconds(0.1, 3600), default=1.0),
    flag("--once", "Show one sample and exit."),
    flag("--json as_json", "Print JSON, one object per line."),
    flag("--prometheus-targets", "Print the targets that Prometheus can scrape, for "
         "file_sd_configs, and exit."),
)  # fmt: skip


@click.command()
@named_deployment
@top_options
def top(known: Known, interval: float, once: bool, as_json: bool, prometheus_targets: bool) -> None:
    """Show what a deployment uses, until Ctrl-C.

    Shows the CPU, memory, descriptors and places of each process and node, and Envoy's counters.
    BUSIEST is the share of time for which the busiest thread ran or waited for a CPU.
    """
    if not known.alive:
        raise registry.gone(known)
    if prometheus_targets:
        print_json(snapshot.prometheus_targets(known.state))
        return
    with interruptible(), Sampler(None, known.state, None, known.state.url, interval) as sampler:
        _wait_for_first(sampler, interval)
        if once:
            _print(_sample(known, sampler), as_json)
        elif as_json or not out.is_terminal:
            for sample in _samples(known, sampler, interval):
                _print(sample, as_json)
        else:
            with Live(console=out, auto_refresh=False) as live:
                for sample in _samples(known, sampler, interval):
                    live.update(_tables(sample), refresh=True)
    if not once:
        status = registry.read_state(known.rundir.folder).status
        say(f"{known.rundir.name} is {DeploymentStatus.GONE if status in LIVE_STATES else status}")
        sys.exit(0 if status is DeploymentStatus.STOPPED else FAILED)


def _wait_for_first(sampler: Sampler, interval: float) -> None:
    seconds = FIRST_SECONDS + 2 * interval
    if sampler.wait_for(lambda samples: sampler.expected <= set(samples), seconds):
        return
    missing = sorted(
        {" ".join(filter(None, each)) for each in sampler.expected - set(sampler.latest())}
    )
    for text in (*sampler.warnings, f"no samples from {', '.join(missing)}"):
        warn(text)
    if not sampler.latest():
        raise LauncherError("no process of the deployment can be sampled; see launcher status")


def _samples(known: Known, sampler: Sampler, interval: float) -> Iterator[dict[str, Any]]:
    while registry.read_state(known.rundir.folder).status in LIVE_STATES:
        if not (sampler.latest() if known.entry.job else known.alive):
            return
        yield _sample(known, sampler)
        time.sleep(interval)


def _sample(known: Known, sampler: Sampler) -> dict[str, Any]:
    state = DeploymentState.load(known.rundir.state) or known.state
    head = {"name": state.name, "status": state.status, "url": state.url}
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    usage = snapshot.snapshot(sampler.latest().values(), state)
    return {"time": timestamp} | head | usage | {"warnings": sampler.warnings}


def _print(sample: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(sample), flush=True)
    else:
        out.print(_tables(sample))
        sys.stdout.flush()


def _tables(sample: dict[str, Any]) -> Group:
    head = Text(f"{sample['name']}: {sample['status']}  {sample['url']}", style="bold")
    warnings = [Text(f"warning: {text}", style="yellow") for text in sample["warnings"]]
    parts: list[RenderableType] = [head, _processes(sample["processes"]), _nodes(sample["nodes"])]
    if sample["envoy"]:
        parts.append(_envoy(sample["envoy"]))
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
                Text(f"{row['busiest'] * 100:.0f}", style=_highlight(row["busiest"] >= BUSY)),
                Text(decimal(row["rss"])),
                Text(f"{row['fds']:,}/{row['fd_limit']:,}", style=_highlight(fullness >= FULL)),
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
            Text(f"{row['cpu_busy'] * 100:.0f}", style=_highlight(row["cpu_busy"] >= BUSY)),
            f"{decimal(used)}/{decimal(row['memory_total'])}",
            *(f"{row[key]:,}" for key in ("tcp_inuse", "tcp_tw", "listen_overflows")),
        )
    return table


def _envoy(counters: dict[str, Any]) -> Text:
    sums = {text: sum(counters.get(each, 0) for each in names) for text, names in COLUMNS.items()}
    return Text("Envoy: " + "  ".join(f"{text} {count:,}" for text, count in sums.items()))


def _highlight(high: bool) -> str:
    return "red" if high else ""
