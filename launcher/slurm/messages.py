"""Parses the messages of srun and slurmstepd about a Slurm step."""

import re
from dataclasses import dataclass

TASK_EXITED = re.compile(r"srun: error: (?P<nodes>\S+): tasks? [\d,-]+: (?P<detail>.+)")
NODE_FAILED = re.compile(r"srun: error: Node failure on (?P<nodes>\S+)")
# slurmstepd: error: *** STEP 7.0 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***
CANCELLED = re.compile(r"(?:\*\*\* *)?(?P<detail>[^*]*\bCANCELLED\b[^*]*)")


@dataclass(frozen=True)
class StepMessage:
    """`loss` is why `nodes` are lost; `cancellation` is what ended the step or its job."""

    text: str
    nodes: tuple[str, ...] = ()
    loss: str | None = None
    cancellation: str | None = None


def parse_message(text: str) -> StepMessage:
    if match := TASK_EXITED.match(text):
        return StepMessage(text, node_names(match["nodes"]), f"its task ended: {match['detail']}")
    if match := NODE_FAILED.match(text):
        return StepMessage(text, node_names(match["nodes"]), "node failure")
    if match := CANCELLED.search(text):
        return StepMessage(text, cancellation=match["detail"].strip())
    return StepMessage(text)


def node_names(nodes: str) -> tuple[str, ...]:
    """The names in a list such as `node[2-3,5],login1`."""
    return tuple(
        name for part in re.split(r",(?![^\[]*\])", nodes) for name in _expand_ranges(part)
    )


def _expand_ranges(nodes: str) -> list[str]:
    match = re.fullmatch(r"(.*)\[([\d,-]+)\](.*)", nodes)
    if not match:
        return [nodes]
    prefix, ranges, suffix = match.groups()
    names = []
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        for number in range(int(low), int(high or low) + 1):
            names.append(f"{prefix}{number:0{len(low)}d}{suffix}")
    return names
