"""The nodes of a Slurm allocation."""

import contextlib
import os
import select
import shlex
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Process
from launcher.errors import DeploymentEnded, NodeLost, StartFailed
from launcher.images.apptainer import PROGRAM as APPTAINER
from launcher.runtimes.base import Handle
from launcher.runtimes.handles import CLOSE_SECONDS, LOST, RemoteProcess, SrunProcess
from launcher.runtimes.node_checks import is_up, refuse_failures, same_together, start_checks
from launcher.slurm import commands
from launcher.slurm.allocation import Allocation
from launcher.slurm.srun import srun, Step, step_argv
from launcher.system.files import check_writable
from launcher.system.machine import Limits
from launcher.system.signals import Interrupted

START_SECONDS = 60.0
RETURN_SECONDS = 20.0
LOOK_SECONDS = 60.0
SLURM_SECONDS = 120.0
SILENT_SECONDS = 10.0
PING_SECONDS = 1.0
LAST_WORDS_SECONDS = 0.3
"""Slurm says that a task has ended before it says why."""


class SlurmRuntime:
    """Holds one Slurm step with an agent on every node (one for each component of a heterogeneous
    job), and a step more for nodes whose agent was lost."""

    patience: float | None = 1.0

    def __init__(
        self,
        allocated: Allocation,
        nodes: Sequence[str],
        name: str,
        silence: float,
        *,
        own_job: bool = False,
        start_seconds: float = START_SECONDS,
    ) -> None:
        """Agents end after `silence` seconds without a word from here, and have
        `start_seconds` to start."""
        self._silence, self._own_job, self._start_seconds = silence, own_job, start_seconds
        self._allocated, self._nodes, self._name = allocated, tuple(nodes), name
        self._steps: list[Step] = []
        self._where: dict[str, Step] = {}
        self._heard: dict[str, float] = {}
        self._lost: dict[str, str] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        self._remotes: dict[str, RemoteProcess] = {}
        self._fellows: dict[str, set[str]] = {}
        self._piped: list[SrunProcess] = []
        self._trying: set[str] = set()
        self._images: dict[str, str] = {}
        self._to_start: dict[str, list[dict[str, Any]]] = {}
        self._untold: list[str] = []
        self._stopping = False
        self._next_ping = 0.0
        self.check: Callable[[], None] = lambda: None
        self.note: Callable[[str], object] = lambda _: None

    # -- what a runtime does

    def prepare(
        self, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
    ) -> None:
        self._open(self._nodes, self._start_seconds)
        ports: dict[str, list[int]] = {}
        for process in processes:
            ports.setdefault(process.node, []).extend(process.ports)
        wanted = {"ports": same_together(ports), "files": [str(file) for file in files]}
        if files:
            wanted |= {"programs": [APPTAINER]}
        with _token(folder, f"{self._name} {time.time_ns()}") as token:
            seen = self.look(wanted | token)
        refuse_failures(start_checks(dict(sorted(seen.items())), processes, files, folder))
        views = next(iter(seen.values()))["files"]
        self._images = {file: view["digest"] for file, view in views.items()}

    def start(self, process: Process, *, pipes: bool = False) -> Handle:
        if pipes:
            return self._start_piped(process)
        if process.node in self._lost:
            self._reopen(process.node)
        remote = self._remotes[process.name] = RemoteProcess(self, process)
        wanted = {
            "name": process.name,
            "argv": process.argv,
            "environment": process.environment,
            "log": str(process.log),
        }
        self._to_start.setdefault(process.node, []).append(wanted)
        return remote

    def _send_starts(self) -> None:
        """In one order for all nodes of a step."""
        waiting, self._to_start = self._to_start, {}
        for step in {self._where[node] for node in waiting}:
            mine = {node: wanted for node, wanted in waiting.items() if self._where[node] is step}
            step.order({"to": None, "start": mine})

    def events(self) -> list[int]:
        return [step.fileno() for step in self._steps if step.open]

    def pump(self) -> list[str]:
        reports, self._untold = self._untold, []
        for step in [step for step in self._steps if step.open]:
            for answer in step.answers():
                reports += self._take(step, answer)
            if not step.open:
                reports += self._ended(step)
        if time.monotonic() >= self._next_ping:
            self._next_ping = time.monotonic() + PING_SECONDS
            for step in self._steps:
                if step.open:
                    step.order({"to": None})
        self._send_starts()
        for step in self._steps:
            step.flush()
        silent = time.monotonic() - SILENT_SECONDS
        for node, heard in self._heard.items():
            if heard < silent and node not in self._lost:
                reports += self._lose(node, "it has stopped answering")
        return reports

    def free_port(self, node: str) -> int:
        return int(self.look({"free_port": True}, [node])[node]["free_port"])

    def limits(self) -> Limits:
        limits = [view["limits"] for view in self.look({"limits": True}).values()]
        return Limits(
            min(each["descriptors"] for each in limits), min(each["ports"] for each in limits)
        )

    def describe(self) -> Mapping[str, object]:
        return {
            "job": self._allocated.job_id,
            "allocation": self._allocated.as_dict(),
            "images": self._images,
            "steps": len(self._steps),
            "srun": shlex.join(self._steps[0].argv) if self._steps else None,
        }

    def fate(self) -> str | None:
        try:
            job = commands.job(self._allocated.job_id)
        except commands.SlurmFailed:
            return None
        if job.active:
            return None
        told = [line for step in self._steps for line in step.said if "CANCELLED" in line]
        why = (
            job.description
            if job.ended
            else told[0].partition("***")[2].strip(" *")
            if told
            else "see launcher status"
        )
        return f"Slurm ended job {job.id}: {why}"

    def stopping(self) -> None:
        self._stopping = True

    def close(self) -> None:
        for step in self._steps:
            step.leave()
        for step in self._steps:
            step.close(CLOSE_SECONDS)
        self._steps.clear()

    # -- agents

    def look(
        self, wanted: Mapping[str, Any], nodes: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """What each node's agent sees. Raises `StartFailed` when one does not answer."""
        asked = set(nodes or self._nodes)
        self._seen.clear()
        for step in {self._where[node] for node in asked}:
            step.order({"to": nodes[0] if nodes and len(nodes) == 1 else None, "look": wanted})
        for _ in self.pumping(time.monotonic() + LOOK_SECONDS):
            self.check()
            if asked <= set(self._seen):
                return {node: self._seen[node] for node in asked}
            self._check_lost(asked)
        silent = ", ".join(sorted(asked - set(self._seen)))
        raise StartFailed(f"no answer from {silent} within {LOOK_SECONDS:.0f} s")

    def signal(self, process: Process, number: int) -> None:
        self._send_starts()
        order = {"to": process.node, "signal": int(number), "name": process.name}
        self._where[process.node].order(order)

    def pumping(self, deadline: float | None) -> Iterator[None]:
        """Yields after every pump, until the deadline (monotonic)."""
        while True:
            self._untold = self.pump()
            yield
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            waits = [seconds for seconds in (left, self.patience) if seconds is not None]
            select.select(self.events(), [], [], min(waits))

    def _open(self, nodes: Sequence[str], seconds: float) -> None:
        """Starts agents and waits for them. Raises `StartFailed`."""
        waiting = set(nodes)
        for node in nodes:
            self._lost.pop(node, None)
            self._heard.pop(node, None)
        for part in self._allocated.by_component(nodes):
            step = Step(self._allocated, part, self._name, self._silence, own_job=self._own_job)
            self._steps.append(step)
            self._where |= dict.fromkeys(part, step)
        for _ in self.pumping(time.monotonic() + seconds):
            self.check()
            waiting -= set(self._heard)
            if not waiting:
                for node in nodes:
                    self._where[node].answered = True
                return
            self._check_lost(waiting)
        step = self._where[min(waiting)]
        for late in {self._where[node] for node in nodes}:
            late.close(CLOSE_SECONDS)
        raise StartFailed(
            f"no agent answers on {', '.join(sorted(waiting))} after {seconds:.0f} s; Slurm says:\n"
            f"{step.complaint or '  nothing'}\nthe command was: {shlex.join(step.argv)}"
        )

    def _check_lost(self, nodes: set[str]) -> None:
        gone = sorted(nodes & set(self._lost))
        if gone:
            step = self._where[gone[0]]
            for _ in self.pumping(time.monotonic() + LAST_WORDS_SECONDS):
                pass
            raise StartFailed(
                f"cannot use {', '.join(gone)}: {self._lost[gone[0]]}; Slurm says:\n{step.complaint}\n"
                f"the command was: {shlex.join(step.argv)}"
            )

    def _reopen(self, node: str) -> None:
        """A new agent for a lost node, and for those that were lost together with it. Raises
        `NodeLost`: Slurm may take minutes to count a dead node down."""
        problem, fellows = "", self._fellows.pop(node, {node})
        for _ in self.pumping(time.monotonic() + RETURN_SECONDS):
            states = self._lost_states()
            usable = [lost for lost, state in states.items() if lost in fellows and is_up(state)]
            if node not in usable:
                problem = f"{node} is {states.get(node, 'unknown').lower()}: {self._lost[node]}"
                break
            self._trying = set(usable)
            try:
                return self._open(usable, RETURN_SECONDS)
            except StartFailed as failure:  # as a controller that has just begun makes it
                for step in {self._where[lost] for lost in usable}:
                    step.close(CLOSE_SECONDS)
                for lost in usable:
                    self._lost.setdefault(lost, "no agent could be started on it again")
                said = self._where[node].complaint.strip() or str(failure)
                problem = f"{node} cannot be used again: {said.splitlines()[-1].strip()}"
                fellows = {node}
            finally:
                self._trying.clear()
        raise NodeLost(problem)

    def _lost_states(self) -> dict[str, str]:
        """As Slurm has them; it may be restarting. Raises `NodeLost`."""
        problem = ""
        for _ in self.pumping(time.monotonic() + SLURM_SECONDS):
            self.check()
            try:
                return commands.node_states(self._lost)
            except commands.SlurmFailed as failure:
                problem = str(failure)
        raise NodeLost(problem)

    def _take(self, step: Step, answer: dict[str, Any]) -> list[str]:
        if "slurm" in answer:
            node = answer.get("failed")
            lost = node is not None and self._where.get(node) is step and node not in self._lost
            self.note(answer["slurm"])
            return self._lose(node, answer["how"]) if lost and node else []
        node = answer["node"]
        if self._where.get(node) is not step:
            return []
        self._heard[node] = time.monotonic()
        if "seen" in answer:
            self._seen[node] = answer["seen"]
        elif "asked" in answer:  # `launcher down` on another machine
            raise Interrupted(signal.SIGINT)
        elif "started" in answer:
            self._remotes[answer["started"]].pid = answer["pid"]
        elif "ended" in answer:
            remote = self._remotes[answer["ended"]]
            remote.code, remote.last_lines = answer["code"], answer["tail"]
        elif "leaving" in answer:
            return self._left(node, answer["leaving"])
        return []

    def _left(self, node: str, why: str) -> list[str]:
        if self._stopping or why == "told to":
            return []
        self._check_job()
        return self._lose(node, f"its agent left: {why}")

    def _ended(self, step: Step) -> list[str]:
        """The step's srun has ended: nobody of its agents is left."""
        nodes = [
            node for node in step.nodes if self._where[node] is step and node not in self._lost
        ]
        if self._stopping:
            return self._lose_all(nodes, "its Slurm step has ended")
        step.cancel()
        cancelled = [line for line in step.said if "CANCELLED" in line]
        self._check_job()
        if cancelled and step.answered:
            raise DeploymentEnded(f"its Slurm step was ended: {cancelled[0]}")
        self._fellows |= {node: set(nodes) for node in nodes}
        return self._lose_all(nodes, "its Slurm step has ended")

    def _check_job(self) -> None:
        if story := self.fate():
            raise DeploymentEnded(story)

    def _lose_all(self, nodes: Sequence[str], why: str) -> list[str]:
        return [line for node in nodes for line in self._lose(node, why)]

    def _lose(self, node: str, why: str) -> list[str]:
        """What there is to report: nothing for one that is only being tried."""
        self._lost[node] = why
        for remote in self._remotes.values():
            if remote.process.node == node and remote.code is None:
                remote.code, remote.lost = LOST, f"{node}: {why}"
        self._where[node].order({"to": node, "quit": True})  # should it still be there
        for piped in self._piped:
            if piped.node == node:
                piped.lose(f"{node}: {why}")
        return [] if node in self._trying else [f"lost {node}: {why}"]

    def _start_piped(self, process: Process) -> Handle:
        name = f"{process.name}-{uuid.uuid4().hex[:8]}"
        argv = step_argv(self._allocated, [process.node], name, process.argv)
        popen = srun(argv, process.environment, process.log)
        piped = SrunProcess(popen, process, self._allocated.job_of(process.node), name)
        self._piped.append(piped)
        return piped


@contextlib.contextmanager
def _token(folder: Path | None, text: str) -> Iterator[dict[str, Any]]:
    """A file by which agents tell whether they see the same folder."""
    if folder is None:
        yield {}
        return
    check_writable(folder)
    token = folder / f".openenv-token-{os.getpid()}"
    token.write_text(text)
    try:
        yield {"token": [str(token), text]}
    finally:
        token.unlink(missing_ok=True)
