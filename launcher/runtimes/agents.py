import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from launcher.deployment.placement import Process
from launcher.errors import DeploymentEnded, NodeLost, StartFailed
from launcher.runtimes.agent import LeaveReason
from launcher.runtimes.agent_step import AgentStep
from launcher.runtimes.handles import CLOSE_SECONDS
from launcher.runtimes.node_checks import is_up
from launcher.runtimes.node_state import NodeState, SILENT_SECONDS
from launcher.slurm import commands
from launcher.slurm.allocation import Allocation
from launcher.slurm.messages import StepMessage
from launcher.system.signals import Interrupted

START_SECONDS = 60.0
REOPEN_SECONDS = 20.0
PROBE_SECONDS = 60.0
SLURM_SECONDS = 120.0
POLL_SECONDS = 1.0
PING_SECONDS = 1.0
# Slurm reports that a task has ended before it reports why.
LAST_MESSAGES_SECONDS = 0.3


class Agents:
    """`check` is called during every wait and ends it by raising; `log` receives every line of srun."""

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
        """Agents exit after `silence` seconds without an order, and have `start_seconds` to start."""
        self.allocated, self._name = allocated, name
        self._silence, self._own_job, self.start_seconds = silence, own_job, start_seconds
        self.check: Callable[[], None] = lambda: None
        self.log: Callable[[str], object] = lambda _: None
        self.nodes = {node: NodeState(node) for node in nodes}
        self.steps: list[AgentStep] = []
        self.images: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self._expects_exits = False
        self._reports: list[str] = []
        self._next_ping = 0.0

    def events(self) -> list[int]:
        return [step.fileno() for step in self.steps if step.open]

    def pump(self) -> list[str]:
        reports, self._reports = self._reports, []
        for step in [step for step in self.steps if step.open]:
            for reply in step.replies():
                reports += self._take(step, reply)
            if not step.open:
                reports += self._step_ended(step)
        self._ping()
        self._send_starts()
        for step in self.steps:
            step.flush()
        now = time.monotonic()
        silent = [node for node in self.nodes.values() if node.is_silent(now)]
        return reports + self._lose(silent, f"its agent was silent for {SILENT_SECONDS:.0f} s")

    def _ping(self) -> None:
        if time.monotonic() >= self._next_ping:
            self._next_ping = time.monotonic() + PING_SECONDS
            for step in self.steps:
                if step.open:
                    step.send({"to": None})

    def _send_starts(self) -> None:
        for step in self.steps:
            nodes = [node for node in self.nodes.values() if node.step is step and node.to_start]
            if nodes:
                starts = {node.name: node.take_to_start() for node in nodes}
                step.send({"to": None, "start": starts, "variables": self.variables})

    def termination(self) -> str | None:
        try:
            job = commands.job(self.allocated.job_id)
        except commands.SlurmFailed:
            return None
        if job.active:
            return None
        cancellations = [step.cancellation for step in self.steps if step.cancellation]
        cancelled = cancellations[0] if cancellations else "see launcher status"
        return f"Slurm ended job {job.id}: {job.description if job.ended else cancelled}"

    def expect_exits(self) -> None:
        self._expects_exits = True

    def close(self) -> None:
        for step in self.steps:
            step.leave()
        for step in self.steps:
            step.close(CLOSE_SECONDS)
        self.steps.clear()

    def probe(
        self, request: Mapping[str, Any], names: Sequence[str] | None = None
    ) -> dict[str, Mapping[str, Any]]:
        """The answer of `launcher.runtimes.probe` on each node. Raises `StartFailed` when a node does
        not answer."""
        nodes = [self.nodes[name] for name in names or self.nodes]
        for node in nodes:
            node.view = None
        for step in _steps_of(nodes):
            step.send({"to": nodes[0].name if len(nodes) == 1 else None, "probe": request})
        for _ in self.pumping(time.monotonic() + PROBE_SECONDS):
            self.check()
            views = {node.name: node.view for node in nodes if node.view is not None}
            if len(views) == len(nodes):
                return views
            self._check_lost(nodes)
        silent = ", ".join(node.name for node in nodes if node.view is None)
        raise StartFailed(f"no answer from {silent} within {PROBE_SECONDS:.0f} s")

    def signal(self, process: Process, number: int) -> None:
        self._send_starts()
        self.nodes[process.node].send({"signal": int(number), "name": process.name})

    def pumping(self, deadline: float | None) -> Iterator[None]:
        """Yields after every `pump` until the deadline (monotonic)."""
        while True:
            self._reports = self.pump()
            yield
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            wait = POLL_SECONDS if left is None else min(left, POLL_SECONDS)
            select.select(self.events(), [], [], wait)

    def open(self, nodes: Sequence[NodeState], seconds: float) -> None:
        """Starts agents and waits until each has replied. Raises `StartFailed`."""
        for part in self.allocated.by_component([node.name for node in nodes]):
            step = AgentStep(self.allocated, part, self._name, self._silence, own_job=self._own_job)
            self.steps.append(step)
            for name in part:
                self.nodes[name].attach(step)
        waiting = list(nodes)
        for _ in self.pumping(time.monotonic() + seconds):
            self.check()
            waiting = [node for node in waiting if node.heard_at is None]
            if not waiting:
                for step in _steps_of(nodes):
                    step.answered = True
                return
            self._check_lost(waiting)
        diagnosis = _steps_of(waiting)[0].diagnosis
        names = ", ".join(sorted(node.name for node in waiting))
        raise StartFailed(f"no agent replied on {names} within {seconds:.0f} s; {diagnosis}")

    def _check_lost(self, nodes: Sequence[NodeState]) -> None:
        lost = sorted((node.name, node.loss) for node in nodes if node.loss is not None)
        if not lost:
            return
        for _ in self.pumping(time.monotonic() + LAST_MESSAGES_SECONDS):
            pass
        names, (first, reason) = ", ".join(name for name, _ in lost), lost[0]
        diagnosis = _steps_of([self.nodes[first]])[0].diagnosis
        raise StartFailed(f"cannot use {names}: {reason}; {diagnosis}")

    def reopen(self, node: NodeState) -> None:
        """Starts a new agent on a lost node, and on those that were lost together with it. Raises
        `NodeLost`: Slurm may take minutes to report a dead node as down."""
        problem, together = "", node.take_lost_together()
        for _ in self.pumping(time.monotonic() + REOPEN_SECONDS):
            states = self._states_of_lost()
            usable = [self.nodes[name] for name in together if is_up(states.get(name, "unknown"))]
            if node not in usable:
                problem = f"{node.name} is {states.get(node.name, 'unknown')}: {node.loss}"
                break
            try:
                return self._try_open(usable)
            except StartFailed as failure:  # for example while the Slurm controller restarts
                errors = _steps_of([node])[0].errors or str(failure).splitlines()
                problem = f"{node.name} cannot be used again: {errors[-1].strip()}"
                together = frozenset({node.name})
        raise NodeLost(problem)

    def _try_open(self, nodes: Sequence[NodeState]) -> None:
        for node in nodes:
            node.reopening = True
        try:
            self.open(nodes, REOPEN_SECONDS)
        except StartFailed:
            for step in _steps_of(nodes):
                step.close(CLOSE_SECONDS)
            for node in nodes:
                node.loss = node.loss or "no agent could be started on it again"
            raise
        finally:
            for node in nodes:
                node.reopening = False

    def _states_of_lost(self) -> dict[str, str]:
        """Slurm's states of the lost nodes; retries while the controller restarts. Raises `NodeLost`."""
        problem = ""
        lost = [node.name for node in self.nodes.values() if node.loss is not None]
        for _ in self.pumping(time.monotonic() + SLURM_SECONDS):
            self.check()
            try:
                return commands.node_states(lost)
            except commands.SlurmFailed as failure:
                problem = str(failure)
        raise NodeLost(problem)

    def _take(self, step: AgentStep, reply: dict[str, Any] | StepMessage) -> list[str]:
        """Returns lines to report."""
        if isinstance(reply, StepMessage):
            self.log(reply.text)
            if reply.loss is None:
                return []
            nodes = [self.nodes[name] for name in reply.nodes if name in self.nodes]
            return self._lose([n for n in nodes if n.is_running_in(step)], reply.loss)
        node = self.nodes.get(reply["node"])
        if node is None or node.step is not step:
            return []
        node.heard_at = time.monotonic()
        if "view" in reply:
            node.view = reply["view"]
        elif "stop_request" in reply:  # `launcher down` on another machine
            raise Interrupted(signal.SIGINT)
        elif "started" in reply:
            node.processes[reply["started"]].pid = reply["pid"]
        elif "exited" in reply:
            node.processes[reply["exited"]].set_exited(reply["code"], reply["tail"])
        elif "leaving" in reply:
            return self._agent_left(node, LeaveReason(reply["leaving"]))
        return []

    def _agent_left(self, node: NodeState, reason: LeaveReason) -> list[str]:
        if self._expects_exits or reason is LeaveReason.QUIT:
            return []
        self._check_job()
        return self._lose([node], f"its agent exited: {reason.value}")

    def _step_ended(self, step: AgentStep) -> list[str]:
        """srun has exited, so none of the step's agents can be reached."""
        nodes = [node for node in self.nodes.values() if node.is_running_in(step)]
        if not self._expects_exits:
            step.cancel()
            self._check_job()
            if step.cancellation and step.answered:
                raise DeploymentEnded(f"its Slurm step was cancelled: {step.cancellation}")
            for node in nodes:
                node.lost_together = frozenset(each.name for each in nodes)
        return self._lose(nodes, "its Slurm step ended")

    def _check_job(self) -> None:
        if termination := self.termination():
            raise DeploymentEnded(termination)

    def _lose(self, nodes: Sequence[NodeState], loss: str) -> list[str]:
        reports = [node.lose(loss) for node in nodes]
        for node in nodes:
            node.send({"quit": True})  # the agent may still be running
            for piped in node.piped:
                piped.lose(f"{node.name}: {loss}")
        return [report for report in reports if report]


def _steps_of(nodes: Iterable[NodeState]) -> list[AgentStep]:
    return list(dict.fromkeys(node.step for node in nodes if node.step is not None))
