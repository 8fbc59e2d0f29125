"""Errors on a Slurm cluster: each is reported on one line, and nothing is left running."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.cluster_user import (
    Alice,
    as_alice,
    assert_error,
    Done,
    FOLDER,
    HOME,
    PROJECT,
    UP,
)
from tests.helpers.local import wait_for

SHORT = (*UP, "--runtime", "venv", "--nodes", "3")
CONTAINERS = (*UP, "--runtime", "apptainer", "--nodes", "3")
APP = ("--app", "benchmark.server.app:app")
IMAGES = f"{HOME}/.local/share/openenv-slurm/images"
SLOW = "import time\ntime.sleep(60)\napp = None\n"
CHROOT = "mkdir /chroot; mount --rbind / /chroot; daemons stop slurmd; chroot /chroot slurmd"
NO_CHROOT = "daemons stop slurmd; umount -R -l /chroot; rmdir /chroot; daemons start slurmd"

pytestmark = pytest.mark.timeout(120, method="signal", func_only=True)


@pytest.fixture
def alice(cluster: Cluster) -> Iterator[Alice]:
    with as_alice(cluster) as alice:
        yield alice


@pytest.fixture
def fails(alice: Alice) -> Iterator[Callable[..., Done]]:
    """Runs a command that must fail and leave nothing behind."""

    def failing(*argv: str, expected: str, code: int = 1, within: tuple[str, ...] = ()) -> Done:
        done = alice.run(*within, "launcher", *argv)
        assert_error(done, expected, code)
        return done

    yield failing
    alice.nothing_left()


def listening(alice: Alice, node: str, port: int) -> None:
    """A server of another user."""
    alice.spawn("python3", "-m", "http.server", str(port), node=node)
    asked = ("curl", "--silent", "--output", "/dev/null", f"http://{node}:{port}")
    wait_for(lambda: alice.run(*asked).returncode == 0, 10, f"{port} on {node} is taken")


def usable(cluster: Cluster) -> bool:
    states = cluster.run("sinfo", "--noheader", "--format=%T", check=False).stdout
    return set(states.split()) == {"idle"}


class TestSlurm:
    def test_up_fails_without_slurm(self, alice: Alice) -> None:
        path = f"PATH={PROJECT}/.venv/bin"
        done = alice.run(path, "launcher", *SHORT)
        assert_error(
            done, "Slurm is not installed here: sbatch is not on PATH; run this on a login node", 2
        )

    def test_up_fails_when_the_controller_does_not_answer(
        self, cluster: Cluster, alice: Alice
    ) -> None:
        alice.break_node(
            "login", "daemons stop slurmctld", "pgrep slurmctld || daemons start slurmctld"
        )
        started = time.monotonic()
        done = alice.launch(*SHORT)
        assert time.monotonic() - started < 35
        assert_error(done, "Unable to contact slurm controller (connect failure); the command was")
        cluster.run("daemons", "start", "slurmctld", user="root")
        wait_for(lambda: usable(cluster), 30, "Slurm is back")

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (("--partition", "nowhere"), "Invalid partition name specified"),
            (("--nodes", "7"), "Requested node configuration is not available"),
            (("--time", "soon"), "Invalid --time specification"),
            (("--mem", "much"), "Invalid --mem specification"),
            (("--mem", "900000G"), "Requested node configuration is not available"),
            (("--nodelist", "node99"), "Invalid node name specified"),
            (("--sbatch=--gres=gpu:1",), "Invalid generic resource (gres) specification"),
            (("--sbatch=--nonsense",), "unrecognized option '--nonsense'"),
        ],
        ids=lambda value: value[0] if isinstance(value, tuple) else "",
    )
    def test_up_reports_why_sbatch_refuses(
        self, options: tuple[str, ...], expected: str, fails: Callable[..., Done]
    ) -> None:
        done = fails(*SHORT, *options, expected=f"{expected}; the command was: sbatch --parsable")
        assert done.stderr.count("\n") == 1

    def test_up_reports_why_its_job_is_pending_until_ctrl_c(self, alice: Alice) -> None:
        drain = "scontrol update nodename=node6 state=drain reason=test"
        alice.break_node("login", drain, "scontrol update nodename=node6 state=resume")
        front = alice.spawn("launcher", *SHORT, "--nodelist", "node6")
        assert front.stderr is not None
        output = next(line for line in front.stderr if "PENDING (" in line)
        assert "PENDING (ReqNodeNotAvail" in output
        front.send_signal(signal.SIGINT)
        done = alice.ended(front)
        assert done.returncode == 130
        assert done.stderr.endswith("stopping: SIGINT\n")
        alice.nothing_left()

    def test_up_fails_when_a_node_fails_during_the_start(
        self, cluster: Cluster, alice: Alice
    ) -> None:
        alice.write("slow.py", SLOW)
        front = alice.spawn("launcher", *SHORT, "--app", "slow:app")
        wait_for(lambda: alice.started("server-2"), 20, "servers are started")
        cluster.kill("node3")
        try:
            done = alice.ended(front, 60)
        finally:
            cluster.start("node3")
        assert_error(done, "server-2 on node3 is lost: node3: ")
        alice.nothing_left(40)


class TestNodes:
    def test_up_fails_in_an_allocation_of_one_node(self, fails: Callable[..., Done]) -> None:
        expected = "has 1 node(s); Envoy and a server need two: allocate more"
        fails("up", "--runtime", "venv", expected=expected, code=2, within=("salloc", "-Q", "-N1"))

    def test_up_fails_with_more_nodes_than_the_allocation(self, fails: Callable[..., Done]) -> None:
        expected = "--nodes 3 is more than the 2 node(s) of allocation"
        fails(*SHORT, expected=expected, code=2, within=("salloc", "-Q", "-N2"))

    @pytest.mark.parametrize("within", [(), ("salloc", "-Q", "-N3")], ids=["job", "allocation"])
    def test_up_fails_in_a_folder_that_is_not_shared(
        self, within: tuple[str, ...], fails: Callable[..., Done]
    ) -> None:
        expected = "on a shared file system (--dir, or run from there)"
        fails(*SHORT, "--dir", "/tmp/unshared", expected=expected, code=2, within=within)

    def test_up_fails_in_a_folder_that_is_not_writable(self, fails: Callable[..., Done]) -> None:
        fails(
            *SHORT,
            "--dir",
            "/root/x",
            expected="cannot write to /root/x: Permission denied",
            code=2,
        )

    @pytest.mark.parametrize(
        ("node", "who"), [("node3", "server-2 on node3"), ("node1", "envoy on node1")]
    )
    def test_up_fails_when_a_port_is_taken(
        self, node: str, who: str, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        listening(alice, node, 8000)
        fails(*SHORT, expected=f"{who}: port 8000 on 0.0.0.0: Address already in use by pid")
        alice.spawned[0].terminate()
        alice.ended(alice.spawned[0])

    def test_up_fails_when_envoy_may_not_bind_its_port(self, fails: Callable[..., Done]) -> None:
        expected = "envoy on node1: port 80 on 0.0.0.0: Permission denied; choose other ports"
        fails(*SHORT, "--envoy-port", "80", expected=expected)

    def test_up_fails_when_the_python_environment_is_not_shared(self, alice: Alice) -> None:
        alice.break_node("login", "true", "rm -rf /tmp/venv")
        environment(alice, "/tmp/venv", PROJECT)
        launcher = ("/tmp/venv/bin/python", "-P", "-m", "launcher")
        done = alice.run(*launcher, *SHORT)
        assert_error(done, "/tmp/venv must be in a folder that its nodes share; the end of")
        done = alice.run("salloc", "-Q", "-N3", *launcher, *SHORT)
        assert_error(done, "cannot use node")
        assert "execve(): /tmp/venv/bin/python: No such file or directory" in done.stderr
        alice.nothing_left()


class TestApps:
    def test_up_fails_when_the_app_cannot_be_imported(self, fails: Callable[..., Done]) -> None:
        expected = "server-1 on node2 exited with 1 before it was ready: nowhere.to:be cannot be "
        two = ("--nodes", "2", "--app", "nowhere.to:be", "--detach")
        done = fails(*SHORT, *two, expected=expected)
        assert "No module named 'nowhere'" in done.stderr
        assert done.stderr.count("before it was ready") == 1

    def test_up_fails_when_the_app_never_becomes_healthy(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        alice.write("slow.py", SLOW)
        expected = "not ready in time: Envoy reports node2, node3 as unhealthy"
        done = fails(*SHORT, "--app", "slow:app", "--ready-timeout", "3", expected=expected)
        assert "unhealthy; node2: its workers import slow:app\n" in done.stderr
        assert f"{FOLDER}/benchmark-env-server-2.log:\n  Node: node3" in done.stderr

    def test_ctrl_c_stops_up_during_the_start(self, alice: Alice) -> None:
        alice.write("slow.py", SLOW)
        front = alice.spawn("launcher", *SHORT, "--app", "slow:app")
        wait_for(lambda: alice.started("server-2"), 20, "servers are started")
        front.send_signal(signal.SIGINT)
        done = alice.ended(front)
        assert done.returncode == 130
        assert "stopping: SIGINT" in done.stderr
        assert "error" not in done.stderr
        alice.nothing_left()


@pytest.mark.usefixtures("images")
class TestContainers:
    def test_up_fails_without_an_image(self, fails: Callable[..., Done]) -> None:
        expected = (
            "/home/alice/none/server.sif on node1, node2, node3: does not exist; build it with"
        )
        fails(*CONTAINERS, "--images", f"{HOME}/none", expected=expected)

    def test_up_fails_with_a_truncated_image(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        cut = f"mkdir images; ln -s {IMAGES}/envoy.sif images; head -c 1M {IMAGES}/server.sif"
        alice.run("sh", "-ec", f"{cut} > images/server.sif", check=True)
        expected = f"{FOLDER}/images/server.sif on node1, node2, node3: is truncated to 1048576 of"
        fails(*CONTAINERS, "--images", "images", expected=expected)

    def test_up_fails_with_a_file_that_is_not_an_image(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        alice.write("mine.sif", "no image\n")
        expected = f"{FOLDER}/mine.sif on node1, node2, node3: is not an Apptainer image"
        fails(*CONTAINERS, "--image", "mine.sif", *APP, expected=expected)
        # Without an app, the image is read here, because its label tells the app.
        expected = f"{FOLDER}/mine.sif is not an Apptainer image"
        fails(*CONTAINERS, "--image", "mine.sif", expected=expected, code=2)

    def test_up_fails_with_an_unreadable_image(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        alice.write("mine.sif", "no image\n")
        alice.run("chmod", "0", "mine.sif", check=True)
        expected = f"{FOLDER}/mine.sif on node1, node2, node3: is not readable"
        fails(*CONTAINERS, "--image", "mine.sif", *APP, expected=expected)
        expected = f"{FOLDER}/mine.sif cannot be read: Permission denied"
        fails(*CONTAINERS, "--image", "mine.sif", expected=expected, code=2)

    def test_up_fails_when_images_differ_between_nodes(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        for node, server in (("node1", "server"), ("node2", "server"), ("node3", "envoy")):
            link = f"ln -s {IMAGES}/{server}.sif /tmp/images/server.sif"
            links = f"mkdir /tmp/images; {link}; ln -s {IMAGES}/envoy.sif /tmp/images"
            alice.break_node(node, links, "rm -rf /tmp/images")
        done = fails(
            *CONTAINERS, "--images", "/tmp/images", expected="/tmp/images/server.sif differs"
        )
        assert " on node3, " in done.stderr

    def test_up_fails_without_apptainer_on_one_node(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        alice.break_node("node3", "chmod 0 /usr/bin/apptainer", "chmod 755 /usr/bin/apptainer")
        fails(*CONTAINERS, expected="apptainer is not on PATH on node3; load its module")

    def test_up_fails_without_fuse_on_one_node(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        alice.break_node("node2", "chmod 600 /dev/fuse", "chmod 666 /dev/fuse")
        fails(
            *CONTAINERS,
            expected="server-1 on node2 exited with 255 (/dev/fuse, which Apptainer mounts",
        )

    def test_up_fails_without_user_namespaces_on_one_node(
        self, alice: Alice, fails: Callable[..., Done]
    ) -> None:
        alice.break_node("node2", CHROOT, NO_CHROOT)  # the kernel permits none within a chroot
        expected = (
            "server-1 on node2 exited with 1 (only root may create user namespaces on this machine"
        )
        fails(*CONTAINERS, expected=expected)


def environment(alice: Alice, folder: str, checkout: str) -> None:
    """A virtual environment that has the project from a checkout."""
    make = 'python3 -m venv --without-pip "$0"; cd "$0"/lib/python3*/site-packages; '
    link = f'(echo "$1"; echo {PROJECT}/.venv/lib/python3*/site-packages) > project.pth'
    alice.run("sh", "-ec", make + link, folder, checkout, check=True)


@pytest.mark.parametrize("runtime", ["venv", "apptainer"])
@pytest.mark.usefixtures("images")
def test_up_accepts_paths_with_spaces_quotes_and_commas(runtime: str, alice: Alice) -> None:
    checkout, venv = f"{FOLDER}/my check out", f"{FOLDER}/a venv's"
    parts = ("analysis", "benchmark", "envoy", "launcher", "locustfiles", "containers")
    sources = [f"{PROJECT}/{part}" for part in parts]
    alice.run("mkdir", checkout, check=True)
    alice.run("cp", "--recursive", *sources, checkout, check=True)
    environment(alice, venv, checkout)
    folder = 'run one\'s "folder",100% $HOME'
    up = (*UP, "--runtime", runtime, "--nodes", "2", "--dir", folder)
    command = (f"{venv}/bin/python", "-P", "-m", "launcher")
    show = "import launcher, os; print(launcher.__file__, os.environ['OPENENV_URL'])"
    done = alice.run(*command, *up, "--", f"{venv}/bin/python", "-P", "-c", show)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkout}/launcher/__init__.py http://node1:8000\n"
    assert alice.state(folder)["status"] == "stopped"
    alice.nothing_left()
