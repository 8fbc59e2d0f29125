"""Ways in which Slurm ends a deployment, and `launcher down` at any time."""

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.held import FOLDER, Held, new_scene, Scene, SHORT
from tests.helpers.local import wait_for


@pytest.fixture
def scene(cluster: Cluster) -> Iterator[Scene]:
    with new_scene(cluster) as scene:
        yield scene


def scancel(held: Held, scene: Scene) -> None:
    scene.cluster.run("scancel", held.job)


def scancel_step(held: Held, scene: Scene) -> None:
    scene.cluster.run("scancel", f"{held.job}.0")


def preempt(held: Held, scene: Scene) -> None:
    shape = ("--nodelist=node1,node2", "--exclusive", "--nodes=2", "--output=/dev/null")
    scene.cluster.run("sbatch", *shape, "--wrap", "exit 0")


def requeue(held: Held, scene: Scene) -> None:
    refused = scene.cluster.run("scontrol", "requeue", held.job, check=False)
    assert refused.returncode != 0
    assert held.healthy() == {"node2"}
    scene.cluster.run("scancel", held.job)


def resize_time(held: Held, scene: Scene) -> None:
    """The shortest time limit is a minute; Slurm checks it every half minute."""
    change = (f"jobid={held.job}", "EndTime=now+1")
    scene.cluster.run("scontrol", "update", *change, user="root")


class TestEndedBySlurm:
    @pytest.mark.parametrize(
        ("end", "expected", "status_text"),
        [
            (scancel, "Slurm ended job {job}: ", "Slurm job {job}: CANCELLED"),
            (scancel_step, "its Slurm step was cancelled: ", "Slurm job {job}: FAILED"),
            (preempt, "Slurm ended job {job}: ", "Slurm job {job}: PREEMPTED"),
            (requeue, "Slurm ended job {job}: ", "Slurm job {job}: CANCELLED"),
            (resize_time, "Slurm ended job {job}: ", "Slurm job {job}: TIMEOUT"),
        ],
    )
    def test_deployment_ends_cleanly_and_reports_the_reason(
        self, end: Callable[[Held, Scene], None], expected: str, status_text: str, scene: Scene
    ) -> None:
        options = ("--partition", "low") if end is preempt else ()
        held = scene.attach("taken", 2, *options)
        job = held.job
        end(held, scene)
        code, output = held.front_result(60)
        assert code == 1
        assert output.splitlines()[-1].startswith(f"error: {expected.format(job=job)}"), output
        scene.nothing_left()
        status = held.status()
        assert status.returncode == 1
        assert "taken: ended" in status.stdout
        assert status_text.format(job=job) in status.stdout
        assert f"Reason={job}" not in scene.cluster.run("squeue").stdout
        assert "was already ended" in held.down().stderr


class TestDown:
    def start(self, scene: Scene, name: str, *options: str) -> subprocess.Popen[str]:
        """A deployment that never becomes ready."""
        folder = f"{FOLDER}/{name}"
        code = "import time; time.sleep(600); app = None"
        argv = ("launcher", "up", "--name", name, "--dir", folder, "--nodes", "2", *SHORT, *options)
        script = f"mkdir -p {folder}; cd {folder}; echo {shlex.quote(code)} > slow.py; exec "
        script += shlex.join((*argv, "--runtime", "venv", "--app", "slow:app"))
        return scene.popen("sh", "-c", script)

    def test_down_stops_a_deployment_that_is_starting(self, scene: Scene) -> None:
        front = self.start(scene, "begun")
        held = Held(scene.cluster, "begun", front)
        wait_for(lambda: held.pid("server-1"), 20, "the server is being started")
        assert held.down().returncode == 0
        code, output = held.front_result()
        assert code == 1
        assert "error: begun was stopped" in output
        scene.nothing_left()
        assert "no deployment named 'begun'" in held.down().stderr

    def test_down_cancels_a_queued_job(self, scene: Scene) -> None:
        front = self.start(scene, "queued", "--sbatch=--begin=now+1hour")
        held = Held(scene.cluster, "queued", front)
        wait_for(lambda: "PENDING" in " ".join(scene.jobs()), 20, "the job waits")
        wait_for(lambda: held.status().returncode == 0, 10, "it is listed")
        assert "Slurm job" in held.status().stdout
        assert held.down().returncode == 0
        code, output = held.front_result()
        assert code == 1
        assert "CANCELLED" in output
        scene.nothing_left()
        assert "no deployment named 'queued'" in held.down().stderr

    def test_down_can_run_twice_concurrently_and_again(self, scene: Scene) -> None:
        held = scene.up("double", 2)
        both = [scene.popen("launcher", "down", "double", node=node) for node in ("node5", "login")]
        ends = [down.communicate(timeout=30) for down in both]
        assert [down.returncode for down in both] == [0, 0], ends
        scene.nothing_left()
        again = held.down()
        assert (again.returncode, "no deployment named 'double'" in again.stderr) == (1, True)

    def test_down_on_a_node_stops_a_deployment_held_on_the_login_node(self, scene: Scene) -> None:
        held = scene.salloc("remote", 2)
        started = time.monotonic()
        done = held.down("node1")
        assert (done.returncode, done.stderr.strip()) == (0, "remote is down")
        assert time.monotonic() - started < 20  # nobody uses it, so nothing is waited for
        code, output = held.front_result()
        assert (code, "ended with 0" in output) == (0, True)
        scene.nothing_left()
        assert held.status().returncode == 1
