"""The runbook's commands as written, against `launcher up --local --nodes 3 --detach`.

Only grids are shorter. The commands stand in tests/local/runbook/*.sh as the runbook has them; the
date in a path is what `date` says.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.local import deployed, Deployment, ROOT

SCRIPTS = Path(__file__).parent / "runbook"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A folder that contains the tests/ of the checkout, in which a deployment was started."""
    folder = tmp_path_factory.mktemp("runbook folder")
    (folder / "tests").symlink_to(ROOT / "tests")
    with deployed(folder, "runbook", "--nodes", "3", "--max-concurrent-envs", "512") as deployment:
        yield deployment


def run(name: str, workplace: Deployment) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", SCRIPTS / f"{name}.sh"],
        cwd=workplace.folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_preflight_checks(workplace: Deployment) -> None:
    done = run("preflight", workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("[OK]") == 3
    assert "FAIL" not in done.stdout
    assert done.stdout.count("::health_flags::healthy") == 2
    assert "=== All pre-flight checks PASSED ===" in done.stdout


def test_experiment_then_distribution(workplace: Deployment) -> None:
    done = run("experiment", workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unique hosts: 2" in done.stdout
    for node in workplace.connection["WORKER_NODES"].split():
        assert f"  - {node}:8000" in done.stdout


def test_envoy_errors(workplace: Deployment) -> None:
    done = run("envoy_errors", workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" OK") == 2
    assert "FAILED" not in done.stdout
    assert "- endpoint:" in done.stdout
    assert "openenv_cluster::" in done.stdout


def test_unique_hosts_is_one(workplace: Deployment) -> None:
    done = run("unique_hosts", workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Using URL: {workplace.url}" in done.stdout
    for node in workplace.connection["WORKER_NODES"].split():
        assert f"hostname::{node}" in done.stdout
    assert "warning" not in done.stderr


def test_phase_3_reads_two_results(workplace: Deployment) -> None:
    done = run("phase_3", workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Single-node ceiling: 16" in done.stdout
    assert "Multi-node ceiling:  16" in done.stdout
    assert "Scaling efficiency:  50.0%" in done.stdout
