"""One run of the benchmark: its sizes, its folder, and every measurement that was made."""

import ipaddress
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.perf.machine import wait_until_idle


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements; times are in seconds."""

    rounds: int = 3
    sessions: int = 4096
    wait: float = 1.0
    stepping: int = 1000
    steps: int = 100
    large: int = 16_384
    held: int = 100_000
    starts: int = 5
    own_sessions: int = 1024
    own_steps: int = 25
    rows: int = 2_000_000
    sampled: int = 2000
    idle: float = 30.0


QUICK = Sizes(
    rounds=1,
    sessions=48,
    wait=0.1,
    stepping=16,
    steps=4,
    large=96,
    held=128,
    starts=1,
    own_sessions=16,
    own_steps=4,
    rows=6_000,
    sampled=20,
    idle=0.0,
)


@dataclass(frozen=True)
class Measurement:
    """One or more values of one subject, measured once. `of` is the subject (kit, picows, …); times are in
    seconds unless a name has another unit. A measurement with failed sessions does not count."""

    figure: str
    of: str
    round: int
    values: dict[str, float | None]
    sessions: int = 0
    failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    idle: bool = True
    at: str = ""
    note: str = ""


@dataclass
class Run:
    sizes: Sizes
    folder: Path
    address: str
    measurements: list[Measurement] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    quick: bool = False
    only: frozenset[str] = frozenset()  # the figures that are wanted
    _next: int = 0
    _idle: bool = True

    def rounds(self) -> Iterator[int]:
        return iter(range(1, self.sizes.rounds + 1))

    def settle(self) -> None:
        """Waits until the machine is idle; the following measurements record whether it was."""
        self._idle = wait_until_idle(self.sizes.idle)

    def new_address(self, width: int = 1) -> str:
        """The first of `width` loopback addresses that nothing else in this run uses, so that ports in
        TIME_WAIT do not matter."""
        first = ipaddress.IPv4Address(self.address) + self._next
        self._next += width
        return str(first)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def record(
        self,
        figure: str,
        of: str,
        round_: int,
        values: Mapping[str, float | None],
        outcome: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """`outcome` is what the load reports about its sessions."""
        outcome = outcome or {}
        measured = Measurement(
            figure,
            of,
            round_,
            dict(values),
            outcome.get("sessions", 0),
            outcome.get("failed", 0),
            outcome.get("errors", {}),
            self._idle,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            note,
        )
        self.measurements.append(measured)
        output = "  ".join(f"{k} {v:,.6g}" for k, v in measured.values.items() if v is not None)
        lost = f"  FAILED {measured.failed} of {measured.sessions}" if measured.failed else ""
        print(f"  {figure:8} {of:24} #{round_}  {output}{lost}", flush=True)

    def note(self, figure: str, text: str) -> None:
        """Notes how a figure was measured where the title does not make it clear."""
        known = self.notes.setdefault(figure, [])
        if text not in known:
            known.append(text)

    def as_dict(self) -> dict[str, Any]:
        return {
            "sizes": asdict(self.sizes),
            "quick": self.quick,
            "measurements": [asdict(each) for each in self.measurements],
            "notes": self.notes,
        }
