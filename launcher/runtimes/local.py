"""This machine: each node is a loopback address of its own, so every node has all its ports."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.server.process import die_with_parent, raise_descriptor_limit
from launcher.deployment import Deployment
from launcher.errors import PortTaken
from launcher.placement import Process
from launcher.ports import first_taken


class LocalRuntime:
    def nodes(self, deployment: Deployment) -> list[str]:
        return [deployment.node_address(index) for index in range(deployment.nodes)]

    def start(self, process: Process) -> subprocess.Popen[bytes]:
        return spawn(process.argv, process.environment, process.log)

    def check_ports(self, processes: Sequence[Process]) -> None:
        for process in processes:
            taken = first_taken(process.node, process.ports)
            if taken is not None:
                raise PortTaken(
                    f"{process.name}: {taken}; end it, or choose other ports or another "
                    "--local-address"
                )


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, **options: Any
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, with its output in `log`; it ends when this process ends.

    `options` are Popen's and prevail.
    """
    parent = os.getpid()

    def prepare() -> None:
        die_with_parent(parent)
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
