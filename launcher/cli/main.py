"""The command line: it parses, prints and exits. Nothing else in the launcher does."""

import os
import sys
from typing import ClassVar

import click
from click.core import ParameterSource

from analysis.errors import ResultsError
from launcher import __version__
from launcher.cli import (
    build,
    ceiling,
    deployments,
    doctor,
    experiment,
    grid,
    plan,
    preflight,
    report,
    top,
    ui,
)
from launcher.cli.display.console import err
from launcher.cli.options import debug_option
from launcher.errors import BROKEN_PIPE, INTERRUPTED, LauncherError, SIGNAL_BASE, WRONG_USAGE
from launcher.system.signals import Interrupted


class Program(click.Group):
    """Lists its commands by section; every command has --debug."""

    sections: ClassVar[dict[str, tuple[click.Command, ...]]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        self.sections[title] = commands
        for command in commands:
            self.add_command(debug_option(command))

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{c.name:<{width}}", c.get_short_help_str(70)) for c in commands]
                )


@click.command(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="launcher")
def main() -> None:
    """Serve OpenEnv environments behind one URL, on Slurm or on one machine, and measure how many
    sessions they hold.

    `launcher COMMAND --help` describes each option with its unit, its default and its environment
    variable. Exit codes: 0 success, 1 failure, 2 wrong usage, 128 + N ended by signal N.
    """


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, add to ~/.bashrc: eval "$(launcher completion bash)"
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    print(complete(main, {}, "launcher", "_LAUNCHER_COMPLETE").source())


main.add_section(
    "Deployments", deployments.up, deployments.status, deployments.logs, top.top, deployments.down
)
main.add_section("Before a deployment", build.build, doctor.doctor, plan.plan)
main.add_section(
    "Load", preflight.preflight, grid.grid, ceiling.ceiling, experiment.experiment, ui.ui
)
main.add_section("Results", report.report, report.compare)
main.add_section("Shell", completion)


def run(command: click.Command, program: str) -> None:
    """Runs a command as a program: an error is one line on standard error and an exit code."""
    try:
        command.main(prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except (click.ClickException, LauncherError, ResultsError) as failure:
        first, _, rest = message(failure).partition("\n")
        err.print("error:", style="bold red", end=" ")
        err.print(first)
        if rest:
            err.print(rest)
        sys.exit(getattr(failure, "exit_code", WRONG_USAGE))  # a result that cannot be read
    except Interrupted as signal:
        err.print(f"interrupted: {signal}")
        sys.exit(SIGNAL_BASE + signal.number)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def message(failure: click.ClickException | LauncherError | ResultsError) -> str:
    """A value that Click refuses is introduced by its option, `--nodes: …`."""
    if not isinstance(failure, click.ClickException):
        return str(failure)
    missing = isinstance(failure, click.MissingParameter)
    if isinstance(failure, click.BadParameter) and failure.param is not None and not missing:
        return f"{_name(failure.param, failure.ctx)}: {failure.message.rstrip('.')}"
    text = failure.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


def _name(parameter: click.Parameter, context: click.Context | None) -> str:
    source = context and context.get_parameter_source(parameter.name or "")
    if source is ParameterSource.ENVIRONMENT:
        return f"variable {parameter.envvar}"
    return (
        parameter.human_readable_name
        if isinstance(parameter, click.Argument)
        else parameter.opts[0]
    )


def program() -> None:
    run(main, "launcher")
