"""This machine: each node is a loopback address of its own, so every node has all its ports."""

import functools
import os
import subprocess
from pathlib import Path

from benchmark.server.lifeline import die_with_parent
from launcher.deployment import Deployment
from launcher.errors import PortTaken
from launcher.placement import Process
from launcher.ports import first_taken


class LocalRuntime:
    def nodes(self, deployment: Deployment) -> list[str]:
        return [deployment.node_address(index) for index in range(deployment.nodes)]

    def start(self, process: Process) -> subprocess.Popen[bytes]:
        return spawn(process.argv, process.environment, process.log)

    def check_ports(self, processes: tuple[Process, ...]) -> None:
        """Raises `PortTaken`, which names the process that holds the port."""
        for process in processes:
            taken = first_taken(process.node, process.ports)
            if taken is not None:
                raise PortTaken(
                    f"{process.name}: {taken}; end it, or choose other ports or another --local-address"
                )


def spawn(
    argv: tuple[str, ...],
    environment: dict[str, str],
    log: Path | None,
    *,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    new_session: bool = True,
) -> subprocess.Popen[bytes]:
    """A child that the kernel ends when this process ends."""
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            argv,
            env=os.environ | environment,
            stdin=stdin,
            stdout=stdout if stdout is not None else output,
            stderr=subprocess.STDOUT if stdout is None and output else output,
            start_new_session=new_session,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
    finally:
        if output:
            output.close()
