"""The runtime on this machine. Each node has its own loopback address, and so all ports to itself."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Node, Process
from launcher.deployment.spec import Deployment
from launcher.images.apptainer import PROGRAM as APPTAINER
from launcher.runtimes.base import Handle
from launcher.runtimes.node_checks import ports, refuse_failures
from launcher.runtimes.probe import probe
from launcher.runtimes.surroundings import surroundings, surroundings_request
from launcher.system.gpus import gpu_variables
from launcher.system.log_limit import INTERVAL_SECONDS, LogLimit
from launcher.system.machine import Limits, limits
from launcher.system.ports import first_taken, free_port
from launcher.system.process import ChildProcess, spawn
from launcher.system.reaper import reaper_argv


class LocalRuntime:
    poll_seconds: float | None = INTERVAL_SECONDS

    def __init__(self) -> None:
        self.check: Callable[[], None] = lambda: None
        self.log: Callable[[str], object] = lambda _: None
        self._logs = LogLimit()
        self._lifeline, self._held = os.pipe()  # only this process has the writing end

    def events(self) -> list[int]:
        return []

    def pump(self) -> list[str]:
        self._logs.check()
        return []

    def prepare(
        self, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
    ) -> None:
        for process in processes:
            view = {"taken": first_taken(process.node, process.ports)}
            refuse_failures([ports({process.node: view}, [process])])
        view = probe(surroundings_request(processes), "")
        refuse_failures(surroundings({process.node: view for process in processes}, processes))

    def start(self, process: Process, *, pipes: bool = False) -> Handle:
        variables = {**process.environment, **process.variables}
        options: dict[str, Any] = {"cwd": process.folder}
        if pipes:
            options |= dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        argv = process.argv
        if argv[0] == APPTAINER:  # the processes of a container outlive Apptainer
            argv = (*reaper_argv(self._lifeline, process.scratch), *argv)
            options |= {"pass_fds": (self._lifeline,), "death_signal": signal.SIGTERM}
            options["env"] = gpu_variables(os.environ) | os.environ | variables
        self._logs.add(process.log)
        return ChildProcess(spawn(argv, variables, process.log, **options), process.log)

    def free_port(self, node: str) -> int:
        return free_port(node)

    def limits(self) -> Limits:
        return limits()

    def describe(self) -> Mapping[str, object]:
        return {}

    def termination(self) -> None:
        return None

    def expect_exits(self) -> None: ...

    def close(self) -> None:
        os.close(self._lifeline)
        os.close(self._held)


def local_nodes(deployment: Deployment) -> list[Node]:
    """The servers share the cores of this machine; Envoy may use all of them."""
    cores = len(os.sched_getaffinity(0))
    count = deployment.nodes + deployment.client_nodes
    addresses = [deployment.node_address(index) for index in range(count)]
    nodes = [Node(address, address, max(1, cores // deployment.servers)) for address in addresses]
    nodes[0] = Node(addresses[0], addresses[0], cores)
    return nodes
