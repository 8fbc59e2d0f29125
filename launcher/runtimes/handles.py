"""Processes on the nodes of a step, as a launcher holds them."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import IO, Protocol

from launcher.deployment.placement import Process
from launcher.images.apptainer import explain_run_failure
from launcher.runtimes.local import LocalProcess
from launcher.slurm import commands
from launcher.system.process import describe_exit, indented, tail

CLOSE_SECONDS = 6.0
LOST = 255


class Agents(Protocol):
    """Who passes on what a process is told."""

    def signal(self, process: Process, number: int) -> None: ...

    def pumping(self, deadline: float | None) -> Iterator[None]: ...


class RemoteProcess:
    """A process that an agent holds for us."""

    def __init__(self, runtime: Agents, process: Process) -> None:
        self._runtime, self.process = runtime, process
        self.pid: int | None = None
        self.code: int | None = None
        self.lost = ""
        self.last_lines: Sequence[str] = ()
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None

    def fileno(self) -> None:
        return None

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        for _ in self._runtime.pumping(deadline):
            if self.code is not None:
                return self.code
        raise subprocess.TimeoutExpired(self.process.argv, timeout or 0.0)

    def terminate(self) -> None:
        if self.code is None:
            self._runtime.signal(self.process, signal.SIGTERM)

    def kill(self) -> None:
        if self.code is None:
            self._runtime.signal(self.process, signal.SIGKILL)

    def ending(self) -> str:
        if self.lost:
            return f"is lost: {self.lost}"
        cause = explain_run_failure("\n".join(self.last_lines))
        return describe_exit(self.wait()) + (f" ({cause})" if cause else "")

    def tail(self) -> str:
        return indented(self.last_lines or tail(self.process.log))

    def close(self) -> None: ...


class SrunProcess(LocalProcess):
    """A process that is a Slurm step of its own, as its srun."""

    def __init__(
        self, popen: subprocess.Popen[bytes], process: Process, job_id: str, name: str
    ) -> None:
        super().__init__(popen, process.log)
        self._job_id, self._name = job_id, name
        self.node = process.node
        self._lost = ""

    def lose(self, why: str) -> None:
        """Its node does not answer: Slurm may take minutes to notice."""
        self._lost = why
        self.terminate()

    def ending(self) -> str:
        return f"is lost: {self._lost}" if self._lost else super().ending()

    def kill(self) -> None:
        self.terminate()
        try:
            self.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            super().kill()
        if self.wait() == -signal.SIGKILL:  # then the step goes on without it
            with contextlib.suppress(commands.SlurmFailed):
                if step := commands.steps(self._job_id).get(self._name):
                    commands.cancel(step)
