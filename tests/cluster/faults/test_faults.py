"""Faults of a deployment on a Slurm cluster, none of which may leave a process or a job behind."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.held import Held, new_scene, Scene
from tests.helpers.local import wait_for


@pytest.fixture
def scene(cluster: Cluster) -> Iterator[Scene]:
    with new_scene(cluster) as scene:
        yield scene


def kill_server(held: Held, pattern: str) -> None:
    """Kills a server and waits until the launcher has noticed."""
    deaths = held.process("server-1")["restarts"]
    held.kill("node2", pattern)
    wait_for(
        lambda: held.process("server-1")["restarts"] > deaths, 10, f"the launcher notices {pattern}"
    )


@pytest.mark.usefixtures("images")
class TestContainers:
    def test_container_is_replaced_on_its_node_until_it_is_killed_too_often(
        self, scene: Scene
    ) -> None:
        held = scene.up("mended", 3, runtime="apptainer")
        for pattern in ("Apptainer runtime", "launcher.system.reaper", "benchmark.server --host"):
            kill_server(held, pattern)
            held.wait_healthy("node2", "node3")
            wait_for(lambda: len(held.pids("node2", "^/.*/squashfuse")) == 1, 10, "one is mounted")
        assert "server-1 on node2 was killed by SIGKILL; replaced (1 of 3)" in held.events
        kill_server(held, "benchmark.server --host")
        wait_for(lambda: "1 server(s) are left" in held.events, 10, "it is given up")
        held.wait_healthy("node3")
        status = held.status()
        assert status.returncode == 0
        assert "4 times within 5 minutes; " in status.stdout
        assert held.succeed()
        assert held.down().returncode == 0
        scene.nothing_left()

    def test_deployment_ends_when_no_server_is_left(self, scene: Scene) -> None:
        held = scene.attach("doomed", 2, runtime="apptainer")
        for _ in range(3):
            kill_server(held, "benchmark.server --host")
            held.wait_healthy("node2")
        held.kill("node2", "benchmark.server --host")
        code, output = held.front_result()
        assert code == 1
        assert "error: server-1 on node2 was killed by SIGKILL, 4 times within 5 minutes" in output
        scene.nothing_left()
        status = held.status()
        assert (status.returncode, "doomed: failed" in status.stdout) == (1, True)
        assert "was already failed" in held.down().stderr
        assert held.status().returncode == 1


class TestKilled:
    def test_killed_process_is_replaced(self, scene: Scene) -> None:
        held = scene.up("parts", 4)
        for node, pattern in (
            ("node2", "benchmark.server.workers.worker"),
            ("node3", "launcher.system.reaper"),
            ("node4", "launcher.runtimes.agent"),
            ("node1", "_bin/envoy"),
            ("node1", "^srun "),
        ):
            held.replaced(node, pattern)
            held.wait_healthy("node2", "node3", "node4")
        assert held.succeed()
        assert held.status().returncode == 0
        assert held.down().returncode == 0
        scene.nothing_left()

    def test_job_ends_when_its_launcher_is_killed(self, scene: Scene) -> None:
        held = scene.attach("headless", 3)
        held.kill("node1", "launcher.lifecycle.batch_holder")
        code, output = held.front_result()
        assert code == 1
        assert "ended: FAILED" in output
        assert "its launcher on node1 reported nothing" in output
        scene.nothing_left()
        status = held.status()
        assert (status.returncode, "headless: gone" in status.stdout) == (1, True)
        assert "was already gone" in held.down().stderr

    @pytest.mark.parametrize("also", ["", "srun"])
    def test_agents_exit_when_the_launcher_in_an_allocation_is_killed(
        self, also: str, scene: Scene
    ) -> None:
        held = scene.salloc("shell", 3, after="sleep 100")
        pattern = "bin/launcher up" + (f"|^{also} " if also else "")
        held.kill("login", pattern)

        def gone() -> bool:
            return not [line for line in scene.left(jobs=False) if "login" not in line]

        wait_for(gone, 15, f"the agents exit: {scene.left()}")
        assert [job.split()[-1] for job in scene.jobs()] == ["RUNNING"]
        status = held.status()
        assert (status.returncode, "shell: gone" in status.stdout) == (1, True)

    def test_job_ends_when_the_waiting_launcher_is_killed(self, scene: Scene) -> None:
        stays = scene.up("stays", 2, "--nodelist", "node5,node6")
        held = scene.attach("orphaned", 2)
        job = held.job
        held.kill("login", "bin/launcher up")
        wait_for(lambda: job not in " ".join(scene.jobs()), 15, "the job ends")
        assert held.status().returncode == 1
        assert stays.healthy() == {"node6"}
        assert stays.down().returncode == 0
        scene.nothing_left()


class TestNodes:
    def test_envoy_stops_routing_to_a_failed_node_within_four_seconds(self, scene: Scene) -> None:
        held = scene.attach("smaller", 4)
        address = next(s["address"] for s in held.state["servers"] if s["name"] == "node3")
        counted = f"curl -s node1:9901/clusters | grep -q '::{address}:.*health_flags::healthy'"
        watch = scene.popen("sh", "-c", f"echo; while {counted}; do sleep 0.05; done")
        assert watch.stdout is not None
        watch.stdout.readline()
        started = time.monotonic()
        scene.kill("node3")
        assert watch.wait(10) == 0
        # Envoy's settings allow four (a unit test adds them up); the rest is slack for a busy machine.
        assert time.monotonic() - started < 4 + 3
        assert held.succeed()
        wait_for(lambda: "lost node3" in held.events, 60, "Slurm tells")
        status = held.status()
        assert status.returncode == 0
        assert "Envoy reports node3 as unhealthy" in status.stdout
        assert "smaller: ready" in status.stdout
        assert held.front is not None
        held.front.send_signal(signal.SIGINT)
        assert held.front_result()[0] == 0
        scene.nothing_left()

    def test_deployment_ends_when_the_node_of_envoy_fails(self, scene: Scene) -> None:
        attached = scene.attach("attached", 2, "--silence-timeout", "60")  # Slurm reports it first
        detached = scene.up("detached", 2, "--nodelist", "node3,node4")
        scene.kill("node1", "node3")
        code, output = attached.front_result(90)
        assert code == 1
        assert "node node1, which ran Envoy and the launcher, has failed" in output or (
            "NODE_FAIL (NodeDown); its launcher on node1 reported nothing" in output
        )
        scene.nothing_left(90)
        for held in (attached, detached):
            status = held.status()
            assert (status.returncode, f"{held.name}: gone" in status.stdout) == (1, True)
            assert held.down().returncode == 0


class TestSlurm:
    def test_deployment_survives_a_restart_of_the_controller(self, scene: Scene) -> None:
        held = scene.attach("unruled", 3, "--silence-timeout", "60")
        scene.cluster.run("daemons", "stop", "slurmctld", user="root")
        stopped = time.monotonic()
        try:
            held.replaced("node2", "launcher.system.reaper")
            held.wait_healthy("node2", "node3")
            wait_for(lambda: time.monotonic() - stopped > 10, 11, "it is away for long")
        finally:
            scene.cluster.run("daemons", "start", "slurmctld", user="root")
        held.replaced(
            "node3", "launcher.runtimes.agent"
        )  # refused at first: nodes are not known yet
        held.wait_healthy("node2", "node3")
        scene.cluster.run("daemons", "restart", "slurmctld", user="root")
        assert held.succeed()
        assert held.front is not None
        assert held.front.poll() is None
        held.front.send_signal(signal.SIGTERM)
        assert held.front_result()[0] == 0
        scene.nothing_left()
