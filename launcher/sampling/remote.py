"""The Slurm steps that sample the nodes of a job: one for each component of it."""

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from launcher.errors import LauncherError
from launcher.slurm import commands
from launcher.slurm.allocation import Allocation
from launcher.slurm.srun import srun, step_argv

STEP = "openenv-samples"
SAID_LINES = 10
TERMINATE_SECONDS = 0.4


class Remote:
    """One srun. To be started by the main thread: it ends with the thread that started it."""

    def __init__(self, allocated: Allocation, nodes: Sequence[str], interval: float) -> None:
        self.nodes, self._job_id = tuple(nodes), allocated.job_of(nodes[0])
        self.open = True
        self._step: str | None = None
        self.said: deque[str] = deque(maxlen=SAID_LINES)
        command = (sys.executable, "-P", "-m", "launcher.sampling.node", f"{interval:g}")
        self._srun = srun(step_argv(allocated, nodes, STEP, command), {})
        assert self._srun.stdin is not None
        assert self._srun.stdout is not None
        self._input, self._output = self._srun.stdin.fileno(), self._srun.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._outgoing, self._buffer = b"", b""

    def fileno(self) -> int:
        return self._output

    def order(self, order: Mapping[str, Any]) -> None:
        """Never waits: what srun does not take goes with the next order."""
        self._outgoing += orjson.dumps(order) + b"\n"
        try:
            self._outgoing = self._outgoing[os.write(self._input, self._outgoing) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._outgoing = b""

    def answers(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Lines that have come, as they are and as what they say; `open` is false after the last."""
        while self.open:
            try:
                chunk = os.read(self._output, 1 << 16)
            except BlockingIOError:
                return
            self.open = bool(chunk)
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            for text in lines:
                try:
                    answer = orjson.loads(text)
                except orjson.JSONDecodeError:
                    self.said.append(text.decode(errors="replace"))
                    continue
                if isinstance(answer, dict) and "node" in answer:
                    self._step = answer.get("step") or self._step
                    yield text, answer

    @property
    def complaint(self) -> str:
        """What Slurm said last, on one line."""
        told = [line for line in self.said if "error:" in line] or list(self.said)
        return told[-1].strip() if told else "Slurm said nothing"

    def cancel(self) -> None:
        """Ends what goes on without its srun."""
        if self._step is not None:
            with contextlib.suppress(LauncherError):
                commands.cancel(f"{self._job_id}.{self._step}")

    def leave(self) -> None:
        """The end of its input ends what runs on the nodes."""
        assert self._srun.stdin is not None
        self._srun.stdin.close()

    def close(self, seconds: float) -> None:
        """Waits for its end for so long, then ends it."""
        for end in (self._srun.terminate, self._srun.kill):
            try:
                self._srun.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                end()
                seconds = TERMINATE_SECONDS
        self._srun.wait()
        assert self._srun.stdout is not None
        self._srun.stdout.close()
        self.open = False
