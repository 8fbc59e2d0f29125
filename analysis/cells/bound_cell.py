"""The input and the output of the rules in bound_rules.py. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from analysis.cells.reasons import Bound
from analysis.cells.samples import Sampled
from analysis.cells.validity import LOST
from analysis.rows.error_types import ErrorType

LOAD_LOST = (*LOST, ErrorType.LOAD_ERROR)

# Errors that name their cause.
SELF_EXPLAINING = (
    ErrorType.CAPACITY_REACHED,
    ErrorType.NO_DESCRIPTORS,
    ErrorType.NO_PORTS,
    *LOAD_LOST,
)

# A limit that explains this share of the failed sessions, or of the time, explains the cell.
MAJORITY = 0.5


class Cause(Enum):
    """A cause that Envoy names only in the body of its response; the values are the texts that identify it
    (`Utility::resetReasonToString` of Envoy, and strerror of EADDRNOTAVAIL)."""

    OVERFLOW = ("overflow",)
    NO_ADDRESS = ("cannot assign requested address", "address not available", "eaddrnotavail")


def causes(messages: Sequence[str]) -> frozenset[Cause]:
    """The causes named in the error messages of rows."""
    text = "\n".join(messages).lower()
    return frozenset(cause for cause in Cause if any(word in text for word in cause.value))


@dataclass(frozen=True)
class Candidate:
    """A possible limit. `explains` is the share of failed sessions that it accounts for by count,
    `busy` whether it was CPU-bound for most of the cell."""

    by: Bound
    evidence: str
    explains: float = 0.0
    busy: bool = False

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Sorts the most direct candidate first: by a majority of the failures, then by a busy CPU."""
        major = self.explains >= MAJORITY
        busy = self.busy and not major
        return not major, not busy, 0.0 if busy else -self.explains

    @property
    def limits(self) -> bool:
        """Whether it limited the cell; if not, it is only worth inspecting."""
        return self.busy or self.explains > 0

    def as_dict(self) -> dict[str, str]:
        return {"by": self.by, "evidence": self.evidence}


@dataclass(frozen=True)
class Cell:
    line: Mapping[str, Any]
    errors: Mapping[str, int]
    causes: frozenset[Cause]
    sampled: Sampled
    facts: Mapping[str, Any]
    caps: Mapping[str, Any]

    @property
    def batch(self) -> int:
        return int(self.line["batch_size"])

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def unexplained(self) -> int:
        """The number of sessions whose error does not name its cause."""
        return self.failed - sum(self.errors.get(name, 0) for name in SELF_EXPLAINING)

    def share(self, sessions: int) -> float:
        """The share of the failed sessions that `sessions` make up."""
        return min(1.0, sessions / self.failed) if self.failed else 0.0

    @property
    def through_envoy(self) -> bool:
        """False when Envoy was not sampled."""
        return self.sampled.rise("envoy", "downstream_cx_total") >= self.batch / 2

    @property
    def places(self) -> tuple[int, int]:
        """The most places in use, and the number of places, of the servers that had sessions."""
        used = self.sampled.peaks("places", "used")
        limits = self.sampled.peaks("places", "limit")
        served = [each for each in used if self.served(each[0], each[2])]
        return sum(used[each] for each in served), sum(limits[each] for each in served)

    def served(self, node: str, name: str) -> bool:
        """Whether a server had sessions; clients may connect to one of several directly."""
        peaks = self.sampled.peaks("places", "used")
        return not any(peaks.values()) or peaks.get((node, "places", name), 1) > 0
