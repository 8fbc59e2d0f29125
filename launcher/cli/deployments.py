"""The commands that start, show and stop a deployment: up, status, logs, down."""

import sys
from collections.abc import Mapping
from typing import Any

import click
from rich.table import Table

from launcher.cli.display.console import out, print_json, say, warn
from launcher.cli.options import (
    command_after_dashes,
    deployment_options,
    flag,
    json_option,
    named_deployment,
    WithCommand,
)
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentStatus, FAILED_STATES
from launcher.errors import FAILED
from launcher.lifecycle import batch_client, detached, holder, registry
from launcher.lifecycle import logs as log_lines
from launcher.lifecycle import stop as stopping
from launcher.lifecycle.registry import Known
from launcher.planning.needs import ranges
from launcher.slurm.allocation import allocation, ignored_partition


@click.command(cls=WithCommand)
@deployment_options
@flag("--detach", "Return once it is ready and leave the deployment running.")
@json_option
def up(deployment: Deployment, detach: bool, as_json: bool) -> None:
    """Start a deployment and hold it until Ctrl-C.

    Serves the OpenEnv environment in FOLDER, if it is given, with its app, its name and its port.

    Prints the URL once Envoy counts every server as healthy. With -- COMMAND, runs the command with
    the variables of openenv-connection.env, stops the deployment when the command exits, and exits
    with its exit code. Outside of a Slurm allocation, and without --local, it submits a job.
    """

    def ready(connection: dict[str, str]) -> None:
        if not command:  # otherwise standard output belongs to the command
            if as_json:
                print_json(connection)
            else:
                print(f"OPENENV_URL={connection['OPENENV_URL']}", flush=True)
        if detach:
            say(f"stop it with: launcher down {deployment.name}")

    command = command_after_dashes()
    if detach and command:
        raise click.UsageError("--detach and -- COMMAND are mutually exclusive")
    if not deployment.local and allocation() is None:
        sys.exit(batch_client.run(deployment, say, ready, command or None, detach=detach))
    if not deployment.local and (unread_variables := ignored_partition()):
        warn(unread_variables)
    if detach:
        ready(detached.detach(deployment, say))
    else:
        held = holder.HeldDeployment(deployment, say)
        sys.exit(held.run(lambda placement: ready(placement.connection), command or None))


@click.command()
@named_deployment
@json_option
def status(known: Known, as_json: bool) -> None:
    """Show the processes, places and events of a deployment.

    Exits with 1 if the deployment is gone, failed or was ended by Slurm.
    """
    places = registry.places(known.state) if known.alive else {}
    if as_json:
        more = {"uptime": registry.uptime(known.state), "places": places}
        derived = {"status": known.status, **more, "job_story": known.job_description}
        print_json(known.state.as_dict() | derived)
    else:
        print_status(known, places)
    if known.status in (DeploymentStatus.GONE, *FAILED_STATES):
        sys.exit(FAILED)


def print_status(known: Known, places: Mapping[str, Any]) -> None:
    state = known.state
    out.print(f"{known.rundir.name}: {known.status}  {state.url}", style="bold")
    table = Table("process", "node", "pid", "restarts", "used", "free", "ports", "log", box=None)
    for process in state.processes:
        counts = places.get(process.name, {})
        cells: tuple[Any, ...] = (process.name, process.node, process.pid or "-", process.restarts)
        cells += (counts.get("used", ""), counts.get("free", ""), ranges(process.ports))
        table.add_row(*map(str, cells), process.log)
    out.print(table)
    if state.error:
        out.print(state.error, style="red")
    if job := known.job_description:
        out.print(f"Slurm {job}")
    for event in state.events:
        out.print(f"{event.time} {event.event}")


@click.command()
@named_deployment
@flag("-f --follow", "Keep printing new lines until the deployment ends.")
def logs(known: Known, follow: bool) -> None:
    """Print the logs of a deployment, each line with its process."""
    for process, line in log_lines.lines(known, follow):
        out.print(f"{process:>10}", style="cyan", end=" | ")
        out.print(line)


@click.command()
@named_deployment
def down(known: Known) -> None:
    """Stop a deployment and wait until it has stopped."""
    say(stopping.stop(known))
