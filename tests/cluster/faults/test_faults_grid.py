"""Faults of a grid whose load runs on client nodes: rows stay complete, the error is clear, and no load is
left."""

import csv
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.held import Held, new_scene, Scene
from tests.helpers.local import wait_for

SESSIONS = 12


@dataclass
class Run:
    """A grid that has started."""

    held: Held
    popen: subprocess.Popen[str]
    output: str

    def read(self, name: str) -> str:
        return self.held.cluster.run("cat", f"{self.output}/{name}", check=False).stdout

    @property
    def run(self) -> dict[str, Any]:
        return dict(json.loads(self.read("run.json")))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows; every line must be complete."""
        text = self.read("raw.jsonl")
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    @property
    def kinds(self) -> Counter[str | None]:
        return Counter(row["error_type"] for row in self.rows)

    def result(self, seconds: float = 60) -> tuple[int, str]:
        """The exit code and the output."""
        out, err = self.popen.communicate(timeout=seconds)
        assert "Traceback" not in out + err
        return self.popen.returncode, out + err

    def cells(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.read("summary.csv").splitlines()))


def start_grid(scene: Scene, held: Held, *options: str) -> Run:
    """Starts a grid; returns as soon as the sessions of the second cell are open. They stay open for 60 s
    unless `options` shorten it, so that no test can be too late."""
    output = f"{held.folder}/results-{len(scene.fronts)}"
    argv = ("--url", held.url, "-n", str(SESSIONS), "--wait-grid", "0,60", "--output-dir", output)
    popen = scene.popen("launcher", "grid", *argv, "--load-workers", "2", *options)
    run = Run(held, popen, output)

    def second_cell_is_open() -> bool:
        return run.read("raw.jsonl").count("\n") >= SESSIONS and used(held) >= SESSIONS

    wait_for(lambda: second_cell_is_open() or popen.poll() is not None, 40, "the load runs")
    assert popen.poll() is None, popen.communicate()
    return run


def used(held: Held) -> int:
    """The used places of the only server."""
    (server,) = held.state["servers"]
    url = f"http://{server['address']}:{server['control_port']}/ready"
    return int(json.loads(held.cluster.run("curl", "-s", url, check=False).stdout)["used"])


def no_load_left(scene: Scene) -> None:
    """Waits until no process and no Slurm step of the load is left."""

    def left() -> list[str]:
        steps = scene.cluster.run("squeue", "--steps", "--noheader", "--format=%j").stdout.split()
        return [line for line in scene.left() if "locustfiles" in line] + [
            step for step in steps if step.startswith(("openenv-load", "openenv-samples", "load-"))
        ]

    wait_for(lambda: not left(), 15, f"no load is left: {left()}")


CLIENTS = ("--client-nodes", "2")
BRIEFLY = ("--wait-grid", "0,8")


@pytest.fixture
def scene(cluster: Cluster) -> Iterator[Scene]:
    with new_scene(cluster) as scene:
        yield scene


@pytest.fixture(scope="class")
def client_deployment(cluster: Cluster) -> Iterator[tuple[Scene, Held]]:
    """The server is on node2, the load master on node3, a load worker on node3 and on node4."""
    with new_scene(cluster) as scene:
        yield scene, scene.up("target", 2, *CLIENTS)


@pytest.fixture
def loaded(client_deployment: tuple[Scene, Held]) -> Iterator[tuple[Scene, Held]]:
    scene, held = client_deployment
    yield scene, held
    scene.end_fronts()
    no_load_left(scene)


class TestKilled:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            (
                "locustfiles.grid.worker",
                "load worker load-2 (pid {pid}) on node4 was killed by SIGKILL",
            ),
            ("launcher.runtimes.agent", "load worker load-2 (pid {pid}) on node4 is lost: node4: "),
        ],
        ids=["itself", "its agent"],
    )
    def test_cell_is_repeated_when_a_load_worker_is_killed(
        self, pattern: str, expected: str, loaded: tuple[Scene, Held]
    ) -> None:
        scene, held = loaded
        run = start_grid(scene, held, *BRIEFLY)  # the sessions of the other worker continue
        pid = run.run["placement"]["load"]["load-2"]
        held.kill("node4", pattern)
        code, output = run.result(120)
        assert code == 0
        assert expected.format(pid=pid) in output
        assert "repeating it once" in output
        assert run.kinds == {None: SESSIONS * 5 // 2, "LOAD_WORKER_LOST": SESSIONS // 2}
        assert [(cell["attempt"], cell["valid"]) for cell in run.cells()] == [
            ("1", "True"),
            ("2", "True"),
        ]
        assert run.run["status"] == "complete"

    def test_grid_fails_when_the_load_master_is_killed(self, loaded: tuple[Scene, Held]) -> None:
        scene, held = loaded
        run = start_grid(scene, held)
        held.kill("node3", "locustfiles.grid.master")
        code, output = run.result()
        assert code == 1
        assert "error: the load master " in output
        assert run.kinds == {None: SESSIONS, "INTERRUPTED": SESSIONS}
        assert run.run["status"] == "failed"

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_load_ends_when_the_grid_is_killed(
        self, number: signal.Signals, loaded: tuple[Scene, Held]
    ) -> None:
        scene, held = loaded
        run = start_grid(scene, held)
        if number is signal.SIGKILL:
            held.kill("login", "bin/launcher grid")
        else:
            run.popen.send_signal(number)
        code, _ = run.result()
        assert code == (130 if number is signal.SIGINT else 137)
        assert len(run.rows) == SESSIONS * (2 if number is signal.SIGINT else 1)
        assert run.run["status"] == ("interrupted" if number is signal.SIGINT else "running")

    def test_grid_survives_a_restart_of_slurmctld(self, loaded: tuple[Scene, Held]) -> None:
        scene, held = loaded
        run = start_grid(scene, held, *BRIEFLY)
        scene.cluster.run("daemons", "restart", "slurmctld", user="root")
        assert run.result()[0] == 0
        assert run.kinds == {None: 2 * SESSIONS}
        assert run.run["status"] == "complete"


class TestLost:
    def test_grid_fails_when_the_allocation_ends(self, scene: Scene) -> None:
        held = scene.up("short", 2, *CLIENTS)
        run = start_grid(scene, held)
        scene.cluster.run("scancel", held.job)
        code, output = run.result()
        assert code == 1
        assert f"error: Slurm ended job {held.job}: " in output
        assert len(run.rows) == 2 * SESSIONS
        assert set(run.kinds) <= {None, "INTERRUPTED", "DISCONNECTED", "LOAD_WORKER_LOST"}
        assert next(cell["valid"] for cell in run.cells()) == "True"
        assert run.run["status"] == "failed"
        scene.nothing_left()
        assert held.status().returncode == 1

    @pytest.mark.parametrize("node", ["node3", "node4"])
    def test_grid_fails_when_a_client_node_fails(self, node: str, scene: Scene) -> None:
        held = scene.up("smaller", 2, *CLIENTS)
        run = start_grid(scene, held, *BRIEFLY)
        scene.kill(node)
        code, output = run.result(60)
        assert code == 1
        assert f"{node}: " in output
        assert len(run.rows) == 2 * SESSIONS
        assert [cell["valid"] for cell in run.cells()] == ["True", "False"]
        assert held.status().returncode == 0
        assert held.down().returncode == 0
        scene.nothing_left(40)
