"""Sampling of all nodes of a Slurm job, which leaves nothing behind."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.cluster_user import Alice, as_alice
from tests.helpers.local import wait_for

NODES = ("--nodes", "3", "--client-nodes", "1")
VENV = ("--runtime", "venv", *NODES)
TOP = (
    "from launcher.cli.main import run; from launcher.cli.top import top; run(top, 'launcher top')"
)
SERVING = {("node1", "envoy"), ("node2", "server-1"), ("node3", "server-2")}
LOAD = {("node4", name) for name in ("load-master", "load-1", "load-2")}

pytestmark = pytest.mark.timeout(120, method="signal", func_only=True)


@pytest.fixture
def alice(cluster: Cluster) -> Iterator[Alice]:
    with as_alice(cluster) as alice:
        yield alice


def samples(alice: Alice, output: str) -> list[dict[str, Any]]:
    """The complete lines."""
    lines = alice.run("cat", f"{output}/samples.jsonl").stdout.split("\n")[:-1]
    return [json.loads(line) for line in lines]


def processes(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["node"], each["name"]) for each in found if each["kind"] == "process"}


def steps(alice: Alice) -> list[str]:
    names = alice.run("squeue", "--steps", "--noheader", "--format=%j", check=True).stdout
    return [name for name in names.split() if name.startswith("openenv-")]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("runtime", ["venv", "apptainer"])
def test_sampler_samples_every_node_while_a_grid_runs(runtime: str, alice: Alice) -> None:
    front = alice.hold(*NODES, "--runtime", runtime)
    output = "/tmp/results"  # only on the login node
    alice.break_node("login", "true", f"rm -rf {output}")
    argv = ("--requests-grid", "10,20", "--wait", "2", "--load-workers", "2")
    grid = alice.launch("grid", *argv, "--output-dir", output)
    assert grid.returncode == 0, grid.stderr
    assert steps(alice) == ["openenv-openenv"]
    found = samples(alice, output)
    for cell in (1, 2):
        within = [sample for sample in found if sample["cell"] == cell]
        assert processes(within) == SERVING | LOAD
        assert {each["node"] for each in within if each["kind"] == "node"} == {
            *("node1", "node2", "node3", "node4")
        }
        kinds = {(each["node"], each["kind"]) for each in within}
        assert {("node1", "envoy"), ("node2", "places"), ("node3", "places")} <= kinds
        counted = [each["downstream_cx_total"] for each in within if each["kind"] == "envoy"]
        assert counted[-1] >= 10 * cell
    fullest = max(each["used"] for each in found if each["kind"] == "places")
    assert 0 < fullest <= 20
    front.send_signal(signal.SIGINT)
    assert alice.ended(front).returncode == 0
    alice.nothing_left()


def test_top_shows_all_nodes_from_any_node(alice: Alice) -> None:
    front = alice.hold(*VENV)
    for node in ("login", "node3"):
        argv = ("python", "-c", TOP, "--once", "--json", "--interval", "0.5")
        done = alice.run(*argv, node=node)
        assert (done.returncode, done.stderr) == (0, "")
        snapshot = json.loads(done.stdout)
        rows = [(row["node"], row["name"]) for row in snapshot["processes"] if row["pid"]]
        assert set(rows) == SERVING
        assert [row["node"] for row in snapshot["nodes"]] == ["node1", "node2", "node3", "node4"]
        assert snapshot["envoy"]["membership_healthy"] == snapshot["envoy"]["membership_total"] > 1
    assert steps(alice) == ["openenv-openenv"]
    front.send_signal(signal.SIGINT)
    assert alice.ended(front).returncode == 0
    alice.nothing_left()


@pytest.mark.parametrize("victim", ["launcher.* grid", "^srun .*--job-name=openenv-samples"])
def test_sampler_leaves_nothing_when_killed(victim: str, alice: Alice) -> None:
    front = alice.hold(*VENV)
    grid = alice.spawn("launcher", "grid", "-n", "10", "--wait", "5", "--output-dir", "out")
    wait_for(lambda: processes(samples(alice, "out")) >= SERVING, 30, "nodes are sampled")
    assert "openenv-samples" in steps(alice)
    alice.run("pkill", "-KILL", "-f", "--", victim, check=True)
    wait_for(lambda: "openenv-samples" not in steps(alice), 20, "the step is gone")
    done = alice.ended(grid)
    if victim.startswith("launcher"):
        assert done.returncode != 0
    else:
        assert done.returncode == 0, done.stderr
        assert "sampling has ended" in done.stderr
    front.send_signal(signal.SIGINT)
    assert alice.ended(front).returncode == 0
    alice.nothing_left()
