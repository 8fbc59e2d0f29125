"""The command line: parses, calls once, prints, exits. Nothing else in the launcher does."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, cast, TypeVar

import click
from rich.table import Table

from launcher import __version__
from launcher.cli import (
    build as cli_build,
)
from launcher.cli import (
    doctor as cli_doctor,
)
from launcher.cli import (
    experiment as cli_experiment,
)
from launcher.cli import (
    grid as cli_grid,
)
from launcher.cli import (
    plan as cli_plan,
)
from launcher.cli import (
    preflight as cli_load,
)
from launcher.cli import (
    report as cli_report,
)
from launcher.cli import (
    top as cli_top,
)
from launcher.cli.console import err, out
from launcher.deployment.placement import Placement
from launcher.deployment.read import read_deployment
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentStatus, FAILED_STATES
from launcher.errors import LauncherError
from launcher.lifecycle import logs, registry
from launcher.lifecycle.registry import places
from launcher.lifecycle.stop import stop
from launcher.planning.needs import ranges
from launcher.slurm.allocation import allocation, unread
from launcher.system.signals import Interrupted

F = TypeVar("F", bound=Callable[..., Any])


def run(command: click.Command, program: str) -> None:
    """Runs a command as a program: an error is one line on standard error and an exit code."""
    try:
        command.main(prog_name=program, standalone_mode=False)
    except click.ClickException as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except LauncherError as failure:
        first, _, rest = str(failure).partition("\n")
        err.print("error:", style="bold red", end=" ")
        err.print(first, markup=False)
        if rest:
            err.print(rest, markup=False)
        sys.exit(failure.exit_code)
    except Interrupted as signal:
        err.print(f"interrupted: {signal}", markup=False)
        sys.exit(128 + signal.number)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="launcher")
def main() -> None:
    """Serve OpenEnv environments behind one URL, and load them."""


def deployment_options(command: F) -> F:
    """An option for every field of `Deployment`, and `--config`; the command gets a Deployment."""

    @wraps(command)
    def read(config: Path | None, **values: Any) -> Any:
        flags = {name: values.pop(name) for name in Deployment.model_fields}
        return command(read_deployment(flags, config), **values)

    decorated: Any = read
    for name, field in reversed(Deployment.model_fields.items()):
        flag = f"--{name.replace('_', '-')}"
        if field.default == ():
            option = click.option(flag, metavar="OPTION", multiple=True, help=field.description)
        elif field.annotation is bool:
            option = click.option(flag, is_flag=True, default=None, help=field.description)
        else:
            default = f" [default: {field.default}]" if field.default is not None else ""
            option = click.option(flag, metavar="VALUE", help=f"{field.description}{default}")
        decorated = option(decorated)
    config = click.Path(path_type=Path)
    option = click.option("--config", type=config, help="YAML file with any of these options")
    return cast(F, option(decorated))


name_argument = click.argument("name", required=False)
as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@main.command()
@deployment_options
@click.option("--detach", is_flag=True, help="return when ready and leave the deployment running")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@as_json
def up(deployment: Deployment, detach: bool, command: Sequence[str], as_json: bool) -> None:
    """Start a deployment and hold it until Ctrl-C; print its URL once Envoy counts every server
    healthy. With -- COMMAND: run it with the connection's variables and end with its exit code."""
    from launcher.lifecycle import holder as holding

    def ready(placement: Placement) -> None:
        _print_ready(placement.connection, as_json)

    if detach and command:
        raise click.UsageError("--detach and -- COMMAND exclude each other")
    if _by_job(deployment):
        _up_by_job(deployment, command, as_json=as_json, detach=detach)
    if not deployment.local and (lost := unread()):
        _say(f"warning: {lost}")
    if detach:
        _print_ready(holding.detach(deployment, _say)["connection"], as_json)
        _say(f"end it with: launcher down {deployment.name}")
        return
    sys.exit(holding.Up(deployment, _say).run(ready if not command else _quiet, command or None))


def _by_job(deployment: Deployment) -> bool:
    """Whether a Slurm job of its own is to hold it."""
    return not deployment.local and allocation() is None


def _up_by_job(
    deployment: Deployment, command: Sequence[str], *, as_json: bool, detach: bool
) -> None:
    from launcher.lifecycle import batch_client as job

    def ready(connection: dict[str, str]) -> None:
        if not command:
            _print_ready(connection, as_json)
        if detach:
            _say(f"end it with: launcher down {deployment.name}")

    sys.exit(job.run(deployment, _say, ready, command or None, detach=detach))


def _quiet(_: Placement) -> None:
    """A command that runs beside the deployment has the output for itself."""


@main.command()
@name_argument
@as_json
def status(name: str | None, as_json: bool) -> None:
    """Show a deployment: its processes, its places, what happened to it. NAME is by default that of
    this folder's, else openenv."""
    found = registry.find(name or registry.usual_name())
    counts = places(found.state) if found.alive else {}
    if as_json:
        more = {"uptime": registry.uptime(found.state), "places": counts}
        derived = {"status": found.status, **more, "job_story": found.job_story}
        _print_json(found.state.as_dict() | derived)
    else:
        _print_status(found, counts)
    if found.status in (DeploymentStatus.GONE, *FAILED_STATES):
        sys.exit(1)


@main.command("logs")
@name_argument
@click.option("-f", "--follow", is_flag=True, help="go on printing until the deployment ends")
def print_logs(name: str | None, follow: bool) -> None:
    """Print the logs of a deployment's processes, each line with its process. NAME is by default that
    of this folder's, else openenv."""
    found = registry.find(name or registry.usual_name())
    for process, line in logs.lines(found, follow):
        out.print(f"{process:>10}", style="cyan", end=" | ")
        out.print(line, markup=False)


@main.command()
@name_argument
def down(name: str | None) -> None:
    """Stop a deployment and wait until nothing of it is left. NAME is by default that of this
    folder's, else openenv."""
    _say(stop(registry.find(name or registry.usual_name())))


main.add_command(cli_build.build)
main.command()(deployment_options(cli_plan.plan))
main.command()(deployment_options(cli_doctor.doctor))
main.add_command(cli_grid.grid)
main.add_command(cli_load.preflight)
main.add_command(cli_load.ui)
main.add_command(cli_experiment.ceiling)
experiment = main.command()(deployment_options(cli_experiment.experiment))
for parameter in experiment.params:
    if parameter.name in ("nodes", "dir"):  # it chooses those of each phase
        cast(click.Option, parameter).hidden = True
main.add_command(cli_report.report)
main.add_command(cli_report.compare)
main.add_command(cli_top.top)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell: eval "$(launcher completion bash)"."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    print(complete(main, {}, "launcher", "_LAUNCHER_COMPLETE").source())


def program() -> None:
    run(main, "launcher")


def _say(text: str) -> None:
    err.print(text, markup=False)


def _print_ready(connection: dict[str, str], as_json: bool) -> None:
    if as_json:
        _print_json(connection)
    else:
        print(f"OPENENV_URL={connection['OPENENV_URL']}", flush=True)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, default=str), flush=True)


def _print_status(found: registry.Known, places: Mapping[str, Any]) -> None:
    state = found.state
    head = f"{found.rundir.name}: {found.status}  {state.url}"
    out.print(head, style="bold", markup=False)
    table = Table("process", "node", "pid", "restarts", "used", "free", "ports", "log", box=None)
    for process in state.processes:
        counts = places.get(process.name, {})
        table.add_row(
            process.name,
            process.node,
            "-" if process.pid is None else str(process.pid),
            str(process.restarts),
            str(counts.get("used", "")),
            str(counts.get("free", "")),
            ranges(process.ports),
            process.log,
        )
    out.print(table)
    if state.error:
        out.print(state.error, markup=False, style="red")
    if story := found.job_story:
        out.print(f"Slurm {story}", markup=False)
    for event in state.events:
        out.print(f"{event.time} {event.event}", markup=False)
