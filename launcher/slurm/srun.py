"""One Slurm step with an agent on each of its nodes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.slurm import commands
from launcher.slurm.allocation import Allocation
from launcher.system.process import spawn

TASK_ENDED = re.compile(r"srun: error: (?P<node>\S+): tasks? [\d,-]+: (?P<how>.+)")
NODE_FAILED = re.compile(r"srun: error: Node failure on (?P<node>\S+)")
SAID_LINES = 40
STEP_VARIABLES = (
    *("SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK", "SLURM_NTASKS", "SLURM_NPROCS"),
    *("SLURM_NTASKS_PER_NODE", "SLURM_DISTRIBUTION", "SLURM_EXACT", "SLURM_EXCLUSIVE"),
    *("SLURM_THREADS_PER_CORE", "SLURM_HINT", "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_NODE"),
    *("SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_LABELIO", "SLURM_UNBUFFEREDIO"),
    *(
        "SLURM_TRES_PER_TASK",
        "SLURM_GRES",
        "SLURM_GPUS",
        "SLURM_GPUS_PER_NODE",
        "SLURM_GPUS_PER_TASK",
    ),
    *("SLURM_GPUS_PER_SOCKET", "SLURM_CPUS_PER_GPU", "SLURM_MEM_PER_GPU", "SLURM_GPU_BIND"),
    *("SLURM_NTASKS_PER_CORE", "SLURM_NTASKS_PER_SOCKET", "SLURM_NTASKS_PER_GPU"),
    *("SLURM_NTASKS_PER_TRES", "SLURM_STDINMODE", "SLURM_STDOUTMODE", "SLURM_STDERRMODE"),
    *("SLURM_OVERCOMMIT", "SLURM_CORE_SPEC", "SLURM_MULTI_PROG", "SLURM_IMMEDIATE", "SLURM_WHOLE"),
)
"""What an allocation or a shell sets for srun that would change a step of ours."""


def step_argv(
    allocated: Allocation, nodes: Sequence[str], name: str, command: Sequence[str]
) -> tuple[str, ...]:
    """srun of one task on each of the nodes, beside whatever else runs on them. The nodes are of one
    component: the input of an srun over several reaches the first alone."""
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


def srun(
    argv: Sequence[str], environment: Mapping[str, str], log: Path | None = None
) -> subprocess.Popen[bytes]:
    """With pipes for input and output; errors come with the output where there is no log.

    A step goes on without its srun, but not beyond an srun that was asked to end: so that is what
    happens to it when this process ends.
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


class Step:
    """What the agents of one `srun` say, and what they are told."""

    def __init__(
        self,
        allocated: Allocation,
        nodes: Sequence[str],
        name: str,
        silence: float,
        *,
        own_job: bool = False,
    ) -> None:
        self.nodes, self._job_id = tuple(nodes), allocated.job_of(nodes[0])
        agent = (sys.executable, "-P", "-m", "launcher.runtimes.agent", f"{silence:g}")
        self.argv = step_argv(allocated, nodes, name, agent)
        self._srun = srun(self.argv, {OWN_JOB: "1"} if own_job else {})
        assert self._srun.stdin is not None
        assert self._srun.stdout is not None
        self._input = self._srun.stdin.fileno()
        self._output = self._srun.stdout.fileno()
        os.set_blocking(self._output, False)
        os.set_blocking(self._input, False)
        self._buffer, self._outgoing = b"", b""
        self._parts: dict[str, str] = {}
        self.answered = False
        """Whether all of its agents have."""
        self.said: deque[str] = deque(maxlen=SAID_LINES)
        self.open = True
        self.id: str | None = None
        """As Slurm has it, once an agent has said it."""

    def fileno(self) -> int:
        return self._output

    def order(self, order: Mapping[str, Any]) -> None:
        self._outgoing += json.dumps(order).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """As much as srun takes: it takes nothing while its own output is not read."""
        assert self._srun.stdin is not None
        if not self._outgoing or self._srun.stdin.closed:
            return
        try:
            self._outgoing = self._outgoing[os.write(self._input, self._outgoing) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._outgoing = b""

    def answers(self) -> list[dict[str, Any]]:
        """What has come; a line of Slurm's own is {"slurm": line}, with the node that it says has
        failed. `open` is false after the last."""
        found: list[dict[str, Any]] = []
        while self.open:
            try:
                chunk = os.read(self._output, 1 << 16)
            except BlockingIOError:
                break
            self.open = bool(chunk)
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            found += [answer for line in lines if line.strip() for answer in self._parse(line)]
        return found

    def _parse(self, line: bytes) -> list[dict[str, Any]]:
        if line.startswith(b'{"node"'):
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if "part" in answer or "last" in answer:
                    return self._join(answer)
                if "hello" in answer:
                    self.id = f"{self._job_id}.{answer['hello']['step']}"
                return [answer]
        text = line.decode(errors="replace")
        self.said.append(text)
        failed = TASK_ENDED.match(text)
        if failed:
            return [
                {"slurm": text, "failed": node, "how": failed["how"]}
                for node in _names(failed["node"])
            ]
        down = NODE_FAILED.match(text)
        nodes = _names(down["node"]) if down else []
        failed_nodes = [{"slurm": text, "failed": node, "how": "node failure"} for node in nodes]
        return failed_nodes or [{"slurm": text}]

    def _join(self, piece: Mapping[str, Any]) -> list[dict[str, Any]]:
        so_far = self._parts.pop(piece["node"], "") + piece.get("part", piece.get("last", ""))
        if "part" in piece:
            self._parts[piece["node"]] = so_far
            return []
        return [json.loads(so_far)]

    @property
    def complaint(self) -> str:
        """What Slurm said, for an error message: its errors, or all of it."""
        errors = [line for line in self.said if "error:" in line] or list(self.said)
        return "\n".join(f"  {line}" for line in errors)

    def cancel(self) -> None:
        """Ends what goes on without its srun."""
        if self.id is not None:
            with contextlib.suppress(commands.SlurmFailed):
                commands.cancel(self.id)

    def leave(self) -> None:
        """Tells the agents to end."""
        assert self._srun.stdin is not None
        if self.open and not self._srun.stdin.closed:
            self.order({"to": None, "quit": True})
            self._srun.stdin.close()

    def close(self, seconds: float) -> bool:
        """Has the agents end; whether all of them had within the time."""
        self.leave()
        assert self._srun.stdin is not None
        self._srun.stdin.close()
        try:
            self._srun.wait(seconds)
            ended = True
        except subprocess.TimeoutExpired:
            self._srun.terminate()
            ended = False
            try:
                self._srun.wait(seconds)
            except subprocess.TimeoutExpired:
                self._srun.kill()
                self._srun.wait()
        assert self._srun.stdout is not None
        self._srun.stdout.close()
        self.open = False
        return ended


def _names(nodes: str) -> list[str]:
    """Slurm names several nodes as node[2-3,5],login1."""
    found = []
    for one in re.split(r",(?![^\[]*\])", nodes):
        found += _expand(one)
    return found


def _expand(nodes: str) -> list[str]:
    match = re.fullmatch(r"(.*)\[([\d,-]+)\](.*)", nodes)
    if not match:
        return [nodes]
    head, ranges, rest = match.groups()
    found = []
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        for number in range(int(low), int(high or low) + 1):
            found.append(f"{head}{number:0{len(low)}d}{rest}")
    return found


OWN_JOB = "OPENENV_OWN_JOB"
"""Set for the agents of a job that is there for its deployment alone."""
