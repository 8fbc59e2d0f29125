"""The runbook's commands as written, on the login node of a real Slurm cluster.

Only grids are shorter, and node names differ. The folder runbook/ holds the commands as in the runbook.
"""

import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.cluster import Cluster

SCRIPTS = Path(__file__).parent / "runbook"
AS_WRITTEN = "salloc --nodes=3 --cpus-per-task=48 --time=2:00:00 --partition=hopper-cpu"
BY_SCRIPT = "WORKERS=2 CPUS_PER_WORKER=2 TIME=10:00 PARTITION=debug ./deploy/slurm/alloc.sh"


def shell(
    cluster: Cluster, command: str, script: str, timeout: float = 300
) -> "subprocess.CompletedProcess[str]":
    """Runs a shell that reads the script as if a user typed it."""
    return cluster.run("bash", "-c", command, input=script, check=False, timeout=timeout)


def test_prerequisites(cluster: Cluster) -> None:
    done = shell(cluster, "bash -e", (SCRIPTS / "prerequisites.sh").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("OK")
    assert "hopper-cpu*" in done.stdout


def no_job(cluster: Cluster) -> None:
    """Waits for an empty queue, because the runbook assumes that the first job in the queue is its own."""
    wait = 'until [ -z "$(squeue -h)" ]; do sleep 0.2; done'
    assert shell(cluster, "bash", wait, timeout=60).returncode == 0


def test_single_node(cluster: Cluster) -> None:
    no_job(cluster)
    cluster.run("rm", "-rf", "experiments")
    done = shell(cluster, "bash", (SCRIPTS / "single_node.sh").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Server ready!" in done.stdout
    assert "Node: node1" in done.stdout
    assert "NodeList=node1" in done.stdout
    assert "32 of 32 succeeded" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("allocate", "start", "workers"),
    [
        (AS_WRITTEN, "./deploy/slurm/serve_multi.sh", 48),
        (BY_SCRIPT, "USE_CONTAINER=true ./deploy/slurm/serve_multi.sh", 2),
    ],
    ids=["salloc, serve_multi.sh", "alloc.sh, in containers"],
)
def test_multi_node(
    cluster: Cluster, images: None, allocate: str, start: str, workers: int
) -> None:
    cluster.run("rm", "-rf", "experiments/results/slurm-multi")
    script = (SCRIPTS / "multi_node.sh").read_text().replace(": START", f"\n{start}")
    script += 'echo "workers: $WORKERS_PER_NODE"\nexit\n'
    done = shell(cluster, allocate, script)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "Worker nodes: node2 node3" in done.stdout
    assert f"workers: {workers}\n" in done.stdout
    assert done.stdout.count("[OK]") == 3
    assert "=== All pre-flight checks PASSED ===" in done.stdout
    assert "Unique hosts: 2" in done.stdout
    assert done.stdout.count("::health_flags::healthy") >= 2 * 2 * workers  # two pages of it
    assert "hostname::node2" in done.stdout
    assert "hostname::node3" in done.stdout
    assert done.stdout.count(" OK\n") == 2
    assert "Traceback" not in output
    assert "warning" not in done.stderr
    status = cluster.run("launcher", "status", check=False)
    assert status.stdout.startswith("openenv: ended"), status.stdout
    cluster.run("launcher", "down")


def test_phase_3(cluster: Cluster) -> None:
    day = cluster.run("date", "+%Y-%m-%d").stdout.strip()
    script = (SCRIPTS / "phase_3.py").read_text()
    done = cluster.run("env", f"DAY={day}", "python", "-", input=script)
    assert "Single-node ceiling: 32" in done.stdout
    assert "Multi-node ceiling:  128" in done.stdout


def test_launcher_warns_that_sbatch_ignores_the_variable_partition(cluster: Cluster) -> None:
    job = cluster.run(
        *("env", "PARTITION=debug", "WORKERS=1"),
        *("sbatch", "--parsable", "deploy/slurm/serve_single.sh"),
    ).stdout.strip()
    log = f"benchmark-env-server_{job}.log"
    deadline = time.monotonic() + 60
    while "OPENENV_URL=" not in (output := cluster.run("cat", log, check=False).stdout):
        assert time.monotonic() < deadline, output
    assert "sbatch ignored PARTITION=debug" in output
    cluster.run("scancel", job)
