"""The Slurm step that runs an agent on each of its nodes, as the launcher sees it."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from launcher.runtimes.agent import OWN_JOB
from launcher.slurm.allocation import Allocation
from launcher.slurm.messages import StepMessage
from launcher.slurm.srun import StepChannel


class AgentStep(StepChannel):
    """`answered` is whether all of its agents have replied."""

    def __init__(
        self,
        allocated: Allocation,
        nodes: Sequence[str],
        name: str,
        silence: float,
        *,
        own_job: bool = False,
    ) -> None:
        agent = (sys.executable, "-P", "-m", "launcher.runtimes.agent", f"{silence:g}")
        super().__init__(allocated, nodes, name, agent, {OWN_JOB: "1"} if own_job else {})
        self.answered = False
        self._parts: dict[str, str] = {}

    def replies(self) -> Iterator[dict[str, Any] | StepMessage]:
        """Yields what has arrived, with long replies put together."""
        for line in self.read():
            if isinstance(line, StepMessage):
                yield line
            elif (content := self._join(line.content)) is not None:
                yield content

    def _join(self, content: dict[str, Any]) -> dict[str, Any] | None:
        if "part" in content:
            self._parts[content["node"]] = self._parts.get(content["node"], "") + content["part"]
            return None
        if "last" in content:
            return dict(json.loads(self._parts.pop(content["node"], "") + content["last"]))
        return content

    @property
    def diagnosis(self) -> str:
        """The output of Slurm, and the command in a form that can be pasted into a shell."""
        lines = [f"  {text}" for text in self.errors or ["nothing"]]
        return "\n".join(("Slurm printed:", *lines, f"the command was: {shlex.join(self.argv)}"))

    def leave(self) -> None:
        if self.open and not self._stdin.closed:
            self.send({"to": None, "quit": True})
        super().leave()
