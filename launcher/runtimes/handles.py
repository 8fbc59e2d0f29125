import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import IO, Protocol

from launcher.deployment.placement import Process
from launcher.images.causes import explain_run_failure
from launcher.slurm import commands
from launcher.system.process import ChildProcess, describe_exit, indented, tail

CLOSE_SECONDS = 6.0
LOST_CODE = 255


class Agents(Protocol):
    def signal(self, process: Process, number: int) -> None: ...

    def pumping(self, deadline: float | None) -> Iterator[None]: ...


class RemoteProcess:
    """A child of an agent. `last_lines` is the end of its log as the agent read it."""

    def __init__(self, agents: Agents, process: Process) -> None:
        self._agents, self.process = agents, process
        self.pid: int | None = None
        self.code: int | None = None
        self.loss = ""
        self.last_lines: Sequence[str] = ()
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None

    def set_exited(self, code: int, last_lines: Sequence[str]) -> None:
        self.code, self.last_lines = code, last_lines

    def set_lost(self, reason: str) -> None:
        """A process that has exited keeps its exit code."""
        if self.code is None:
            self.code, self.loss = LOST_CODE, reason

    def fileno(self) -> None:
        return None

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        for _ in self._agents.pumping(deadline):
            if self.code is not None:
                return self.code
        raise subprocess.TimeoutExpired(self.process.argv, timeout or 0.0)

    def terminate(self) -> None:
        if self.code is None:
            self._agents.signal(self.process, signal.SIGTERM)

    def kill(self) -> None:
        if self.code is None:
            self._agents.signal(self.process, signal.SIGKILL)

    def describe_exit(self) -> str:
        if self.loss:
            return f"is lost: {self.loss}"
        cause = explain_run_failure("\n".join(self.last_lines))
        return describe_exit(self.wait()) + (f" ({cause})" if cause else "")

    def tail(self) -> str:
        return indented(self.last_lines or tail(self.process.log))

    def close(self) -> None: ...


class SrunProcess(ChildProcess):
    """A process with its own Slurm step, by its srun."""

    def __init__(
        self, popen: subprocess.Popen[bytes], process: Process, job_id: str, step_name: str
    ) -> None:
        super().__init__(popen, process.log)
        self._job_id, self._step_name = job_id, step_name
        self._loss = ""

    def lose(self, reason: str) -> None:
        """Terminates srun when the node does not respond: Slurm may take minutes to notice."""
        self._loss = reason
        self.terminate()

    def describe_exit(self) -> str:
        return f"is lost: {self._loss}" if self._loss else super().describe_exit()

    def kill(self) -> None:
        self.terminate()
        try:
            self.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            super().kill()
        if self.wait() == -signal.SIGKILL:  # the step outlives a killed srun
            with contextlib.suppress(commands.SlurmFailed):
                if step := commands.steps(self._job_id).get(self._step_name):
                    commands.cancel(step)
