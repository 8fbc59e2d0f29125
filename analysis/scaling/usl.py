"""The universal scalability law, fitted to ceilings.

N. J. Gunther, Guerrilla Capacity Planning (2007): C(N) = λN / (1 + α(N−1) + βN(N−1)).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import auto, Enum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.rows.fields import Array
from analysis.scaling.brackets import Bracket, interval, parse, resamples, SEED
from analysis.scaling.ceilings import censored

Law = tuple[float, float, float]

# As many numbers of servers as the law has parameters.
MIN_SERVER_COUNTS = 3


class NoFitCode(Enum):
    TOO_FEW_SERVER_COUNTS = auto()
    NOT_THE_LAW = auto()
    NO_SCIPY = auto()


@dataclass(frozen=True)
class NoFit:
    """Why there is no fit: ceilings are known for `known` numbers of servers, and are lower bounds
    for those in `lower_bounds`."""

    code: NoFitCode
    known: int = 0
    lower_bounds: tuple[int, ...] = ()


class Nodes(NamedTuple):
    """A number of servers and its 95 % interval; None where no number suffices, or it is unknown."""

    low: int | None
    best: int | None
    high: int | None


@dataclass(frozen=True)
class Usl:
    """`rate` λ is the ceiling of one server, `contention` α the share that is serialised, `coherence` β
    the cost of keeping servers consistent. `samples` are (λ, α, β) of fits to resampled ceilings; none
    with a single repetition. `servers` are the numbers of servers with a known ceiling."""

    rate: float
    contention: float
    coherence: float
    samples: tuple[Law, ...]
    servers: tuple[int, ...]

    @property
    def law(self) -> Law:
        return self.rate, self.contention, self.coherence

    def at(self, servers: float) -> float:
        return ceiling(self.law, servers)

    @property
    def supremum(self) -> float:
        if self.coherence > 0:
            peak = math.sqrt(max(0.0, 1 - self.contention) / self.coherence)
            return self.at(max(1.0, peak))
        return self.rate / self.contention if self.contention > 0 else math.inf

    def band(self, servers: float) -> tuple[float, float]:
        """The 95 % interval of the resampled fits; NaN without samples."""
        if not self.samples:
            return math.nan, math.nan
        low, high = np.percentile([ceiling(law, servers) for law in self.samples], (2.5, 97.5))
        best = self.at(servers)
        return min(float(low), best), max(float(high), best)

    def nodes_for(self, sessions: float) -> Nodes:
        best = nodes_for(self.law, sessions)
        if not self.samples:
            return Nodes(None, best, None)
        numbers = [best, *(nodes_for(law, sessions) for law in self.samples)]
        each = np.array([math.inf if number is None else number for number in numbers])
        low, high = interval(each, each, each[0])
        return Nodes(_finite(low), best, _finite(high))


def ceiling(law: Law, servers: float) -> float:
    rate, contention, coherence = law
    more = servers - 1
    return rate * servers / (1 + contention * more + coherence * servers * more)


def nodes_for(law: Law, sessions: float) -> int | None:
    """The smallest number of servers with such a ceiling; None when the law never reaches it."""
    rate, contention, coherence = law
    if sessions <= rate:
        return 1
    # ceiling(N) >= sessions  <=>  a·N² + b·N + c <= 0
    a = sessions * coherence
    b = sessions * (contention - coherence) - rate
    c = sessions * (1 - contention)
    discriminant = b * b - 4 * a * c
    if b >= 0 or discriminant < 0:
        return None
    # The smaller root, in the form without cancellation, which also holds for a = 0.
    servers = max(1, math.ceil(2 * c / (-b + math.sqrt(discriminant)) - 1e-9))
    return servers if ceiling(law, servers) >= sessions * (1 - 1e-9) else None


def usl(ceilings: pd.DataFrame) -> Usl | NoFit:
    """The law through the ceilings of all repetitions, without those that are lower bounds.

    N/C is linear in 1/λ, α/λ and β/λ, so a non-negative least squares fit of it, with relative
    residuals, is the fit, and fast enough to repeat for every resample.
    """
    lines = ceilings.dropna(subset=["servers"]).sort_values("servers").to_dict("records")
    measured = _measured(lines)  # type: ignore[arg-type]
    if len(measured) < MIN_SERVER_COUNTS:
        bounds = tuple(int(line["servers"]) for line in lines if censored(line))  # type: ignore[arg-type]
        return NoFit(NoFitCode.TOO_FEW_SERVER_COUNTS, len(measured), bounds)
    try:
        from scipy.optimize import nnls  # noqa: F401
    except ImportError:
        return NoFit(NoFitCode.NO_SCIPY)
    law = _fit({n: np.array([each.low for each in some]) for n, some in measured.items()})
    samples: list[Law | None] = []
    if min(map(len, measured.values())) > 1:
        generator = np.random.default_rng(SEED)
        drawn = [resamples(each, generator) for each in measured.values()]
        samples = [
            _fit(dict(zip(measured, each, strict=True))) for each in zip(*drawn, strict=True)
        ]
    if law is None or None in samples:
        return NoFit(NoFitCode.NOT_THE_LAW)
    return Usl(*law, tuple(sample for sample in samples if sample), tuple(measured))


def _measured(lines: list[dict[str, Any]]) -> Mapping[int, list[Bracket]]:
    measured: dict[int, list[Bracket]] = {}
    for line in lines:
        each = [bracket for bracket in parse(line["brackets"]) if bracket.low > 0]
        if each and not censored(line):
            measured.setdefault(int(line["servers"]), []).extend(each)
    return measured


def _fit(measured: Mapping[int, Array]) -> Law | None:
    from scipy.optimize import nnls

    servers = np.concatenate([np.full(len(each), n, float) for n, each in measured.items()])
    relative = np.concatenate(list(measured.values())) / servers
    terms = np.stack([np.ones_like(servers), servers - 1, servers * (servers - 1)], axis=1)
    scale = relative.mean()
    (a, b, c), _ = nnls(terms * (relative / scale)[:, None], np.ones_like(servers))
    return (float(scale / a), float(b / a), float(c / a)) if a > 0 else None


def _finite(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
