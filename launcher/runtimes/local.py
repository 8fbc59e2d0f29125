"""This machine: each node is a loopback address of its own, so every node has all its ports."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, IO

from benchmark.server.process import die_with_parent, raise_descriptor_limit
from launcher.deployment import Deployment
from launcher.errors import PortTaken
from launcher.placement import Node, Process
from launcher.ports import first_taken
from launcher.runtimes.base import Handle
from launcher.slurm.guard import guard_argv

TAIL_LINES = 15
APPTAINER = "apptainer"


class LocalProcess:
    """A child of this process."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen, self._log = popen, log
        self._pidfd: int | None = os.pidfd_open(popen.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._popen.stdout

    def fileno(self) -> int | None:
        return self._pidfd

    def poll(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._popen.wait(timeout)

    def terminate(self) -> None:
        if self.poll() is None:
            self._popen.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def ending(self) -> str:
        return ending(self.wait())

    def tail(self) -> str:
        return tail(self._log)

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class LocalRuntime:
    patience: float | None = None

    def __init__(self) -> None:
        self.check: Callable[[], None] = lambda: None
        self.note: Callable[[str], object] = lambda _: None
        self._lifeline, self._held = os.pipe()  # nobody else ever has the writing end

    def events(self) -> list[int]:
        return []

    def pump(self) -> list[str]:
        return []

    def prepare(
        self, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
    ) -> None:
        for process in processes:
            taken = first_taken(process.node, process.ports)
            if taken is not None:
                raise PortTaken(
                    f"{process.name}: {taken}; end it, or choose other ports or another "
                    "--local-address"
                )

    def start(self, process: Process, *, pipes: bool = False) -> Handle:
        options: dict[str, Any] = {}
        if pipes:
            options = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        argv = process.argv
        if argv[0] == APPTAINER:  # a container outlives its Apptainer
            argv = (*guard_argv(self._lifeline), *argv)
            options |= {"pass_fds": (self._lifeline,), "end_by": signal.SIGTERM}
        return LocalProcess(spawn(argv, process.environment, process.log, **options), process.log)

    def free_port(self, node: str) -> int:
        return free_port(node)

    def describe(self) -> Mapping[str, object]:
        return {}

    def fate(self) -> str | None:
        return None

    def stopping(self) -> None:
        pass

    def close(self) -> None:
        os.close(self._lifeline)
        os.close(self._held)


def local_nodes(deployment: Deployment) -> list[Node]:
    """This machine's cores are shared among the servers."""
    cores = len(os.sched_getaffinity(0))
    count = deployment.nodes + deployment.client_nodes
    addresses = [deployment.node_address(index) for index in range(count)]
    nodes = [Node(address, address, max(1, cores // deployment.servers)) for address in addresses]
    nodes[0] = Node(addresses[0], addresses[0], cores)
    return nodes


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    end_by: int = signal.SIGKILL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, with its output in `log`; it gets the signal `end_by` when
    this process ends.

    `options` are Popen's and prevail.
    """
    parent = os.getpid()

    def prepare() -> None:
        die_with_parent(parent, end_by)
        raise_descriptor_limit()

    with log.open("ab") as output:
        defaults: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": output,
            "start_new_session": True,
        }
        options = defaults | {"env": os.environ | environment} | options
        return subprocess.Popen(argv, preexec_fn=prepare, **options)  # noqa: PLW1509 - no threads


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return indented(text.splitlines()[-lines:])


def indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
