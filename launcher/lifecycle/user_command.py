"""A command beside a deployment."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from launcher.system.debug_log import log_command

logger = logging.getLogger(__name__)


class Beside:
    """It ends, with all that it started, when it is cut off or this process ends."""

    def __init__(self, command: Sequence[str], connection: Mapping[str, str]) -> None:
        tied, self._lifeline = os.pipe()
        argv = (sys.executable, "-P", "-m", "launcher.system.command_runner", str(tied), *command)
        log_command(logger, argv)
        self.popen = subprocess.Popen(argv, env={**os.environ, **connection}, pass_fds=(tied,))
        os.close(tied)

    def cut(self) -> None:
        os.close(self._lifeline)

    def end(self) -> int:
        """Cuts it off and waits; its exit code, as a shell counts it."""
        self.cut()
        return self.wait()

    def wait(self) -> int:
        code = self.popen.wait()
        return code if code >= 0 else 128 - code
