"""The universal scalability law, fitted to ceilings.

N. J. Gunther, Guerrilla Capacity Planning (2007): C(N) = λN / (1 + α(N−1) + βN(N−1)).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import ResultsError
from analysis.scaling.brackets import Bracket, parse, resamples, SEED
from analysis.scaling.ceilings import censored
from analysis.words import listed

Array = np.ndarray[Any, Any]
FEWEST = 3
"""Numbers of servers: as many as the law has parameters."""


class Nodes(NamedTuple):
    """How many servers: fewest, best and most of 95 %; None where no number is enough or known."""

    low: int | None
    best: int | None
    high: int | None


@dataclass(frozen=True)
class Usl:
    """`rate` λ is the ceiling of one server, `contention` α what waits for something shared,
    `coherence` β what servers cost each other. `samples` are (λ, α, β) of fits to resampled
    repetitions and brackets, none when there is one repetition; `servers` are those whose ceilings are
    known."""

    rate: float
    contention: float
    coherence: float
    samples: tuple[tuple[float, float, float], ...]
    servers: tuple[int, ...]

    @property
    def law(self) -> tuple[float, float, float]:
        return self.rate, self.contention, self.coherence

    def at(self, servers: float) -> float:
        """The ceiling by the law."""
        return ceiling(self.law, servers)

    def band(self, servers: float) -> tuple[float, float]:
        """95 % of the resampled fits; NaN without."""
        if not self.samples:
            return math.nan, math.nan
        low, high = np.percentile([ceiling(law, servers) for law in self.samples], (2.5, 97.5))
        best = self.at(servers)
        return min(float(low), best), max(float(high), best)

    def nodes_for(self, sessions: float) -> Nodes:
        best = nodes_for(self.law, sessions)
        if not self.samples:
            return Nodes(None, best, None)
        each = sorted(math.inf if n is None else n for n in (*self._nodes(sessions), best))
        low, high = each[int(0.025 * len(each))], each[math.ceil(0.975 * len(each)) - 1]
        top = math.inf if best is None else best
        return Nodes(_finite(min(low, top)), best, _finite(max(high, top)))

    def _nodes(self, sessions: float) -> list[int | None]:
        return [nodes_for(law, sessions) for law in self.samples]


def ceiling(law: tuple[float, float, float], servers: float) -> float:
    rate, contention, coherence = law
    more = servers - 1
    return rate * servers / (1 + contention * more + coherence * servers * more)


def nodes_for(law: tuple[float, float, float], sessions: float) -> int | None:
    """The fewest servers with such a ceiling; None when the law never gets there."""
    rate, contention, coherence = law
    if sessions <= rate:
        return 1
    # ceiling(N) >= sessions  <=>  a·N² + b·N + c <= 0
    a = sessions * coherence
    b = sessions * (contention - coherence) - rate
    c = sessions * (1 - contention)
    if a == 0:
        root = -c / b if b < 0 else math.inf
    else:
        inside = b * b - 4 * a * c
        # the smaller root, in the form that does not cancel
        root = 2 * c / (-b + math.sqrt(inside)) if inside >= 0 and b < 0 else math.inf
    if not math.isfinite(root):
        return None
    servers = max(1, math.ceil(root - 1e-9))
    return servers if ceiling(law, servers) >= sessions * (1 - 1e-9) else None


def usl(ceilings: pd.DataFrame) -> Usl | None:
    """The law through the ceilings of all repetitions; None where `no_usl` says why. Ceilings that are
    lower bounds only are no part of it.

    N/C is linear in 1/λ, α/λ and β/λ, so that a non-negative least squares fit of it, with relative
    residuals, is the fit, and quick enough to be repeated for every resample.
    """
    if no_usl(ceilings):
        return None
    measured = _measured(ceilings)
    law = _fit({n: np.array([each.low for each in some]) for n, some in measured.items()})
    samples: list[tuple[float, float, float]] = []
    if min(map(len, measured.values())) > 1:
        generator = np.random.default_rng(SEED)
        drawn = [resamples(each, generator) for each in measured.values()]
        samples = [
            _fit(dict(zip(measured, each, strict=True))) for each in zip(*drawn, strict=True)
        ]
    return Usl(*law, tuple(samples), tuple(measured))


def no_usl(ceilings: pd.DataFrame) -> str | None:
    """Why there is no fit; None when there is one."""
    measured = _measured(ceilings)
    if len(measured) >= FEWEST:
        return None
    why = (
        f"the law has {FEWEST} parameters, and ceilings of {len(measured)} number(s) of servers are "
        "known"
    )
    least = [str(line["servers"]) for line in _lines(ceilings) if _at_least(line)]
    return f"{why}; of {listed(least)} server(s) it is a lower bound only" if least else why


def _at_least(line: Mapping[str, Any]) -> bool:
    return censored(line) and not pd.isna(line["ceiling"])


def _lines(ceilings: pd.DataFrame) -> list[dict[str, Any]]:
    """Of which the number of servers is known, in their order."""
    known = ceilings.dropna(subset=["servers"]).sort_values("servers")
    return known.to_dict("records")  # type: ignore[return-value]


def _measured(ceilings: pd.DataFrame) -> Mapping[int, list[Bracket]]:
    """Of repetitions by number of servers, without ceilings of none and lower bounds."""
    found: dict[int, list[Bracket]] = {}
    for line in _lines(ceilings):
        each = [bracket for bracket in parse(line["brackets"]) if bracket.low > 0]
        if each and not censored(line):
            found.setdefault(int(line["servers"]), []).extend(each)
    return found


def _fit(measured: Mapping[int, Array]) -> tuple[float, float, float]:
    try:
        from scipy.optimize import nnls
    except ImportError:
        raise ResultsError(
            'the fit of the scalability law needs scipy: pip install -e ".[analysis]"'
        ) from None
    servers = np.concatenate([np.full(len(each), n, float) for n, each in measured.items()])
    relative = np.concatenate(list(measured.values())) / servers
    terms = np.stack([np.ones_like(servers), servers - 1, servers * (servers - 1)], axis=1)
    scale = relative.mean()
    (a, b, c), _ = nnls(terms * (relative / scale)[:, None], np.ones_like(servers))
    if a <= 0:
        raise ResultsError(
            "the ceilings do not follow the scalability law: more servers, far fewer sessions"
        )
    return float(scale / a), float(b / a), float(c / a)


def _finite(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
