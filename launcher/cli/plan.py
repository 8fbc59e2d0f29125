"""The command that shows what `up` would run and what a number of sessions needs: plan."""

import os
import shlex
from dataclasses import asdict, replace
from typing import Any

import click
from rich.filesize import decimal
from rich.table import Table

from launcher.checks import app
from launcher.cli.display.console import out, print_json
from launcher.cli.options import deployment_options, flag, json_option, option, options
from launcher.cli.parameters import Integer, Size
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.lifecycle import batch_job
from launcher.planning import plan as planning
from launcher.planning.capacity import check
from launcher.planning.needs import Assumed, Needs, needs, ranges
from launcher.planning.plan import Plan
from launcher.runtimes.nodes import nodes_for
from launcher.slurm.allocation import allocation, expected_allocation
from launcher.system.machine import machine

BOUNDS_SHOWN = 4
PROCESS_KEYS = ("name", "role", "node", "argv", "environment", "ports", "log", "folder")

plan_options = options(
    option("--node-cores", "Assume that every node has this many cores.", Integer(1, 4096),
           default_text="as this machine"),
    option("--node-mem", "Assume that every node has this much memory, such as 64G; without a "
           "unit, MiB.", Size(), default_text="as this machine"),
    option("--node-descriptors", "Assume that a process may open this many descriptors (ulimit "
           "-Hn).", Integer(1, 1_000_000_000), default_text="as this machine"),
    flag("--summary", "With --sessions: print only what the sessions need."),
    json_option,
)  # fmt: skip


@click.command()
@deployment_options
@plan_options
def plan(
    deployment: Deployment,
    as_json: bool,
    summary: bool,
    node_cores: int | None,
    node_mem: int | None,
    node_descriptors: int | None,
) -> None:
    """Print exactly what `up` would run.

    Prints each process's argv and variables, and Envoy's configuration; outside of an allocation also
    the Slurm job, with placeholders for its nodes. With --sessions, also prints what that many
    sessions need on each node, which limit binds first and what to do for more; exits with 2 if the
    deployment cannot hold them. Imports the app to learn how many sessions it allows in a worker.
    """
    if summary and deployment.sessions is None:
        raise UsageError("--summary requires --sessions N")
    assumed = _assumed(node_cores, node_mem, node_descriptors)
    submission, allocated = None, allocation()
    if not deployment.local and allocated is None:
        submission = batch_job.submission(deployment)
        cores = None if deployment.sessions is None else assumed.cores
        allocated, deployment = expected_allocation(deployment, cores), deployment.absolute()
    nodes, described = nodes_for(deployment, allocated), app.describe(deployment)
    planned = planning.plan(deployment, nodes, assumed.machine.limits, described.sessions)
    sessions = deployment.sessions
    needed = needs(planned.placement, assumed, sessions) if sessions is not None else None
    if as_json:
        print_json(_plain(planned, submission, needed) | {"app": asdict(described)})
    else:
        if not summary:
            _print(planned, submission)
        print(f"# {app.summary(described)}")
        if needed is not None:
            _print_needs(planned, assumed, needed)
    if needed is not None:
        check(needed.bounds, sessions)


def _assumed(cores: int | None, memory: int | None, descriptors: int | None) -> Assumed:
    here = machine()
    if memory is not None:
        here = replace(here, memory=memory, memory_available=memory, memory_limit=None)
    here = replace(here, descriptors=descriptors or here.descriptors)
    return Assumed(cores or len(os.sched_getaffinity(0)), here)


def _print(planned: Plan, submission: Any) -> None:
    placement = planned.placement
    if submission is not None:
        argv, path, text = submission
        print(f"{shlex.join(argv)}\n# {path}\n{text}", end="")
    print(f"# {placement.url}: {placement.capacity} places on {len(placement.servers)} server(s)")
    for process in placement.processes:
        variables = [f"{key}={shlex.quote(text)}" for key, text in process.environment.items()]
        print(f"# {process.name} on {process.node}, ports {ranges(process.ports)}")
        if process.variables:
            print(f"# with your values of {' '.join(placement.deployment.variables)}")
        print(*variables, shlex.join(process.argv))
    for envoy in placement.envoys[:1]:
        print(f"# {envoy.config}\n{planned.envoy_configs[envoy.config]}", end="")
    for envoy in placement.envoys[1:]:
        print(
            f"# {envoy.config}\n# the same, with port {envoy.admin_port} and socket "
            f"{envoy.admin_socket} (complete with --json)"
        )


def _print_needs(planned: Plan, assumed: Assumed, needed: Needs) -> None:
    placement, node = planned.placement, assumed.machine
    out.print(
        f"{needed.sessions:,} sessions on nodes with {assumed.cores} core(s), "
        f"{decimal(node.room)} of memory and {node.descriptors:,} descriptors a process: "
        f"{len(placement.servers):,} server(s) with {placement.workers_per_node} worker(s) of "
        f"{placement.places:,} places, {len(placement.envoys)} Envoy process(es)"
    )
    table = Table("role", "nodes", box=None)
    for name in ("processes", "threads", "sessions", "descriptors", "of", "memory", "of", "CPU s"):
        table.add_column(name, justify="right")
    table.add_column("ports")
    for row in needed.rows:
        cells: list[str] = [f"{row.nodes:,}", f"{row.processes:,}", str(row.threads)]
        cells += [f"{row.sessions:,}", f"{row.descriptors:,}", f"{row.limit:,}"]
        cells += [decimal(row.memory), decimal(row.room), f"{row.cpu:,.1f}", row.ports]
        table.add_row(row.role, *cells)
    out.print(table)
    out.print(
        "per node; descriptors per process; CPU s: seconds of one core to open, reset, step and close "
        "all sessions; memory and CPU were measured with this package's own environment"
    )
    if needed.clients:
        out.print(f"for the load: --client-nodes {needed.clients}")
    for bound in needed.bounds[:BOUNDS_SHOWN]:
        out.print(f"{bound.limit}: {bound.sessions:,} ({bound.why})")
    first = needed.bounds[0]
    out.print(f"the {first.limit} bind first, at {first.sessions:,}; to hold more: {first.change}")


def _plain(planned: Plan, submission: Any, needed: Needs | None) -> dict[str, Any]:
    placement, configs = planned.placement, planned.envoy_configs
    plain: dict[str, Any] = {
        "sbatch": submission and submission[0],
        "batch_script": submission and submission[2],
        "url": placement.url,
        "connection": placement.connection,
        "capacity": placement.capacity,
        "processes": [
            {name: getattr(process, name) for name in PROCESS_KEYS}
            | {"variables": list(placement.deployment.variables if process.variables else ())}
            for process in placement.processes
        ],
        "envoy_config": next(iter(configs.values()), None),
        "envoy_configs": {str(path): text for path, text in configs.items()},
    }
    if needed is not None:
        plain["needs"] = {
            "sessions": needed.sessions,
            "roles": [vars(row) for row in needed.rows],
            "limits": [vars(bound) for bound in needed.bounds],
            "client_nodes_wanted": needed.clients,
        }
    return plain
