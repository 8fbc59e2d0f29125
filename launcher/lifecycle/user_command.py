"""The user's command that runs while a deployment is up: `launcher up … -- COMMAND`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from launcher.errors import UsageError
from launcher.system.debug_log import log_command
from launcher.system.process import shell_code


class UserCommand:
    """Ends, with all of its descendants, at `terminate` or when this process exits."""

    def __init__(self, command: Sequence[str], connection: Mapping[str, str]) -> None:
        fd, self._lifeline = os.pipe()
        argv = (sys.executable, "-P", "-m", "launcher.system.command_runner", str(fd), *command)
        log_command(__name__, argv)
        self.popen = subprocess.Popen(argv, env={**os.environ, **connection}, pass_fds=(fd,))
        os.close(fd)

    def terminate(self) -> None:
        os.close(self._lifeline)

    def wait(self) -> int:
        return shell_code(self.popen.wait())


def check_command(command: Sequence[str] | None) -> None:
    if command is not None and shutil.which(command[0]) is None:
        raise UsageError(f"cannot run {command[0]!r}: no such program")
