"""The user alice on the virtual cluster: her commands, and the processes and jobs that they leave behind."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.cluster import Cluster, namespaces_of, own_namespaces, pids
from tests.helpers.local import wait_for

ALICE = 1000
HOME = "/home/alice"
FOLDER = f"{HOME}/run"
PROJECT = f"{HOME}/openenv-slurm"
UP = ("up", "--cpus-per-task", "1", "--drain", "0")

Done = subprocess.CompletedProcess[str]


@dataclass
class Alice:
    """Runs commands as alice in a folder of her own, and cleans up when the test ends."""

    cluster: Cluster
    spawned: list[subprocess.Popen[str]] = field(default_factory=list)
    broken: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def run(self, *argv: str, node: str = "login", **options: Any) -> Done:
        command = ("env", "-C", FOLDER, *argv)
        return self.cluster.run(*command, node=node, **({"check": False} | options))

    def launch(self, *arguments: str, **options: Any) -> Done:
        return self.run("launcher", *arguments, **options)

    def spawn(self, *argv: str, node: str = "login") -> subprocess.Popen[str]:
        """Starts a command without waiting for it."""
        self.spawned.append(self.cluster.popen("env", "-C", FOLDER, *argv, node=node))
        return self.spawned[-1]

    def hold(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `launcher up` in the foreground; returns when it is ready."""
        front = self.spawn("launcher", *UP, *arguments)
        assert front.stdout is not None
        output = front.stdout.readline()
        assert output.startswith("OPENENV_URL=http://node"), front.communicate(timeout=30)
        return front

    def ended(self, front: subprocess.Popen[str], seconds: float = 30) -> Done:
        out, err = front.communicate(timeout=seconds)
        return subprocess.CompletedProcess(front.args, front.returncode, out, err)

    def state(self, name: str = "") -> dict[str, Any]:
        file = f"{FOLDER}/{name}/openenv-deployment.json"
        return dict(json.loads(self.run("cat", file).stdout or "{}"))

    def started(self, process: str) -> bool:
        processes = self.state().get("processes", [])
        return any(each["name"] == process and each["pid"] for each in processes)

    def write(self, name: str, text: str) -> None:
        self.run("sh", "-c", 'cat > "$0"', name, input=text, check=True)

    def break_node(self, node: str, how: str, mend: str) -> None:
        """Breaks a node as root; `mend` repairs it when the test ends."""
        self.broken.callback(self.cluster.run, "sh", "-c", mend, node=node, user="root")
        self.cluster.run("sh", "-ec", how, node=node, user="root")

    def jobs(self) -> list[str]:
        return self.run("squeue", "--noheader", "--format=job %i %T %r", check=True).stdout.split(
            "\n"
        )[:-1]

    def left(self) -> list[str]:
        """Her processes on all nodes, and her jobs."""
        spaces = namespaces_of(self.cluster.name)
        return [
            _command(pid)
            for pid in pids()
            if _belongs_to_alice(pid) and own_namespaces(pid) & spaces
        ]

    def nothing_left(self, seconds: float = 15) -> None:
        wait_for(lambda: not self.left() + self.jobs(), seconds, "nothing is left")

    def clean_up(self) -> None:
        with self.broken:
            self.cluster.run("scancel", "--user", "alice", "--full", check=False)
            for process in self.spawned:
                if process.poll() is None:
                    process.kill()  # the command gets SIGHUP
                process.communicate(timeout=15)
        try:
            wait_for(lambda: not self.jobs(), 30, "no job is left")
            wait_for(lambda: not self.left(), 10, "no process is left")
        finally:
            left = self.left()
            for node in ("login", *(f"node{number}" for number in range(1, 7))) if left else ():
                kill = ("pkill", "-KILL", "-u", "alice")
                self.cluster.run(*kill, node=node, user="root", check=False)
            self.cluster.run("sh", "-c", f"rm -rf {FOLDER} ~/.local/state/openenv-slurm")
            assert not left


@contextlib.contextmanager
def as_alice(cluster: Cluster) -> Iterator[Alice]:
    cluster.run("mkdir", "-p", FOLDER)
    alice = Alice(cluster)
    try:
        yield alice
    finally:
        alice.clean_up()


def assert_error(done: Done, expected: str, code: int = 1) -> None:
    """Asserts that the error is one line, without a traceback."""
    output = f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, output
    assert expected in errors[0], output
    assert done.returncode == code, output
    assert not [line for line in done.stderr.splitlines() if line.startswith("Traceback")], output


def _belongs_to_alice(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == ALICE
    return False


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        return argv.replace(b"\0", b" ").decode(errors="replace")
    return ""
