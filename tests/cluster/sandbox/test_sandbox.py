"""The virtual Slurm cluster itself."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.cluster import Cluster, namespaces_of, running, SANDBOX, sandbox, traces
from tests.helpers.local import wait_for

pytestmark = pytest.mark.usefixtures("machine")

IMAGES = "/home/alice/.local/share/openenv-slurm/images"
NODES = [f"node{number}" for number in range(1, 7)]
NAME = f"test-{os.getpid()}-own"
DEFINITION = """\
Bootstrap: debootstrap
OSVersion: trixie
MirrorURL: {{ MIRROR }}
%arguments
  MIRROR=none
"""


def lines(text: str) -> list[str]:
    return sorted(text.split())


def state(cluster: Cluster, job: str) -> str:
    shown = cluster.run("scontrol", "--oneliner", "show", "job", job).stdout
    found = re.search(r"JobState=(\w+)", shown)
    assert found
    return found[1]


def submit(cluster: Cluster, *options: str, script: str = "exec sleep 300") -> str:
    argv = ["sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script]
    return cluster.run(*argv).stdout.strip()


@pytest.fixture
def job(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Submits jobs that are cancelled afterwards."""
    submitted = []

    def submitting(*options: str) -> str:
        submitted.append(submit(cluster, *options))
        return submitted[-1]

    yield submitting
    cluster.run("scancel", *submitted)


class TestSlurm:
    def test_every_node_runs_a_task(self, cluster: Cluster) -> None:
        assert lines(cluster.run("srun", "-N6", "hostname").stdout) == NODES

    def test_batch_script_runs(self, cluster: Cluster) -> None:
        argv = ["sbatch", "--wait", "-N2", "--output=/home/alice/batch.out"]
        cluster.run(*argv, "--wrap", "srun hostname; id --user --name")
        written = cluster.run("cat", "/home/alice/batch.out").stdout
        assert lines(written) == ["alice", "node1", "node2"]

    def test_heterogeneous_job_runs(self, cluster: Cluster) -> None:
        argv = ["salloc", "-N1", ":", "-N2", "srun", "--het-group=0,1", "hostname"]
        assert lines(cluster.run(*argv).stdout) == ["node1", "node2", "node3"]

    def test_partitions_contain_all_nodes(self, cluster: Cluster) -> None:
        shown = cluster.run("sinfo", "--noheader", "--format=%P %D %c %m").stdout
        claim = "6 64 256000"
        assert shown.splitlines() == [f"hopper-cpu* {claim}", f"debug {claim}", f"low {claim}"]

    def test_jobs_share_a_node(self, cluster: Cluster, job: Callable[..., str]) -> None:
        jobs = [job("--nodelist=node1", "--ntasks=8") for _ in range(2)]
        wait_for(lambda: all(state(cluster, one) == "RUNNING" for one in jobs), 20, "both run")

    def test_job_in_the_low_partition_is_preempted(
        self, cluster: Cluster, job: Callable[..., str]
    ) -> None:
        low = job("--partition=low", "-N6", "--exclusive")
        wait_for(lambda: state(cluster, low) == "RUNNING", 20, "the low job runs")
        high = job("-N6", "--exclusive")
        wait_for(lambda: state(cluster, high) == "RUNNING", 30, "the other takes its place")
        assert state(cluster, low) == "PREEMPTED"

    def test_jobs_survive_a_restart_of_the_controller(
        self, cluster: Cluster, job: Callable[..., str]
    ) -> None:
        running_job = job("-N1")
        wait_for(lambda: state(cluster, running_job) == "RUNNING", 20, "the job runs")
        cluster.run("daemons", "restart", "slurmctld", user="root")
        wait_for(lambda: state(cluster, running_job) == "RUNNING", 20, "the job still runs")

    def test_node_survives_the_death_of_its_slurmd(self, cluster: Cluster) -> None:
        cluster.run("pkill", "-KILL", "-x", "slurmd", node="node2", user="root")
        cluster.run("daemons", "start", "slurmd", node="node2", user="root")
        assert cluster.run("srun", "-w", "node2", "hostname").stdout == "node2\n"


class TestNodes:
    def test_node_names_resolve_on_every_node(self, cluster: Cluster) -> None:
        for node in ("login", "node6"):
            cluster.run("ping", "-c1", "-W5", "node1", node=node, user="root")
            cluster.run("ping", "-c1", "-W5", "login", node=node, user="root")

    def test_home_is_shared_and_tmp_is_not(self, cluster: Cluster) -> None:
        cluster.run("touch", "/home/alice/seen", "/tmp/unseen", node="node1")
        cluster.run("test", "-e", "/home/alice/seen", node="node2")
        cluster.run("test", "!", "-e", "/tmp/unseen", node="node2")

    def test_project_is_installed(self, cluster: Cluster) -> None:
        program = "import fastapi, launcher, sys; print(launcher.__file__, sys.prefix)"
        shown = cluster.run("python", "-c", program).stdout.split()
        project = "/home/alice/openenv-slurm"
        assert shown == [f"{project}/launcher/__init__.py", f"{project}/.venv"]

    def test_nodes_have_no_internet_unless_online(self, cluster: Cluster) -> None:
        assert cluster.run("ip", "route", "show", "default").stdout == ""
        here = Path("/proc/self/net/dev").read_text()
        there = cluster.run("cat", "/proc/self/net/dev", online=True).stdout
        names = [re.findall(r"^ *(\S+):", text, re.MULTILINE) for text in (here, there)]
        assert names[0] == names[1]

    def test_image_built_in_the_sandbox_runs_on_every_node(self, cluster: Cluster) -> None:
        image = f"{IMAGES}/test-sandbox.sif"
        if cluster.run("test", "-e", image, check=False).returncode:
            cluster.run("sh", "-c", "cat > test.def", input=DEFINITION)
            build = "apptainer build --fakeroot --build-arg MIRROR=$OPENENV_SANDBOX_MIRROR"
            cluster.run("sh", "-c", f"{build} {image} test.def", online=True, timeout=600)
        done = cluster.run("srun", "-N6", "apptainer", "exec", image, "hostname")
        assert lines(done.stdout) == NODES

    def test_killed_node_is_down_until_it_is_started(self, cluster: Cluster) -> None:
        def shown() -> str:
            return cluster.run("sinfo", "-N", "-h", "-n", "node6", "-o", "%T").stdout

        cluster.kill("node6")
        try:
            refused = cluster.run("true", node="node6", check=False)
            assert refused.returncode == 1
            assert refused.stderr.startswith("error: node6 ")
            cluster.run("sh", "-c", "! ping -c1 -W1 node6", user="root")
            wait_for(lambda: "down" in shown(), 90, "Slurm counts node6 down")
        finally:
            cluster.start("node6")
        assert cluster.run("srun", "-w", "node6", "hostname").stdout == "node6\n"


class TestRun:
    def test_run_passes_on_streams_and_exit_code(self, cluster: Cluster) -> None:
        done = cluster.run("sh", "-c", "cat; echo no >&2; exit 7", input="yes\n", check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("yes\n", "no\n", 7)

    def test_run_passes_on_signals(self, cluster: Cluster) -> None:
        script = 'trap "echo terminated; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
        with cluster.popen("sh", "-c", script) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.terminate()
            assert process.stdout.read() == "terminated\n"
        assert process.returncode == 5

    def test_interrupt_reaches_the_process_group_as_from_a_terminal(self, cluster: Cluster) -> None:
        script = "sh -c 'echo ready; exec sleep 60'; echo after"
        with cluster.popen("bash", "-c", script) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == ""
        assert process.returncode == 128 + signal.SIGINT

    def test_command_receives_sighup_when_run_is_killed(self, cluster: Cluster) -> None:
        script = 'trap "touch ~/hung-up; exit" HUP; echo ready; while :; do sleep 0.05; done'
        with cluster.popen("sh", "-c", script) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.kill()
            assert process.stdout.read() == ""
        cluster.run("test", "-e", "/home/alice/hung-up")

    def test_shell_runs_on_a_terminal(self, cluster: Cluster) -> None:
        ours, theirs = os.openpty()
        argv = [*SANDBOX, "shell", "--name", cluster.name]
        with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            os.write(ours, b"tty; pwd; exit 3\n")
            shown = b""
            with contextlib.suppress(OSError):  # the terminal's other end is closed
                while text := os.read(ours, 65536):
                    shown += text
        os.close(ours)
        assert b"/dev/pts/" in shown
        assert b"/home/alice/openenv-slurm" in shown
        assert process.returncode == 3

    def test_usage_errors_are_one_line(self, cluster: Cluster) -> None:
        for code, message, arguments in [
            (127, "error: nonsense: no such command on login", ["--", "nonsense"]),
            (2, "error: --cwd /nowhere on login: No such file", ["--cwd", "/nowhere", "--", "ls"]),
            (2, "error: no node 'node9' in the sandbox", ["--node", "node9", "--", "ls"]),
            (2, "error: run requires a command", []),
        ]:
            done = sandbox("run", "--name", cluster.name, *arguments, check=False)
            assert done.returncode == code
            assert done.stderr.startswith(message)
            assert done.stderr.count("\n") == 1


class TestLifecycle:
    def test_second_up_is_refused(self, cluster: Cluster) -> None:
        refused = sandbox("up", "--name", cluster.name, check=False)
        assert refused.returncode == 2
        assert "is already up" in refused.stderr

    def test_up_requires_root(self) -> None:
        argv = ["unshare", "--user", *SANDBOX, "up"]
        refused = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "run it as root" in refused.stderr

    def test_no_process_survives_the_holder(self) -> None:
        with running(NAME, "--nodes", "1", "--no-venv"):
            namespaces = namespaces_of(NAME)
            holder = Path("/var/lib/openenv-sandbox") / NAME / "holder"
            os.kill(int(holder.read_text().split()[0]), signal.SIGKILL)
            folder = str(holder.parent)
            wait_for(lambda: traces(NAME, namespaces) == [folder], 10, "only the folder is left")
            assert "is not up" in sandbox("run", "--name", NAME, "--", "ls", check=False).stderr
            sandbox("up", "--name", NAME, "--nodes", "1", "--no-venv")

    def test_interrupted_up_leaves_nothing(self) -> None:
        argv = [*SANDBOX, "up", "--name", NAME, "--nodes", "4"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            init = Path("/var/lib/openenv-sandbox") / NAME / "nodes/node1/init"
            wait_for(init.exists, 60, "node1 starts")
            namespaces = namespaces_of(NAME)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 128 + signal.SIGINT
            assert process.stderr
            assert process.stderr.read() == "interrupted\n"
        assert namespaces
        assert not traces(NAME, namespaces)

    def test_quota_limits_the_cpu_time_of_a_node(self) -> None:
        burn = "import time; a = time.monotonic()\nwhile time.monotonic() < a + 2: pass\n"
        burn += "print(time.process_time() / (time.monotonic() - a))"
        options = ("--cpu-quota", "0.2", "--no-quota", "node2", "--no-venv")
        with running(NAME, "--nodes", "2", *options) as own:
            for argv in (["python3"], ["srun", "-w", "node1", "python3"]):
                share = own.run(*argv, "-c", burn, node="node1").stdout
                assert 0 < float(share) < 0.26
            groups = [own.run("cat", "/proc/self/cgroup", node=f"node{n}").stdout for n in (1, 2)]
            assert ["openenv-sandbox" in group for group in groups] == [True, False]
