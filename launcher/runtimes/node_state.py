from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.runtimes.agent_step import AgentStep
from launcher.runtimes.handles import RemoteProcess, SrunProcess

SILENT_SECONDS = 10.0


@dataclass(eq=False)
class NodeState:
    """`heard_at` is when the current agent last replied (monotonic); `loss` is why the node cannot be
    used; `lost_together` are the nodes that lost their agents at the same time."""

    name: str
    step: AgentStep | None = None
    heard_at: float | None = None
    loss: str | None = None
    lost_together: frozenset[str] = frozenset()
    reopening: bool = False
    view: Mapping[str, Any] | None = None
    to_start: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, RemoteProcess] = field(default_factory=dict)
    piped: list[SrunProcess] = field(default_factory=list)

    def attach(self, step: AgentStep) -> None:
        self.step, self.heard_at, self.loss = step, None, None

    def send(self, order: Mapping[str, Any]) -> None:
        if self.step is not None:
            self.step.send({"to": self.name, **order})

    def is_silent(self, now: float) -> bool:
        return (
            self.loss is None and self.heard_at is not None and now - self.heard_at > SILENT_SECONDS
        )

    def is_running_in(self, step: AgentStep) -> bool:
        return self.step is step and self.loss is None

    def lose(self, loss: str) -> str | None:
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
