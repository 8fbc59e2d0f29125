"""The brackets that contain the ceilings of repetitions, and resamples of these ceilings.

A search stops close to the ceiling, not at it: the ceiling lies between the largest batch that passed
and the smallest larger batch that failed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.rows.fields import Array

RESAMPLES = 2000
SEED = 20260301


class Bracket(NamedTuple):
    """The largest batch of a repetition that passed, and the smallest larger batch that failed; None
    when none failed."""

    low: int
    high: int | None

    def __str__(self) -> str:
        return f"{self.low}-{'' if self.high is None else self.high}"

    @property
    def max_ceiling(self) -> float:
        return math.inf if self.high is None else max(self.low, self.high - 1)


def parse(text: Any) -> list[Bracket]:
    """The brackets in a value of the column `brackets`, such as "336-352 704-"; none in NaN or None."""
    words = text.split() if isinstance(text, str) else []
    pairs = [word.split("-") for word in words]
    return [Bracket(int(low), int(high) if high else None) for low, high in pairs]


def resamples(
    brackets: Sequence[Bracket], generator: np.random.Generator, beyond: float = 0.0
) -> Array:
    """Bootstrap samples of ceilings, RESAMPLES × repetitions: repetitions drawn with replacement, and
    a value within the bracket of each. An open bracket extends `beyond` its lower end."""
    lows = np.array([bracket.low for bracket in brackets], dtype=float)
    highs = np.array([bracket.max_ceiling for bracket in brackets])
    widths = np.where(np.isinf(highs), beyond, highs - lows)
    chosen = generator.integers(len(brackets), size=(RESAMPLES, len(brackets)))
    # All repetitions of a resample take the same position within their brackets. Searches that stop in
    # the same bracket share their error; independent positions would average it away. The position is
    # never 0, because 0 × infinity is NaN.
    positions = 1 - generator.random((RESAMPLES, 1))
    return np.asarray(lows[chosen] + widths[chosen] * positions)


def means(brackets: Sequence[Bracket], seed: int = SEED, beyond: float = 0.0) -> Array:
    return np.asarray(resamples(brackets, np.random.default_rng(seed), beyond).mean(axis=1))


def interval(lows: Array, highs: Array, contains: float) -> tuple[float, float]:
    """The 95 % interval of resampled values, widened to contain the estimate. `lows` and `highs` are
    the values with open brackets at their lowest and at their highest, which may be infinite."""
    low = float(np.sort(lows)[int(0.025 * len(lows))])
    high = float(np.sort(highs)[math.ceil(0.975 * len(highs)) - 1])
    return min(low, contains), max(high, contains)
