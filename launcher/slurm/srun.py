"""Starts Slurm steps of one task per node, and exchanges lines with their tasks."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launcher.slurm import commands
from launcher.slurm.allocation import Allocation
from launcher.slurm.messages import parse_message, StepMessage
from launcher.system.lines import LineSplitter
from launcher.system.process import spawn, stop

MAX_MESSAGES = 40
# Options that an allocation or a shell sets for srun in SLURM_* and that would change our steps.
STEP_OPTIONS = (
    *("CPUS_PER_TASK", "NTASKS", "NPROCS", "NTASKS_PER_NODE", "DISTRIBUTION", "EXACT", "EXCLUSIVE"),
    *("THREADS_PER_CORE", "HINT", "MEM_PER_CPU", "MEM_PER_NODE", "CPU_BIND", "MEM_BIND", "LABELIO"),
    *("UNBUFFEREDIO", "TRES_PER_TASK", "GRES", "GPUS", "GPUS_PER_NODE", "GPUS_PER_TASK"),
    *("GPUS_PER_SOCKET", "CPUS_PER_GPU", "MEM_PER_GPU", "GPU_BIND", "NTASKS_PER_CORE"),
    *("NTASKS_PER_SOCKET", "NTASKS_PER_GPU", "NTASKS_PER_TRES", "STDINMODE", "STDOUTMODE"),
    *("STDERRMODE", "OVERCOMMIT", "CORE_SPEC", "MULTI_PROG", "IMMEDIATE", "WHOLE"),
)
STEP_VARIABLES = {"SRUN_CPUS_PER_TASK", *(f"SLURM_{name}" for name in STEP_OPTIONS)}


def step_argv(
    allocated: Allocation, nodes: Sequence[str], name: str, command: Sequence[str]
) -> tuple[str, ...]:
    """srun with one task on each node, next to whatever else runs there. The nodes must be of one
    component: srun passes its input only to the first component of a step."""
    group = f"--het-group={allocated.group(nodes[0])}"
    return (
        *("srun", f"--jobid={allocated.job_id}", f"--job-name={name}"),
        *((group,) if len(allocated.components) > 1 else ()),
        *(f"--nodes={len(nodes)}", f"--ntasks={len(nodes)}", "--ntasks-per-node=1"),
        f"--nodelist={','.join(nodes)}",
        *("--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0"),
        *("--cpu-bind=none", "--mpi=none", "--export=ALL"),
        *command,
    )


def spawn_srun(
    argv: Sequence[str], environment: Mapping[str, str], log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts srun with pipes for its input and output; without a log, errors are part of the output.

    A step outlives a killed srun, but not a terminated one. So srun is terminated when this process
    exits.
    """
    clean = {key: value for key, value in os.environ.items() if key not in STEP_VARIABLES}
    return spawn(
        argv,
        {},
        log or Path(os.devnull),
        signal.SIGTERM,
        env={**clean, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        **({} if log else {"stderr": subprocess.STDOUT}),
    )


@dataclass(frozen=True)
class Reply:
    """A line from a task: a JSON object with its "node"."""

    line: bytes
    content: dict[str, Any]


class StepChannel:
    """The lines that a Slurm step and the launcher exchange over srun; sending never blocks.

    Must be created by the main thread: srun is terminated when the thread that started it exits.
    """

    def __init__(
        self,
        allocated: Allocation,
        nodes: Sequence[str],
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] = {},
    ) -> None:
        self.nodes, self._job_id = tuple(nodes), allocated.job_of(nodes[0])
        self.argv = step_argv(allocated, nodes, name, command)
        self.messages: deque[StepMessage] = deque(maxlen=MAX_MESSAGES)
        self.open = True
        self._step: str | None = None
        self._srun = spawn_srun(self.argv, environment)
        assert self._srun.stdin is not None
        assert self._srun.stdout is not None
        self._stdin, self._stdout = self._srun.stdin, self._srun.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._outgoing, self._splitter = b"", LineSplitter()

    def fileno(self) -> int:
        return self._stdout.fileno()

    def send(self, order: Mapping[str, Any]) -> None:
        self._outgoing += orjson.dumps(order) + b"\n"
        self.flush()

    def flush(self) -> None:
        """Sends what srun accepts: it accepts nothing while its own output is not read."""
        if not self._outgoing or self._stdin.closed:
            return
        try:
            self._outgoing = self._outgoing[os.write(self._stdin.fileno(), self._outgoing) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._outgoing = b""

    def read(self) -> Iterator[Reply | StepMessage]:
        """Yields what has arrived; `open` is False after the last line."""
        while self.open:
            try:
                chunk = os.read(self._stdout.fileno(), 1 << 16)
            except BlockingIOError:
                return
            self.open = bool(chunk)
            for line in self._splitter.feed(chunk):
                if line.strip():
                    yield self._parse(line)

    def _parse(self, line: bytes) -> Reply | StepMessage:
        with contextlib.suppress(orjson.JSONDecodeError):
            content = orjson.loads(line)
            if isinstance(content, dict) and "node" in content:
                self._step = content.get("step") or self._step
                return Reply(line, content)
        message = parse_message(line.decode(errors="replace"))
        self.messages.append(message)
        return message

    @property
    def errors(self) -> list[str]:
        """The errors that Slurm printed, or else its whole output."""
        texts = [message.text for message in self.messages]
        return [text for text in texts if "error:" in text] or texts

    @property
    def cancellation(self) -> str | None:
        return next((m.cancellation for m in self.messages if m.cancellation), None)

    def cancel(self) -> None:
        """Cancels the step, whose tasks may outlive srun."""
        if self._step is not None:
            with contextlib.suppress(commands.SlurmFailed):
                commands.cancel(f"{self._job_id}.{self._step}")

    def leave(self) -> None:
        """Closes the input of the tasks, which makes them exit."""
        self._stdin.close()

    def close(self, seconds: float, grace: float | None = None) -> None:
        self.leave()
        stop(self._srun, seconds, grace)
        self._stdout.close()
        self.open = False
