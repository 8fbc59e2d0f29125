"""What every runtime can do."""

import subprocess
from collections.abc import Sequence
from typing import Protocol

from launcher.deployment import Deployment
from launcher.placement import Process


class Runtime(Protocol):
    def nodes(self, deployment: Deployment) -> list[str]:
        """The names of the nodes to place on, as many as the deployment asks for."""
        ...

    def check_ports(self, processes: Sequence[Process]) -> None:
        """Raises `PortTaken`, which names the process that holds the port."""
        ...

    def start(self, process: Process) -> subprocess.Popen[bytes]:
        """Starts the process with its output in its log. It ends when the caller ends."""
        ...
