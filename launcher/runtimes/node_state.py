"""The state of each node of a Slurm allocation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from launcher.runtimes.agent_step import AgentStep
from launcher.runtimes.handles import RemoteProcess, SrunProcess
from launcher.slurm.messages import MessageKind, StepMessage

SILENT_SECONDS = 10.0


class LossCause(Enum):
    """The values are for messages only."""

    AGENT_LEFT = "its agent exited"
    TASK_EXITED = "its task ended"
    NODE_FAILED = "node failure"
    STEP_ENDED = "its Slurm step ended"
    SILENT = f"its agent was silent for {SILENT_SECONDS:.0f} s"
    NOT_RESTARTED = "no agent could be started on it again"


MESSAGE_CAUSES = {
    MessageKind.TASK_EXITED: LossCause.TASK_EXITED,
    MessageKind.NODE_FAILED: LossCause.NODE_FAILED,
}


@dataclass(frozen=True)
class Loss:
    """Why a node cannot be used."""

    cause: LossCause
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}" if self.detail else self.cause.value


def loss_from(message: StepMessage) -> Loss | None:
    """The loss of the message's nodes that it reports, if any."""
    cause = MESSAGE_CAUSES.get(message.kind)
    return None if cause is None else Loss(cause, message.detail)


@dataclass(eq=False)
class NodeState:
    """`heard_at` is when the current agent last replied (monotonic); `lost_together` are the nodes that
    lost their agents at the same time."""

    name: str
    step: AgentStep | None = None
    heard_at: float | None = None
    loss: Loss | None = None
    lost_together: frozenset[str] = frozenset()
    reopening: bool = False
    view: Mapping[str, Any] | None = None
    to_start: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, RemoteProcess] = field(default_factory=dict)
    piped: list[SrunProcess] = field(default_factory=list)

    def attach(self, step: AgentStep) -> None:
        """A new agent is starting."""
        self.step, self.heard_at, self.loss = step, None, None

    def send(self, order: Mapping[str, Any]) -> None:
        """Sends an order to this node only."""
        if self.step is not None:
            self.step.send({"to": self.name, **order})

    def is_silent(self, now: float) -> bool:
        return (
            self.loss is None and self.heard_at is not None and now - self.heard_at > SILENT_SECONDS
        )

    def is_running_in(self, step: AgentStep) -> bool:
        return self.step is step and self.loss is None

    def lose(self, loss: Loss) -> str | None:
        """Marks the node and its processes lost. Returns the report, None during an attempt to reopen
        the node."""
        self.loss = loss
        for process in self.processes.values():
            process.set_lost(f"{self.name}: {loss}")
        return None if self.reopening else f"lost {self.name}: {loss}"

    def take_lost_together(self) -> frozenset[str]:
        """The nodes to reopen with this one, which is among them."""
        names, self.lost_together = self.lost_together, frozenset()
        return names | {self.name}

    def take_to_start(self) -> list[dict[str, Any]]:
        processes, self.to_start = self.to_start, []
        return processes
