"""Scaling experiments on this machine, with a known number of places per server."""

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tests.helpers.local import (
    deployed,
    launch,
    LAUNCHER,
    MARK,
    new_address,
    processes_of,
    wait_for,
)
from tests.helpers.searches import batches, rows

SEARCH = ("--success", "1", "--precision", "0", "--wait", "0.5", "--start", "8")
LOAD = ("--reps", "1", "--load-workers", "1")
CAPS = ("--max-concurrent-envs", "6", "--workers-per-node", "1")


def arguments(folder: Path, address: str, name: str, servers: str = "1,2") -> list[str]:
    where = ["--local-address", address, "--name", name, "--output-dir", str(folder)]
    asked = ["experiment", "--local", "--drain", "0", "--server-nodes", servers, *where]
    return [*asked, *SEARCH, *LOAD, *CAPS]


@pytest.fixture
def environment(mark: dict[str, str]) -> Iterator[dict[str, str]]:
    """Marks the processes of a test and checks at its end that all have exited."""
    yield mark
    wait_for(lambda: not processes_of(mark[MARK]), 15, "nothing is left")


@contextlib.contextmanager
def going(*argv: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Starts an experiment in the background."""
    with subprocess.Popen(
        [*LAUNCHER, *argv], env=env, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()


def story(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "experiment.json").read_text()))


def statuses(folder: Path) -> dict[str, str]:
    return {servers: phase["status"] for servers, phase in story(folder)["phases"].items()}


def table(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


def snippet(folder: Path) -> tuple[int, int, float]:
    """Runs the runbook's analysis of phase 3 verbatim."""
    single = pd.read_csv(folder / "nodes-1" / "summary.csv")
    multi = pd.read_csv(folder / "nodes-2" / "summary.csv")

    def find_ceiling(df):  # type: ignore[no-untyped-def]
        passing = df[df["error_rate"] <= 0.05]
        return passing["batch_size"].max() if len(passing) > 0 else 0

    single_ceiling = find_ceiling(single)  # type: ignore[no-untyped-call]
    multi_ceiling = find_ceiling(multi)  # type: ignore[no-untyped-call]
    num_workers = 2
    expected_ceiling = single_ceiling * num_workers
    return single_ceiling, multi_ceiling, multi_ceiling / expected_ceiling


def test_experiment_finds_twice_the_ceiling_with_two_servers(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    address = new_address()
    done = launch(*arguments(tmp_path, address, "twice"), env=environment)
    assert done.returncode == 0, done.stderr
    assert [line["ceiling"] for line in table(tmp_path / "ceilings.csv")] == ["6", "12"]
    one, two = table(tmp_path / "scaling.csv")
    assert (one["servers"], two["servers"]) == ("1", "2")
    assert float(two["scaling_factor"]) == 2.0
    assert float(two["efficiency"]) == 1.0
    assert {"report.html", "LOG_ENTRY.md"} <= {path.name for path in tmp_path.iterdir()}
    told = story(tmp_path)
    assert told["status"] == "complete"
    assert statuses(tmp_path) == {"1": "complete", "2": "complete"}
    direct, behind = (phase["url"] for phase in told["phases"].values())
    assert direct == behind == f"http://{address}:8000"
    assert told["phases"]["1"]["nodes"] == 1
    assert told["phases"]["2"]["nodes"] == 3
    assert [phase["ceilings"][0]["bound"] for phase in told["phases"].values()] == [
        "admission cap",
        "admission cap",
    ]
    hosts = {row["host_url"] for row in rows(tmp_path / "nodes-2") if row["success"]}
    assert len(hosts) == 2
    assert re.search(r"^ 0\.5 +2 +12 +2\.00 +100\.0% +good linear", done.stdout, re.MULTILINE)
    assert "How many nodes for 100,000 sessions? Unknown: " in done.stdout
    assert "1 server was measured without Envoy" in done.stdout
    assert snippet(tmp_path) == (6, 12, 1.0)
    entry = (tmp_path / "LOG_ENTRY.md").read_text()
    assert "| 0.5 | 6 |" in entry
    assert "| 0.5 | 12 |" in entry
    assert re.search(r"\| Scaling efficiency \|.*100", entry)
    assert (tmp_path / "nodes-2" / "deployment" / "openenv-deployment.json").exists()
    assert launch("status", "twice", env=environment).returncode == 1


def test_interrupted_experiment_can_be_resumed(tmp_path: Path, environment: dict[str, str]) -> None:
    asked = arguments(tmp_path, new_address(), "again")
    with going(*asked, env=environment) as running:
        wait_for(lambda: len(batches(tmp_path / "nodes-2")) > 1, 90, "two batches of two servers")
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 128 + signal.SIGTERM, said
    assert "to continue, run: launcher experiment --resume" in said
    assert statuses(tmp_path) == {"1": "complete", "2": "interrupted"}
    wait_for(lambda: not processes_of(environment[MARK]), 15, "nothing is left")
    first = rows(tmp_path / "nodes-1")
    done = launch("experiment", "--resume", "--output-dir", str(tmp_path), env=environment)
    assert done.returncode == 0, done.stderr
    assert "1 server(s): already complete" in done.stderr
    assert statuses(tmp_path) == {"1": "complete", "2": "complete"}
    assert rows(tmp_path / "nodes-1") == first
    assert len(set(batches(tmp_path / "nodes-2"))) == len(batches(tmp_path / "nodes-2"))
    assert [line["ceiling"] for line in table(tmp_path / "ceilings.csv")] == ["6", "12"]
    differs = ("--resume", "--output-dir", str(tmp_path), "--success", "0.5")
    done = launch("experiment", *differs, env=environment)
    assert done.returncode == 2
    assert "was started with success 1, not 0.5" in done.stderr
    done = launch("experiment", *differs[:3], "--max-concurrent-envs", "7", env=environment)
    assert done.returncode == 2
    assert "was started with max_concurrent_envs 6, not 7" in done.stderr
    done = launch(*asked, env=environment)
    assert done.returncode == 2
    assert "already holds an experiment (complete)" in done.stderr


def test_deployment_of_a_killed_experiment_is_stopped_by_down_or_resume(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    asked = arguments(tmp_path, new_address(), "killed", servers="1")
    kill_after(1, asked, tmp_path, environment)
    assert launch("status", "killed", env=environment).returncode == 0
    assert launch("down", "killed", env=environment).returncode == 0
    kill_after(2, [*asked, "--resume"], tmp_path, environment)
    assert launch("status", "killed", env=environment).returncode == 0
    done = launch("experiment", "--resume", "--output-dir", str(tmp_path), env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("1 server(s) on 1 node(s)\nkilled is down\n")
    assert [line["ceiling"] for line in table(tmp_path / "ceilings.csv")] == ["6"]


def kill_after(done: int, asked: list[str], folder: Path, env: dict[str, str]) -> None:
    """Kills an experiment with SIGKILL when so many batches of one server are done."""
    with going(*asked, env=env) as running:
        wait_for(lambda: len(batches(folder / "nodes-1")) >= done, 60, f"{done} batches are done")
        running.kill()


def test_experiment_reports_finished_phases_when_one_cannot_start(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    address = new_address()
    with socket.socket() as held:
        held.bind((f"{address[:-1]}4", 8000))
        held.listen()
        done = launch(*arguments(tmp_path, address, "ports", "1,2,3"), env=environment)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "8000" in errors[0]
    assert statuses(tmp_path) == {"1": "complete", "2": "failed"}
    assert story(tmp_path)["status"] == "failed"
    assert "8000" in story(tmp_path)["phases"]["2"]["error"]
    assert [line["ceiling"] for line in table(tmp_path / "ceilings.csv")] == ["6"]
    assert launch("status", "ports", env=environment).returncode == 1


def test_phase_fails_when_a_server_is_lost(tmp_path: Path, environment: dict[str, str]) -> None:
    asked = arguments(tmp_path, new_address(), "lost", servers="2")
    with going(*asked, env=environment) as running:
        wait_for(lambda: len(batches(tmp_path / "nodes-2")) > 0, 90, "a batch is done")
        state = tmp_path / "nodes-2" / "deployment" / "openenv-deployment.json"
        holder = json.loads(state.read_text())["pid"]
        psutil.Process(holder).kill()
        said = running.communicate(timeout=120)[1]
    assert running.returncode == 1, said
    assert "Traceback" not in said
    assert statuses(tmp_path) == {"2": "failed"}


def test_experiment_leaves_another_deployment_of_its_name_running(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "other").mkdir()
    with deployed(tmp_path / "other", "taken", "--nodes", "1", "--drain", "0", env=environment):
        done = launch(*arguments(tmp_path / "new", new_address(), "taken"), env=environment)
        assert done.returncode == 2
        assert "'taken' is already up" in done.stderr
        assert launch("status", "taken", env=environment).returncode == 0
    assert statuses(tmp_path / "new") == {"1": "failed"}


def test_experiment_fails_in_one_line_without_slurm_or_local(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "SLURM" not in name}
    asked = ("--server-nodes", "1", "--output-dir", str(tmp_path))
    done = launch("experiment", *asked, "--runtime", "venv", env=environment)
    assert done.returncode == 2
    assert "error: Slurm is not installed here" in done.stderr
