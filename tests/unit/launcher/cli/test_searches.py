"""Options that a search for a ceiling, or an experiment, refuses before anything starts."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from launcher.cli.main import main
from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus
from launcher.errors import PreflightFailed
from launcher.lifecycle import registry
from tests.helpers.command_line import refusal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wait", "0"], "--wait 0: sessions that do not wait are not open at the same time"),
        (["--wait-grid", "1,0"], "--wait-grid 0: "),
        (["--wait", "1", "--wait-grid", "1"], "--wait and --wait-grid are mutually exclusive"),
        (["--start", "100", "--max-batch", "99"], "--start 100 is more than --max-batch 99"),
        (["--start", "0"], "--start: '0' is not a whole number from 1 to 10,000,000"),
        (["--max-batch", "many"], "--max-batch: 'many' is not a whole number"),
        (["--precision", "-0.1"], "--precision: '-0.1' is not a number from 0 to 1"),
        (["--precision", "nan"], "--precision: 'nan' is not a number from 0 to 1"),
        (["--reps", "0"], "--reps: '0' is not a whole number from 1 to "),
        (["--success", "0"], "--success: '0' is not a number from 0.001 to 1"),
        (["--success", "95"], "--success: '95' is not a number from 0.001 to 1"),
        (["--p99", "wait*two"], "--p99: p99 <= 'wait*two' is not arithmetic"),
        (["--p99", ""], "--p99: p99 <= '' is not arithmetic"),
        (["--p99", "1/(wait-1)", "--wait", "1"], "--p99: p99 <= 1/(wait-1) for wait 1"),
        (["--shape", "open"], "--shape open cannot be searched"),
        (["--shape", "round"], "--shape: 'round' is not one of 'burst', 'hold', 'open'"),
        (["--timeout", "2", "--wait", "1", "--steps", "2"], "--timeout 2 s ends sessions before"),
        (["--steps", "0"], "--steps: '0' is not a whole number from 1 to "),
        (["--resume"], "--resume requires --output-dir"),
    ],
)
@pytest.mark.parametrize("command", ["ceiling", "experiment"])
def test_a_search_refuses_bad_options(
    command: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    where = ["--url", "http://127.0.0.1:1"]
    if command == "experiment":
        where = ["--local", "--workers-per-node", "1", "--server-nodes", "1,2"]
    if "--resume" not in arguments:
        where += ["--output-dir", str(tmp_path / "new")]
    assert refusal(command, *where, *arguments).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--server-nodes N,N,... is required, such as 1,2,4"),
        (["--server-nodes", ""], "--server-nodes: it is empty"),
        (["--server-nodes", "0,1"], "--server-nodes: '0' is not a whole number from 1 to 99,999"),
        (["--server-nodes", "two"], "--server-nodes: 'two' is not a whole number"),
        (["--server-nodes", "1,2,1"], "--server-nodes: it contains 1 more than once"),
        (
            ["--server-nodes", "1", "--baseline", "none"],
            "--baseline: 'none' is not one of 'direct', 'envoy'",
        ),
        (["--server-nodes", "1", "--nodes", "3"], "--nodes is an option of `up`"),
        (["--server-nodes", "1", "--dir", "x"], "--dir is an option of `up`"),
    ],
)
def test_an_experiment_refuses_bad_options(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    where = ("--local", "--output-dir", str(tmp_path / "new"))
    assert refusal("experiment", *where, *arguments).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_requires_a_folder() -> None:
    assert refusal("experiment", "--local", "--server-nodes", "1").startswith(
        "an experiment requires --output-dir"
    )


@pytest.fixture(params=["text", "values"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a search that was interrupted; earlier versions recorded options as text."""
    text = {"success": "0.9", "wait_grid": "1,0.5", "reps": "2", "max_batch": None}
    values = {"success": 0.9, "wait_grid": [1.0, 0.5], "reps": 2, "max_batch": None}
    search = (text if request.param == "text" else values) | {"share_node": False, "resume": False}
    grid = {"url": "http://127.0.0.1:9", "batches": [32], "waits": [1.0, 0.5]}
    run = {"run_id": "r", "begun": "now", "grid": grid, "cells": [], "search": search}
    (tmp_path / "run.json").write_text(json.dumps(run))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--success", "0.95"), "was started with success 0.9, not 0.95"),
        (("--wait-grid", "1,5"), "was started with wait_grid 1,0.5, not 1,5"),
        (("--reps", "3"), "was started with reps 2, not 3"),
        (("--max-batch", "100"), "was started with max_batch None, not 100"),
    ],
)
def test_a_search_is_not_resumed_with_another_value(
    arguments: tuple[str, ...], message: str, earlier: Path
) -> None:
    error = refusal("ceiling", "--resume", "--output-dir", str(earlier), *arguments)
    assert error.startswith(f"{earlier} {message}; omit it to resume")


def unreachable_target(*arguments: str, variable: str | None = None) -> str:
    """The URL that a command loads, at which nothing listens."""
    runner = CliRunner(env={"OPENENV_URL": variable})
    failure = runner.invoke(main, arguments, standalone_mode=False).exception
    assert isinstance(failure, PreflightFailed), failure
    return str(failure).partition(" does not answer")[0]


@pytest.mark.parametrize(
    "arguments", [(), ("--success", "0.90", "--wait-grid", "1.0,0.5", "--reps", "2")]
)
def test_a_search_is_resumed_with_the_recorded_options_and_url(
    arguments: tuple[str, ...], earlier: Path
) -> None:
    argv = ("ceiling", "--resume", "--output-dir", str(earlier), *arguments)
    assert unreachable_target(*argv) == "http://127.0.0.1:9"


def write_deployment(folder: Path, pid: int) -> None:
    """The files of a deployment at port 3 of this machine."""
    holder = registry.identity() | {"pid": pid}
    reached = {"url": "http://127.0.0.1:3", "connection": {"ENVOY_NODE": ""}}
    state = DeploymentState(
        name="new", folder=folder, status=DeploymentStatus.READY, **reached, **holder
    )
    rundir = RunDir(folder, "new")
    state.save(rundir.state)
    rundir.connection.write_text(f"export OPENENV_URL={state.url}\n")
    registry.enter(Deployment(name="new", dir=folder), None, own_job=False, **holder)


@pytest.mark.parametrize(
    ("arguments", "variable", "deployment", "port"),
    [
        (("--url", "http://127.0.0.1:1"), "http://127.0.0.1:2", "running", 1),
        (("--name", "new"), "http://127.0.0.1:2", "running", 3),
        ((), "http://127.0.0.1:2", "running", 2),
        ((), None, "running", 9),
        ((), None, "stopped", 9),
        ((), None, None, 9),
    ],
)
@pytest.mark.parametrize("command", ["grid", "ceiling"])
def test_resume_prefers_an_explicit_target_to_the_recorded_url(
    command: str,
    arguments: tuple[str, ...],
    variable: str | None,
    deployment: str | None,
    port: int,
    earlier: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_STATE_HOME", str(here))
    (here / "openenv-slurm").mkdir()
    if deployment is not None:
        write_deployment(here, os.getpid() if deployment == "running" else 2**22 + 1)
    argv = (command, "--resume", "--output-dir", str(earlier), *arguments)
    assert unreachable_target(*argv, variable=variable) == f"http://127.0.0.1:{port}"
