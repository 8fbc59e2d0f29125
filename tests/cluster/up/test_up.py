"""Deployments on a Slurm cluster, started from every place from which users start them."""

import json
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.cluster_user import Alice, as_alice, FOLDER, HOME, UP
from tests.helpers.local import wait_for

VENV = ("--runtime", "venv")
OTHER_PORTS = ("--server-port", "8100", "--envoy-port", "8200", "--admin-port", "8300")
ALL_HOSTS = ("--wait", "0.1", "--load-workers", "2", "--require-hosts", "--expected-hosts")

pytestmark = pytest.mark.timeout(120, method="signal", func_only=True)


@pytest.fixture
def alice(cluster: Cluster) -> Iterator[Alice]:
    with as_alice(cluster) as alice:
        yield alice


def run_json(alice: Alice, folder: str) -> Any:
    return json.loads(alice.run("cat", f"{folder}/run.json", check=True).stdout)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("runtime", ["venv", "apptainer"])
def test_up_on_the_login_node_holds_a_job_until_ctrl_c(runtime: str, alice: Alice) -> None:
    front = alice.hold("--nodes", "5", "--runtime", runtime)
    status = alice.launch("status")
    assert status.returncode == 0
    assert status.stdout.startswith("openenv: ready  http://node1:8000")
    grid = alice.launch("grid", "-n", "40", *ALL_HOSTS, "4", "--json")
    assert grid.returncode == 0, grid.stderr
    assert json.loads(grid.stdout)[0]["unique_hosts"] == 4
    assert "2 load worker(s) on login\n" in grid.stderr
    front.send_signal(signal.SIGINT)
    done = alice.ended(front)
    assert done.returncode == 0
    assert "error" not in done.stderr
    alice.nothing_left()
    assert alice.launch("status").returncode == 1


@pytest.mark.parametrize("nodes", [3, 6])
def test_command_receives_the_connection_and_up_returns_its_exit_code(
    nodes: int, alice: Alice
) -> None:
    script = 'env; squeue --steps --noheader --format="STEP %i"; exit 7'
    command = ("--", "sh", "-c", script)
    done = alice.launch(*UP, *VENV, "--nodes", str(nodes), *command)
    assert done.returncode == 7, done.stderr
    output = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert output["OPENENV_URL"] == "http://node1:8000"
    assert output["WORKER_NODES"].split() == [f"node{n}" for n in range(2, nodes + 1)]
    assert output["NUM_WORKERS"] == str(nodes - 1)
    steps = [line for line in done.stdout.splitlines() if line.startswith("STEP")]
    assert len(steps) == 2  # the agents' step and the batch script, whatever the number of nodes
    alice.nothing_left()


def test_two_detached_deployments_run_concurrently(alice: Alice) -> None:
    assert alice.launch(*UP, *VENV, "--detach", "--name", "left").returncode == 0
    right = alice.launch(*UP, *VENV, "--detach", "--name", "right", *OTHER_PORTS)
    assert right.stdout == "OPENENV_URL=http://node1:8200\n", right.stderr
    assert "stop it with: launcher down right" in right.stderr
    for node in ("login", "node1", "node4"):
        status = alice.launch("status", "left", node=node)
        assert status.returncode == 0, status.stderr
        assert status.stdout.startswith("left: ready  http://node1:8000")
    logs = alice.launch("logs", "right", node="node1").stdout
    assert "server-1 | Node: node2" in logs
    assert alice.launch("preflight", "--name", "right", node="node4").returncode == 0
    again = alice.launch(*UP, *VENV, "--name", "left", node="node4")
    assert "'left' is already up" in again.stderr
    following = alice.spawn("launcher", "logs", "-f", "right")
    assert following.stdout is not None
    assert next(line for line in following.stdout if "Serving" in line)
    assert alice.launch("down", "right", node="node1").stderr == "right is down\n"
    followed = alice.ended(following)
    assert (followed.returncode, "stopping: SIG" in followed.stdout) == (0, True)
    assert alice.launch("status", "left").returncode == 0
    assert alice.launch("down", "left").stderr == "left is down\n"
    alice.nothing_left()


def test_up_uses_the_allocation_that_it_runs_in(alice: Alice) -> None:
    within = ("salloc", "--quiet", "--nodes=3", "--cpus-per-task=2")
    plan = json.loads(alice.run(*within, "launcher", "plan", *VENV, "--json", check=True).stdout)
    script = "launcher status >&2; cat envoy-config-generated.yaml; exit 4"
    done = alice.run(*within, "launcher", "up", *VENV, "--drain", "0", "--", "sh", "-c", script)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("openenv: ready  http://node1:8000")
    assert done.stdout == plan["envoy_config"]
    assert plan["sbatch"] is None
    assert plan["connection"]["WORKER_NODES"] == "node2 node3"
    assert plan["connection"]["WORKERS_PER_NODE"] == "2"
    alice.nothing_left()


def test_grid_in_a_batch_script_reports_that_the_load_shares_a_node(alice: Alice) -> None:
    grid = shlex.join(("launcher", "grid", "-n", "20", *ALL_HOSTS, "2", "--output-dir", "out"))
    up = shlex.join(("launcher", "up", *VENV, "--drain", "0", "--", "sh", "-c", grid))
    alice.write("job.sh", f"#!/bin/sh\n{up}\n")
    options = ("--wait", "--nodes=3", "--output=job.log")
    done = alice.run("sbatch", *options, "job.sh")
    log = alice.run("cat", "job.log").stdout
    assert done.returncode == 0, log
    assert "2 load worker(s) on node1, which also runs what is measured" in log
    assert run_json(alice, "out")["placement"]["load_shares_node"] is True
    alice.nothing_left()


def test_up_uses_both_components_of_a_heterogeneous_job(alice: Alice) -> None:
    within = ("salloc", "--quiet", "--nodes=1", "--cpus-per-task=2", ":", "--nodes=2")
    grid = shlex.join(("launcher", "grid", "-n", "20", *ALL_HOSTS, "2", "--json"))
    script = f"squeue --steps --noheader >&2; {grid}"
    up = ("launcher", "up", *VENV, "--drain", "0")
    done = alice.run(*within, *up, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["unique_hosts"] == 2
    assert done.stderr.count("openenv-") == 2  # a step for each component
    alice.nothing_left()


@pytest.mark.usefixtures("images")
def test_client_nodes_run_the_load_and_serve_the_page(alice: Alice) -> None:
    alice.hold("--nodes", "3", "--client-nodes", "1")
    output = "/tmp/results"  # not shared: only on the login node
    alice.break_node("login", "true", f"rm -rf {output}")
    grid = alice.launch("grid", "-n", "20", *ALL_HOSTS, "2", "--output-dir", output)
    assert grid.returncode == 0, grid.stderr
    assert "2 load worker(s) on client node(s) node4" in grid.stderr
    placement = run_json(alice, output)["placement"]
    assert set(placement["load_nodes"]) == {"node4"}
    assert placement["load_shares_node"] is False
    assert len(alice.run("cat", f"{output}/raw.jsonl").stdout.splitlines()) == 20
    ui = alice.spawn("launcher", "ui")
    assert ui.stdout is not None
    address = ui.stdout.readline().strip()
    assert address == "http://node4:8089"
    page = alice.run("curl", "--silent", "--fail", address)
    assert "<html" in page.stdout
    ui.send_signal(signal.SIGINT)
    assert alice.ended(ui).returncode == 0
    alice.spawned[0].send_signal(signal.SIGINT)
    assert alice.ended(alice.spawned[0]).returncode == 0
    alice.nothing_left()


@pytest.mark.usefixtures("images")
def test_plan_shows_what_the_submitted_job_runs(alice: Alice) -> None:
    chosen = (*UP[1:], "--nodes", "3", "--client-nodes", "1", "--time", "10:00", "--dir", "here")
    planned = alice.launch("plan", *chosen, "--json")
    assert planned.returncode == 0, planned.stderr
    assert alice.run("ls").stdout == ""
    output = alice.launch("plan", *chosen).stdout
    job = json.loads(planned.stdout)
    assert {"--nodes=4", "--time=10:00", "--cpus-per-task=1"} <= set(job["sbatch"])
    assert output.startswith(
        f"{shlex.join(job['sbatch'])}\n# {FOLDER}/here/openenv-job.sh\n#!/bin/sh\n"
    )
    done = alice.launch("up", *chosen, "--", "cat", "here/openenv-job.sh", check=True)
    assert done.stdout == job["batch_script"]
    state = alice.state("here")
    config = alice.run("cat", "here/envoy-config-generated.yaml").stdout
    lines = zip(job["envoy_config"].splitlines(), config.splitlines(), strict=True)
    differ = [(ours, theirs) for ours, theirs in lines if ours != theirs]
    assert all("NODE_" in ours or "type: S" in ours for ours, theirs in differ), differ
    names = [f"NODE_{number}" for number in (1, 2, 3)]
    assert [process["node"] for process in job["processes"]] == names
    assert [process["node"] for process in state["processes"]] == ["node1", "node2", "node3"]
    assert f"{HOME}/.local/share/openenv-slurm/images/envoy.sif" in job["processes"][0]["argv"]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("runtime", ["venv", "apptainer"])
def test_two_envoys_share_the_url_and_a_killed_one_is_replaced(runtime: str, alice: Alice) -> None:
    asked = ("--nodes", "3", "--runtime", runtime, "--sessions", "15000", "--cpus-per-task", "1")
    front = alice.hold(*asked)
    state = json.loads(alice.launch("status", "--json").stdout)
    envoys = [each for each in state["processes"] if each["role"] == "envoy"]
    assert [(each["name"], each["node"]) for each in envoys] == [
        ("envoy", "node1"),
        ("envoy-2", "node1"),
    ]
    assert (state["envoy_sessions"] >= 15_000, state["capacity"] >= 15_000) == (True, True)
    second = "envoy-config-generated-2.yaml"
    kill = ("pkill", "-KILL", "-u", "alice", "-f", "--", f"envoy --config-path .*{second}")
    alice.cluster.run(*kill, node="node1", user="root")
    wait_for(lambda: "envoy-2 on node1" in alice.launch("status").stdout, 30, "it is reported")
    wait_for(lambda: alice.launch("preflight").returncode == 0, 30, "everything is healthy again")
    grid = alice.launch("grid", "-n", "40", *ALL_HOSTS, "2", "--json")
    assert grid.returncode == 0, grid.stderr
    top = json.loads(alice.launch("top", "--once", "--json").stdout)
    assert {"envoy", "envoy-2"} <= {row["name"] for row in top["processes"] if "pid" in row}
    front.send_signal(signal.SIGINT)
    alice.ended(front)
    alice.nothing_left()
