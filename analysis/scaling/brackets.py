"""Between which batches the ceilings of repetitions lie, and resamples of them.

A search ends near the ceiling, not at it: the ceiling is anywhere from the largest batch that passed up
to the smallest above it that failed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
RESAMPLES = 2000
SEED = 20260301


class Bracket(NamedTuple):
    """The largest batch of a repetition that passed, and the smallest above it that failed: None where
    none did."""

    low: int
    high: int | None

    @property
    def text(self) -> str:
        return f"{self.low}-{'' if self.high is None else self.high}"

    @property
    def most(self) -> float:
        """The largest ceiling that there can be."""
        return math.inf if self.high is None else max(self.low, self.high - 1)


def parse(text: Any) -> list[Bracket]:
    """Of the column `brackets`: "336-352 704-"; none of what is no text."""
    words = text.split() if isinstance(text, str) else []
    pairs = [word.split("-") for word in words]
    return [Bracket(int(low), int(high) if high else None) for low, high in pairs]


def resamples(
    brackets: Sequence[Bracket], generator: np.random.Generator, beyond: float = 0.0
) -> Array:
    """RESAMPLES × repetitions: repetitions drawn at random, and a value within the bracket of each; an
    open one reaches `beyond` what passed."""
    lows = np.array([bracket.low for bracket in brackets], dtype=float)
    mosts = np.array([bracket.most for bracket in brackets])
    widths = np.where(np.isinf(mosts), beyond, mosts - lows)
    chosen = generator.integers(len(brackets), size=(RESAMPLES, len(brackets)))
    # One place for all: searches that end in the same bracket err by the same, and places of their own
    # would average away what none of them knows. Never 0, which times infinity is no number.
    places = 1 - generator.random((RESAMPLES, 1))
    return np.asarray(lows[chosen] + widths[chosen] * places)


def means(brackets: Sequence[Bracket], seed: int = SEED, beyond: float = 0.0) -> Array:
    """Means of resamples; the same for the same brackets."""
    return np.asarray(resamples(brackets, np.random.default_rng(seed), beyond).mean(axis=1))


def interval(lows: Array, highs: Array, contains: float) -> tuple[float, float]:
    """95 % of resampled values, widened to what it is an interval of. `highs` may be infinite: they are
    those of `lows` with open brackets at their most."""
    low = float(np.sort(lows)[int(0.025 * len(lows))])
    high = float(np.sort(highs)[math.ceil(0.975 * len(highs)) - 1])
    return min(low, contains), max(high, contains)
