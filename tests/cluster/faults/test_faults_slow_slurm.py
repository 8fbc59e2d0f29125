"""A cluster that takes minutes to notice a dead node, as most do; and draining."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.held import Held, new_scene, Scene
from tests.helpers.local import wait_for


def set_timeout(cluster: Cluster, seconds: int) -> None:
    edit = f"s/^SlurmdTimeout=.*/SlurmdTimeout={seconds}/"
    cluster.run("sed", "-i", edit, "/etc/slurm/slurm.conf", user="root")
    cluster.run("scontrol", "reconfigure", user="root")


@pytest.fixture
def scene(cluster: Cluster) -> Iterator[Scene]:
    shown = cluster.run("scontrol", "show", "config").stdout
    usual = next(line.split()[2] for line in shown.splitlines() if line.startswith("SlurmdTimeout"))
    set_timeout(cluster, 300)
    try:
        with new_scene(cluster) as scene:
            yield scene
    finally:
        set_timeout(cluster, int(usual))


def test_agent_is_replaced_while_slurm_still_reports_a_dead_node_as_up(scene: Scene) -> None:
    held = scene.up("dim", 4)
    scene.kill("node4")
    wait_for(lambda: "server-3 on node4 is lost" in held.events, 90, "node4 is given up")
    assert "2 server(s) are left" in held.events
    held.kill("node2", "launcher.runtimes.agent")
    wait_for(lambda: "replaced (1 of 3)" in held.events, 60, "the agent of node2 is replaced")
    held.wait_healthy("node2", "node3")
    assert held.state["status"] == "ready"
    assert held.succeed()
    assert held.down().returncode == 0
    wait_for(lambda: not scene.left(jobs=False), 15, "no process is left")


def test_sessions_are_drained_when_down_runs_on_another_node(cluster: Cluster) -> None:
    with new_scene(cluster) as scene:
        held = scene.up("gentle", 3, "--drain", "30")
        load = grid(scene, held)
        wait_for(lambda: used(held) == 4, 20, "four sessions are open")
        down = scene.popen("launcher", "down", "gentle")
        assert load.wait(60) == 0
        assert down.wait(60) == 0
        shown = cluster.run("cat", f"{held.folder}/gentle/raw.jsonl").stdout
        assert [json.loads(row)["success"] for row in shown.splitlines()] == [True] * 4
        scene.nothing_left()


def grid(scene: Scene, held: Held) -> "subprocess.Popen[str]":
    where = ("--url", held.url, "--output-dir", f"{held.folder}/gentle")
    return scene.popen("launcher", "grid", *where, "-n", "4", "--wait", "5")


def used(held: Held) -> int:
    status = held.launcher("status", held.name, "--json")
    return sum(place["used"] for place in json.loads(status.stdout)["places"].values())
