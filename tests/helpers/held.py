"""Deployments in the virtual cluster, and the processes and jobs that they leave behind."""

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.helpers.cluster import Cluster
from tests.helpers.local import wait_for

NODES = [f"node{number}" for number in range(1, 7)]
FOLDER = "/home/alice/faults"
SHORT = ("--cpus-per-task", "1", "--drain", "0", "--silence-timeout", "5")


@dataclass
class Held:
    """`front` is the `launcher up` that is attached to the deployment, if there is one."""

    cluster: Cluster
    name: str
    front: subprocess.Popen[str] | None = None

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.name}"

    @property
    def state(self) -> dict[str, Any]:
        file = f"{self.folder}/openenv-deployment.json"
        return dict(json.loads(self.cluster.run("cat", file, check=False).stdout))

    @property
    def job(self) -> str:
        return str(self.state["job"])

    @property
    def url(self) -> str:
        return str(self.state["url"])

    @property
    def events(self) -> str:
        return "\n".join(event["event"] for event in self.state["events"])

    def process(self, name: str) -> dict[str, Any]:
        return next(dict(each) for each in self.state["processes"] if each["name"] == name)

    def pid(self, name: str) -> int | None:
        return self.process(name)["pid"]

    def launcher(
        self, command: str, *arguments: str, node: str = "login"
    ) -> subprocess.CompletedProcess[str]:
        return self.cluster.run("launcher", command, *arguments, node=node, check=False)

    def status(self) -> subprocess.CompletedProcess[str]:
        return self.launcher("status", self.name)

    def down(self, node: str = "login") -> subprocess.CompletedProcess[str]:
        return self.launcher("down", self.name, node=node)

    def healthy(self) -> set[str]:
        """The nodes that are healthy on Envoy's admin page."""
        state = self.state
        page = self.cluster.run(
            "curl", "-s", "-m", "1", f"{state['admin_url']}/clusters", check=False
        ).stdout
        flags = dict(re.findall(r"::([\d.]+):\d+::health_flags::(\S+)", page))
        return {
            server["name"]
            for server in state["servers"]
            if flags.get(server["address"]) == "healthy"
        }

    def wait_healthy(self, *nodes: str, seconds: float = 20) -> None:
        wait_for(lambda: self.healthy() == set(nodes), seconds, f"{nodes} are healthy: {self.name}")

    def kill(self, node: str, pattern: str) -> None:
        """Sends SIGKILL to the processes whose command line contains `pattern`, once there are any."""
        argv = ("pkill", "-KILL", "-u", "alice", "-f", "--", pattern)

        def killed() -> bool:
            return not self.cluster.run(*argv, node=node, user="root", check=False).returncode

        wait_for(killed, 10, f"{pattern} is running")

    def pids(self, node: str, pattern: str) -> set[str]:
        argv = ("pgrep", "-u", "alice", "-f", "--", pattern)
        return set(self.cluster.run(*argv, node=node, user="root", check=False).stdout.split())

    def replaced(self, node: str, pattern: str) -> None:
        """Kills the processes and waits until others have replaced them."""
        before = self.pids(node, pattern)
        self.kill(node, pattern)

        def others() -> bool:
            now = self.pids(node, pattern)
            return bool(now) and not now & before

        wait_for(others, 20, f"{pattern} is replaced on {node}")

    def succeed(self, sessions: int = 10) -> bool:
        """Whether sessions to the URL succeed."""
        output = f"{self.folder}/sessions-{id(object())}"
        argv = ("--url", self.url, "-n", str(sessions), "--wait", "0", "--load-workers", "1")
        done = self.launcher("grid", *argv, "--output-dir", output)
        text = self.cluster.run("cat", f"{output}/raw.jsonl", check=False).stdout
        rows = [json.loads(line) for line in text.splitlines()]
        last = max((row["attempt"] for row in rows), default=1)
        good = [row["success"] for row in rows if row["attempt"] == last]
        return done.returncode == 0 and good == [True] * sessions

    def front_result(self, seconds: float = 30) -> tuple[int, str]:
        """The exit code and the output of the attached `launcher up`."""
        assert self.front is not None
        out, err = self.front.communicate(timeout=seconds)
        assert "Traceback" not in err, err
        return self.front.returncode, out + err


@dataclass
class Scene:
    """The changes that a test makes to the cluster; `clean` undoes them."""

    cluster: Cluster
    dead: set[str] = field(default_factory=set)
    fronts: list[subprocess.Popen[str]] = field(default_factory=list)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        self.fronts.append(self.cluster.popen(*argv, **options))
        return self.fronts[-1]

    def up(self, name: str, nodes: int, *options: str, runtime: str = "venv") -> Held:
        """A ready, detached deployment."""
        self.cluster.run("launcher", *self._up(name, nodes, runtime), "--detach", *options)
        return Held(self.cluster, name)

    def attach(self, name: str, nodes: int, *options: str, runtime: str = "venv") -> Held:
        """A ready deployment with an attached `launcher up` on the login node."""
        front = self.popen("launcher", *self._up(name, nodes, runtime), *options)
        return self._ready(Held(self.cluster, name, front))

    def salloc(self, name: str, nodes: int, *options: str, after: str = "true") -> Held:
        """A ready deployment in an allocation, held by a launcher on the login node; `after` runs next
        in the allocation's shell."""
        shape = (f"--nodes={nodes}", "--cpus-per-task=1", *options)
        script = f'launcher "$@"; code=$?; echo "ended with $code"; {after}; exit $code'
        up = self._up(name, nodes, "venv")
        front = self.popen("salloc", *shape, "bash", "-c", script, "bash", *up)
        return self._ready(Held(self.cluster, name, front))

    def _up(self, name: str, nodes: int, runtime: str) -> tuple[str, ...]:
        which = ("--name", name, "--dir", f"{FOLDER}/{name}", "--nodes", str(nodes))
        return ("up", *which, "--runtime", runtime, *SHORT)

    def _ready(self, held: Held) -> Held:
        assert held.front is not None
        assert held.front.stdout is not None
        line = held.front.stdout.readline()
        assert line.startswith("OPENENV_URL=http://"), held.front.communicate(timeout=30)
        return held

    def kill(self, *nodes: str) -> None:
        for node in nodes:
            self.dead.add(node)
            self.cluster.kill(node)

    def nothing_left(self, seconds: float = 15) -> None:
        """Waits until no process and no job of the deployments exists."""
        wait_for(lambda: not self.left(), seconds, f"nothing is left: {self.left()}")

    def left(self, *, jobs: bool = True) -> list[str]:
        nodes = [node for node in ("login", *NODES) if node not in self.dead]
        with ThreadPoolExecutor(4) as pool:
            found = [line for lines in pool.map(self._processes, nodes) for line in lines]
        return found + (self.jobs() if jobs else [])

    def jobs(self) -> list[str]:
        return self.cluster.run("squeue", "--noheader", "--format=job %i %T").stdout.splitlines()

    def _processes(self, node: str) -> list[str]:
        argv = ("ps", "-u", "alice", "-o", "pid=,args=")
        shown = self.cluster.run(*argv, node=node, user="root", check=False).stdout
        return [f"{node}: {line.strip()}" for line in shown.splitlines()]

    def end_fronts(self) -> None:
        for front in self.fronts:
            if front.poll() is None:
                front.send_signal(signal.SIGHUP)  # to its whole process group
            with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
                front.communicate(timeout=15)
            if front.poll() is None:
                front.kill()
                front.communicate()

    def clean(self) -> None:
        self.cluster.run("scancel", "--user", "alice", "--full", check=False)
        self.end_fronts()
        for node in sorted(self.dead):
            self.cluster.start(node)
        self.dead.clear()
        try:
            self.nothing_left(30)
        finally:
            for node in ("login", *NODES):
                kill = ("pkill", "-KILL", "-u", "alice")
                self.cluster.run(*kill, node=node, user="root", check=False)
            self.cluster.run("sh", "-c", f"rm -rf {FOLDER} ~/.local/state/openenv-slurm")


@contextlib.contextmanager
def new_scene(cluster: Cluster) -> Iterator[Scene]:
    scene = Scene(cluster)
    try:
        yield scene
    finally:
        scene.clean()
