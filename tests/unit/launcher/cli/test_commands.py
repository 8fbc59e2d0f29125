"""Every command: its help, the types of its options, its completion, its usage errors."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from pydantic import ValidationError

from launcher.cli.main import main
from launcher.cli.parameters import CommaSeparated
from launcher.deployment.spec import Deployment
from launcher.errors import DeploymentNotFound
from launcher.lifecycle import registry
from tests.helpers.command_line import refusal

COMMANDS = sorted(main.commands)
DEPLOYMENT_COMMANDS = (
    *("up", "status", "logs", "down", "top", "preflight", "plan", "doctor"),
    *("grid", "ceiling", "experiment", "ui"),
)
# Options whose values only Slurm, Docker Hub or the user can judge.
FREE_TEXT = {
    *("app", "local_address", "partition", "time", "mem", "account", "qos", "constraint"),
    *("nodelist", "exclude", "reservation", "sbatch", "hardware", "p99", "base", "mirror"),
    *("web_host", "name", "env", "bind", "container_option", "workdir", "service"),
}


def options(command: str) -> Iterator[click.Option]:
    for parameter in main.commands[command].params:
        if isinstance(parameter, click.Option):
            yield parameter


def completions(*words: str) -> list[str]:
    complete = ShellComplete(main, {}, "launcher", "_LAUNCHER_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_every_option_in_a_sentence(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0
    for option in options(command):
        assert option.help is not None
        assert option.help[0].isupper() or option.help.startswith("burst:"), option.name
        assert option.help.endswith("."), option.name
        assert option.hidden or option.opts[-1] in done.output


def test_the_help_lists_every_command_in_one_section() -> None:
    done = CliRunner().invoke(main, ["--help"])
    listed = [line.split()[0] for line in done.output.splitlines() if line.startswith("  ")]
    assert all(listed.count(name) == 1 for name in COMMANDS)
    assert "..." not in done.output.partition("Deployments:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_only_free_text_has_the_type_text(command: str) -> None:
    for option in options(command):
        kind = option.type.item if isinstance(option.type, CommaSeparated) else option.type
        if kind is click.STRING and option.name != "source_addresses":
            assert option.name in FREE_TEXT, option.name


@pytest.mark.parametrize(
    ("command", "option", "metavar"),
    [
        ("up", "--nodes", "INTEGER"),
        ("up", "--drain", "SECONDS"),
        ("up", "--runtime", "[apptainer|venv]"),
        ("up", "--dir", "PATH"),
        ("grid", "--requests-grid", "INTEGER,..."),
        ("grid", "--wait-grid", "SECONDS,..."),
        ("grid", "--url", "URL"),
        ("plan", "--node-mem", "SIZE"),
        ("status", "--name", "NAME"),
    ],
)
def test_help_shows_the_type_of_a_value(command: str, option: str, metavar: str) -> None:
    assert f"{option} {metavar} " in CliRunner().invoke(main, [command, "--help"]).output


@pytest.mark.parametrize(
    ("command", "option", "extra"),
    [
        ("up", "server_port", "[env var: OPENENV_PORT, PORT; default: 8000; 1<=x<=60000]"),
        ("up", "workers_per_node", "[env var: WORKERS_PER_NODE, WORKERS, SLURM_CPUS_PER_TASK;"),
        ("grid", "url", "[env var: OPENENV_URL; default: the deployment of this folder]"),
        ("grid", "reps", "[default: 1; 1<=x<=1000000]"),
    ],
)
def test_help_ends_with_variables_default_and_range(command: str, option: str, extra: str) -> None:
    [found] = [each for each in options(command) if each.name == option]
    record = found.get_help_record(click.Context(main.commands[command]))
    assert record is not None
    assert extra in record[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_debug(command: str) -> None:
    assert "debug" in {option.name for option in options(command)}


@pytest.mark.parametrize("command", DEPLOYMENT_COMMANDS)
def test_a_command_that_takes_a_deployment_has_name(command: str) -> None:
    assert [option.name for option in options(command)].count("name") == 1


def test_every_field_of_a_deployment_is_an_option_of_up() -> None:
    assert set(Deployment.model_fields) <= {option.name for option in options("up")}


def test_an_experiment_has_no_option_that_each_phase_sets() -> None:
    names = {option.name for option in options("experiment")}
    assert {"server_nodes", "wait", "timeout", "load_workers", "partition", "local"} <= names
    assert not {"url", "expected_hosts", "require_hosts"} & names
    assert {option.name for option in options("experiment") if option.hidden} == {"nodes", "dir"}


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("pre",), ["preflight"]),
        (("up", "--runtime", ""), ["apptainer", "venv"]),
        (("grid", "--shape", "h"), ["hold"]),
        (("experiment", "--baseline", ""), ["direct", "envoy"]),
        (("build", "l"), ["locust"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_completion_offers_choices(words: tuple[str, ...], values: list[str]) -> None:
    assert completions(*words) == values


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Entries of two deployments whose launchers are gone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    from launcher.deployment.paths import deployments_folder

    deployments_folder().mkdir(parents=True)
    for name in ("first", "second"):
        (deployments_folder() / f"{name}.json").write_text(json.dumps({"folder": str(tmp_path)}))
    return tmp_path


@pytest.mark.parametrize("words", [("status", ""), ("down", "--name", ""), ("grid", "--name", "")])
def test_completion_offers_the_names_of_deployments(words: tuple[str, ...], known: Path) -> None:
    assert completions(*words) == ["first", "second"]
    assert completions(*words[:-1], "s") == ["second"]


@pytest.mark.parametrize("command", ["status", "logs", "down", "top"])
def test_a_deployment_is_named_by_an_argument_or_an_option(command: str, known: Path) -> None:
    both = (command, "first", "--name", "second")
    assert refusal(*both) == "NAME is 'first' but --name is 'second'; give one of them"
    for arguments in (("third",), ("--name", "third"), ("third", "--name", "third")):
        done = CliRunner().invoke(main, [command, *arguments], standalone_mode=False)
        assert str(done.exception).startswith("no deployment named 'third' is up")


@pytest.mark.parametrize(
    "arguments", [("grid", "-n", "1"), ("ceiling", "--output-dir", "x"), ("ui",), ("preflight",)]
)
def test_a_load_command_finds_the_named_deployment(
    arguments: tuple[str, ...], known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_URL", "http://127.0.0.1:9")  # --name overrides the environment
    for name, says in (
        ("third", "no deployment named 'third'"),
        ("first", "deployment 'first' is gone"),
    ):
        done = CliRunner().invoke(main, [*arguments, "--name", name], standalone_mode=False)
        assert str(done.exception).startswith(says)


@pytest.mark.parametrize("arguments", [("grid", "-n", "1"), ("ui",), ("preflight",)])
def test_a_load_command_refuses_a_deployment_that_has_not_started(
    arguments: tuple[str, ...], known: Path
) -> None:
    entry = {"folder": str(known / "run"), **registry.identity()}
    (known / "openenv-slurm" / "first.json").write_text(json.dumps(entry))
    done = CliRunner().invoke(main, [*arguments, "--name", "first"], standalone_mode=False)
    assert isinstance(done.exception, DeploymentNotFound)
    assert str(done.exception).startswith(f"deployment 'first' has written nothing to {known}/run")


def test_a_url_and_a_name_exclude_each_other(known: Path) -> None:
    arguments = ("grid", "-n", "1", "--url", "http://n1", "--name", "first")
    assert refusal(*arguments) == "--url and --name are mutually exclusive"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("up", "--nodes", "x"), "--nodes: 'x' is not a whole number from 1 to 100,000"),
        (("up", "--drain", "3601"), "--drain: '3601' is not a number from 0 to 3,600"),
        (("up", "--runtime", "x"), "--runtime: 'x' is not one of 'apptainer', 'venv'"),
        (("up", "--config", "/none.yaml"), "--config: File '/none.yaml' does not exist"),
        (("up", "--detach", "--", "true"), "--detach and -- COMMAND are mutually exclusive"),
        (("up", "--nonsense"), "no such option '--nonsense'"),
        (("up", "--nodes"), "option '--nodes' requires an argument"),
        (("nonsense",), "no such command 'nonsense'"),
        (("build", "--app", "a:b"), "--app requires FOLDER or --dockerfile PATH"),
        (("build", "gone"), "'gone' is neither a folder nor one of the images server, envoy"),
        (("build", ".", "server"), "a build makes the image of one environment"),
        (("build", "--dockerfile", "Dockerfile", "."), "a build makes the image of one"),
        (("build", "/"), "/ is no OpenEnv environment: it contains neither openenv.yaml nor"),
        (("up", "gone"), "gone does not exist; choose the folder of an OpenEnv environment"),
        (("build", "--build-arg", "x"), "--build-arg: 'x' is not of the form KEY=VALUE"),
        (("report",), "missing argument 'DIR...'"),
        (("top", "--interval", "0"), "--interval: '0' is not a number from 0.1 to 3,600"),
        (("plan", "--node-mem", "x"), "--node-mem: 'x' is not a size such as 64G"),
        (("plan", "--summary"), "--summary requires --sessions N"),
        (("ui", "--web-port", "0"), "--web-port: '0' is not a whole number from 1 to 65,535"),
        (("grid", "-n", "0"), "-n: '0' is not a whole number from 1 to 10,000,000"),
        (("grid", "--url", "n1"), "--url: 'n1' is not an http:// or ws:// URL"),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_option(
    arguments: tuple[str, ...], line: str
) -> None:
    assert refusal(*arguments).startswith(line)


def test_a_usage_error_names_the_variable_that_is_wrong() -> None:
    error = refusal("grid", "-n", "1", env={"OPENENV_URL": "n1"})
    assert error == "variable OPENENV_URL: 'n1' is not an http:// or ws:// URL"


def launcher(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "launcher", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_error_is_printed_on_standard_error_with_exit_code_2() -> None:
    done = launcher("up", "--nodes", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --nodes: '0' is not a whole number from 1 to 100,000\n"


def test_without_a_command_the_help_is_printed() -> None:
    done = launcher()
    assert done.returncode == 2
    assert "Deployments:" in done.stderr
    assert "error" not in done.stderr


NUMERIC_FIELDS = [
    name
    for name, field in Deployment.model_fields.items()
    if any(hasattr(each, "ge") or hasattr(each, "gt") for each in field.metadata)
]


@pytest.mark.parametrize("name", NUMERIC_FIELDS)
def test_an_option_has_the_range_of_its_field(name: str) -> None:
    [parameter] = [each for each in options("up") if each.name == name]
    limits = [
        limit
        for each in Deployment.model_fields[name].metadata
        for kind in ("ge", "gt", "le")
        if (limit := getattr(each, kind, None)) is not None
    ]
    assert limits
    for value in {limit + step for limit in limits for step in (-1, 0, 1)}:
        problems = []
        try:
            Deployment(**{name: value})
        except ValidationError as failure:
            problems = [each for each in failure.errors() if each["loc"] == (name,)]
        try:
            parameter.type.convert(str(value), parameter, None)
        except click.BadParameter:
            assert problems, value
        else:
            assert not problems, value
