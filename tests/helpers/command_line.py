"""Runs the command line in this process up to the parsing of its options."""

import click
from click.testing import CliRunner

from launcher.cli.main import main, message
from launcher.errors import LauncherError, UsageError


def refusal(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The one-line usage error of a command that started nothing."""
    failure = CliRunner(env=env).invoke(main, arguments, standalone_mode=False).exception
    assert isinstance(failure, (click.UsageError, UsageError)), failure
    text = error_line(failure)
    assert "\n" not in text
    return text


def error_line(failure: click.ClickException | LauncherError) -> str:
    assert failure.exit_code == 2
    return message(failure)
