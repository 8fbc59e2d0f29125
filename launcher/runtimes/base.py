"""What every runtime can do."""

import subprocess
from typing import Protocol

from launcher.deployment import Deployment
from launcher.placement import Process


class Runtime(Protocol):
    def nodes(self, deployment: Deployment) -> list[str]:
        """The names of the nodes to place on, as many as the deployment asks for."""
        ...

    def start(self, process: Process) -> subprocess.Popen[bytes]:
        """Starts the process with its output in its log. It ends when the caller ends."""
        ...
