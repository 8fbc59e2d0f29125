"""A virtual Slurm cluster (deploy/sandbox) for the tests that need one."""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.local import ROOT

SANDBOX = [sys.executable, str(ROOT / "deploy/sandbox")]


SECONDS = 900  # the first run builds the root file system and an image


@dataclass(frozen=True)
class Cluster:
    """A running sandbox."""

    name: str

    def run(
        self,
        *argv: str,
        node: str = "login",
        user: str = "alice",
        check: bool = True,
        timeout: float = 120,
        online: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the sandbox; with `check`, a failure raises an error with its output."""
        command = self._command(argv, node, user, online)
        options = {"capture_output": True, "text": True, "timeout": timeout} | options
        done = subprocess.run(command, check=False, **options)
        if check and done.returncode:
            raise AssertionError(
                f"exit code {done.returncode} of {' '.join(argv)} on {node}\n{done.stdout}{done.stderr}"
            )
        return done

    def popen(
        self, *argv: str, node: str = "login", user: str = "alice", **options: Any
    ) -> subprocess.Popen[str]:
        """Starts a command in the sandbox; signals to the process reach the command."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen(self._command(argv, node, user, False), **options)

    def kill(self, node: str) -> None:
        """Kills the node at once."""
        sandbox("kill", "--name", self.name, node)

    def start(self, node: str) -> None:
        """Starts a killed node; returns when Slurm can use it."""
        sandbox("start", "--name", self.name, node)

    def _command(self, argv: tuple[str, ...], node: str, user: str, online: bool) -> list[str]:
        where = ["--name", self.name, "--node", node, "--user", user]
        return [*SANDBOX, "run", *where, *(["--online"] if online else []), "--", *argv]


def sandbox(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*SANDBOX, *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"sandbox {' '.join(arguments)}: {done.stderr}"
    return done


@contextlib.contextmanager
def running(name: str, *options: str) -> Iterator[Cluster]:
    """Runs a new sandbox, which must leave nothing behind."""
    sandbox("up", "--name", name, *options)
    namespaces = namespaces_of(name)
    try:
        yield Cluster(name)
    finally:
        sandbox("down", "--name", name)
    assert not traces(name, namespaces)


def namespaces_of(name: str) -> set[str]:
    """The namespaces of every process that has a mount of this sandbox."""
    return {namespace for pid in _pids_with_mounts(name) for namespace in own_namespaces(pid)}


def traces(name: str, namespaces: set[str]) -> list[str]:
    """The remains of a sandbox that had these namespaces: processes, mounts, folders, cgroups."""
    left = [f"process {pid} with a mount" for pid in _pids_with_mounts(name)]
    left += [f"process {pid} in its namespaces" for pid in pids() if _lives_in(pid, namespaces)]
    folders = [Path("/var/lib/openenv-sandbox") / name]
    folders += Path("/sys/fs/cgroup").glob(f"**/openenv-sandbox-{name}")
    return left + [str(folder) for folder in folders if folder.exists()]


def _lives_in(pid: int, namespaces: set[str]) -> bool:
    """Whether the process belongs to the sandbox. The kernel reuses the numbers of namespaces: a process that
    shares only one of them, or that is in another sandbox, does not count."""
    if len(own_namespaces(pid) & namespaces) < 2:
        return False
    with contextlib.suppress(OSError):
        return "/openenv-sandbox/" not in Path(f"/proc/{pid}/mountinfo").read_text()
    return False


def pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _pids_with_mounts(name: str) -> list[int]:
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if f"/openenv-sandbox/{name}/" in Path(f"/proc/{pid}/mountinfo").read_text():
                found.append(pid)
    return found


def own_namespaces(pid: int) -> set[str]:
    """The namespaces of a process that differ from those of this process."""
    kinds = ("mnt", "net", "pid", "uts", "ipc")
    with contextlib.suppress(OSError):
        its = {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in kinds}
        return its - {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds}
    return set()


def obstacle() -> str | None:
    """Why no sandbox can run here; None if one can."""
    if os.geteuid() != 0:
        return "the virtual cluster needs root"
    if "ID=debian" not in Path("/etc/os-release").read_text().splitlines():
        return "the virtual cluster needs Debian"
    return None


def build_images(cluster: Cluster) -> str:
    """Builds the images once for all sandboxes; returns the output of `launcher build`."""
    with (Path(tempfile.gettempdir()) / "openenv-slurm-test-images.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return cluster.run("launcher", "build", online=True, timeout=600).stdout
