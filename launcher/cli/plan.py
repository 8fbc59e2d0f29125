"""The command that shows what `up` would do, and what a number of sessions takes: plan."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TYPE_CHECKING

import click
from rich.filesize import decimal
from rich.table import Table

from launcher.cli.console import out
from launcher.cli.options import one
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.planning.needs import Assumed, Needs, needs, ranges
from launcher.runtimes.nodes import nodes_for
from launcher.slurm.allocation import allocation, to_come

if TYPE_CHECKING:
    from launcher.planning.plan import Plan

UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}
BOUNDS_SHOWN = 4


@click.option("--node-cores", metavar="N", help="take every node for one with so many cores")
@click.option("--node-mem", metavar="SIZE", help="... with so much memory, as 64G")
@click.option(
    "--node-descriptors", metavar="N", help="... where a process may have so many (ulimit -Hn)"
)
@click.option(
    "--summary", is_flag=True, help="with --sessions: print what they take, and nothing else"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def plan(deployment: Deployment, as_json: bool, summary: bool, **nodes: str | None) -> None:
    """Print exactly what `up` would start: argv, variables and Envoy's configuration; outside of an
    allocation also the Slurm job, with names in the place of its nodes. With --sessions also what
    that many take of each node, which limit binds first, and what to do for more; it fails when they
    cannot be held. Nodes are taken for such as this machine where --node-... does not say otherwise."""
    from launcher.lifecycle import batch_client as job
    from launcher.planning.capacity import check
    from launcher.planning.plan import plan as decide

    if summary and deployment.sessions is None:
        raise UsageError("--summary is of --sessions N: how many are to be held?")
    assumed = _assumed(nodes)
    submission, allocated = None, allocation()
    if not deployment.local and allocated is None:
        submission = job.submission(deployment)
        cores = None if deployment.sessions is None else assumed.cores
        allocated, deployment = to_come(deployment, cores), deployment.absolute()
    planned = decide(deployment, nodes_for(deployment, allocated), assumed.limits)
    wanted = deployment.sessions
    found = needs(planned.placement, assumed, wanted) if wanted is not None else None
    if as_json:
        print(json.dumps(_plain(planned, submission, found), indent=2, default=str), flush=True)
    else:
        if not summary:
            _print(planned, submission)
        if found is not None:
            _print_needs(planned, assumed, found)
    if found is not None:
        check(found.bounds, wanted)


def _assumed(nodes: Mapping[str, str | None]) -> Assumed:
    """Raises `UsageError`."""
    from launcher.system.machine import machine

    here = machine()
    cores = one(nodes["node_cores"], "--node-cores", int, 1, 4096)
    descriptors = one(nodes["node_descriptors"], "--node-descriptors", int, 1, 1e9)
    memory = _bytes(nodes["node_mem"])
    if memory is not None:
        here = replace(here, memory=memory, memory_available=memory, memory_limit=None)
    here = replace(here, descriptors=descriptors or here.descriptors)
    return Assumed(cores or len(os.sched_getaffinity(0)), here)


def _bytes(size: str | None) -> int | None:
    """As Slurm takes sizes; without a unit, in MiB. Raises `UsageError`."""
    if size is None:
        return None
    parts = re.fullmatch(r"(\d+)([KMGT]?)B?", size, re.IGNORECASE)
    if not parts or not int(parts[1]):
        raise UsageError(f"--node-mem {size!r} is no size such as 64G")
    return int(parts[1]) << UNITS[parts[2].upper() or "M"]


def _print(planned: "Plan", submission: Any) -> None:
    placement = planned.placement
    if submission is not None:
        argv, path, text = submission
        print(f"{shlex.join(argv)}\n# {path}\n{text}", end="")
    print(f"# {placement.url}: {placement.capacity} places on {len(placement.servers)} server(s)")
    for process in placement.processes:
        variables = " ".join(
            f"{key}={shlex.quote(value)}" for key, value in process.environment.items()
        )
        print(f"# {process.name} on {process.node}, ports {ranges(process.ports)}")
        print(f"{variables} {shlex.join(process.argv)}".lstrip())
    for number, envoy in enumerate(placement.envoys):
        if not number:
            print(f"# {envoy.config}\n{planned.envoy_configs[envoy.config]}", end="")
            continue
        print(
            f"# {envoy.config}\n# the same with port {envoy.admin_port} and socket "
            f"{envoy.admin_socket} (whole with --json)"
        )


def _print_needs(planned: "Plan", assumed: Assumed, found: Needs) -> None:
    placement, chosen = planned.placement, planned.placement.deployment
    machine = assumed.machine
    out.print(
        f"{found.sessions:,} sessions on nodes with {assumed.cores} core(s), "
        f"{decimal(machine.room)} of memory and {machine.descriptors:,} descriptors a process: "
        f"{len(placement.servers):,} server(s) with {placement.workers_per_node} worker(s) of "
        f"{chosen.max_concurrent_envs:,} places, {len(placement.envoys)} Envoy process(es)",
        markup=False,
    )
    table = Table("role", "nodes", box=None)
    for name in ("processes", "threads", "sessions", "descriptors", "of", "memory", "of", "CPU s"):
        table.add_column(name, justify="right")
    table.add_column("ports")
    for row in found.rows:
        cells: list[str] = [f"{row.nodes:,}", f"{row.processes:,}", str(row.threads)]
        cells += [f"{row.sessions:,}", f"{row.descriptors:,}", f"{row.limit:,}"]
        cells += [decimal(row.memory), decimal(row.room), f"{row.cpu:,.1f}", row.ports]
        table.add_row(row.role, *cells)
    out.print(table)
    out.print(
        "a node each; descriptors of each process; CPU s on one core to open, reset, step and close "
        "them all; memory and CPU as measured with the environment of this package",
        markup=False,
    )
    if found.clients:
        out.print(f"for the load: --client-nodes {found.clients}", markup=False)
    for bound in found.bounds[:BOUNDS_SHOWN]:
        out.print(f"{bound.limit}: {bound.sessions:,} ({bound.why})", markup=False)
    first = found.bounds[0]
    out.print(
        f"the {first.limit} bind first, at {first.sessions:,}; for more: {first.change}",
        markup=False,
    )


def _plain(planned: "Plan", submission: Any, found: Needs | None) -> dict[str, Any]:
    placement, configs = planned.placement, planned.envoy_configs
    plain: dict[str, Any] = {
        "sbatch": submission and submission[0],
        "batch_script": submission and submission[2],
        "url": placement.url,
        "connection": placement.connection,
        "capacity": placement.capacity,
        "processes": [
            {
                "name": process.name,
                "role": process.role,
                "node": process.node,
                "argv": process.argv,
                "environment": process.environment,
                "ports": process.ports,
                "log": str(process.log),
            }
            for process in placement.processes
        ],
        "envoy_config": next(iter(configs.values()), None),
        "envoy_configs": {str(path): text for path, text in configs.items()},
    }
    if found is not None:
        plain["needs"] = {
            "sessions": found.sessions,
            "roles": [vars(row) for row in found.rows],
            "limits": [vars(bound) for bound in found.bounds],
            "client_nodes_wanted": found.clients,
        }
    return plain
