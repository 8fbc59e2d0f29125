"""The probability that chance alone makes a change as large as the observed one."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import ResultsError
from analysis.rows.fields import Array

# Sessions of one cell fail together, so chance makes such changes more often than with independent
# sessions, by a factor of this order.
CLUSTERED = 5.0


@dataclass(frozen=True)
class Spread:
    variance: float
    freedom: int


def spread(groups: Iterable[Array]) -> Spread:
    squares, freedom = 0.0, 0
    for group in groups:
        squares += float(((group - group.mean()) ** 2).sum())
        freedom += len(group) - 1
    return Spread(squares / freedom if freedom else 0.0, freedom)


def of_two(a: Array, b: Array, common: Spread) -> float:
    """Student's t test that two groups have the same mean. `common` is the spread of all groups of the
    measure. It is used where it exceeds the spread of these two, because three repetitions may agree by
    chance."""
    own = spread((a, b))
    used = own if own.variance > common.variance else common
    error = math.sqrt(used.variance * (1 / len(a) + 1 / len(b)))
    return _students(float(b.mean() - a.mean()), error, used.freedom)


def of_pairs(differences: Sequence[float]) -> float:
    estimate = spread([np.array(differences)])
    error = math.sqrt(estimate.variance / len(differences))
    return _students(float(np.mean(differences)), error, estimate.freedom)


def of_shares(good_a: int, good_b: int, all_a: int, all_b: int) -> float:
    """The test that two shares of sessions are equal, with their pooled standard error and Yates'
    correction, widened by CLUSTERED."""
    pooled = (good_a + good_b) / (all_a + all_b)
    each = 1 / all_a + 1 / all_b
    error = math.sqrt(pooled * (1 - pooled) * each)
    distance = abs(good_a / all_a - good_b / all_b) - each / 2
    if error == 0 or distance <= 0:
        return 1.0
    return min(1.0, CLUSTERED * math.erfc(distance / error / math.sqrt(2)))


def _students(difference: float, error: float, freedom: int) -> float:
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return students(difference / error, freedom)


def students(t: float, freedom: int) -> float:
    """The two-sided p of Student's t. Raises `ResultsError` without scipy."""
    try:
        from scipy.stats import t as distribution
    except ImportError:
        raise ResultsError('a comparison needs scipy: pip install -e ".[analysis]"') from None
    return float(2 * distribution.sf(abs(t), freedom))


def holm(chances: Sequence[float]) -> list[float]:
    """The probabilities corrected for their number (Holm–Bonferroni): if those up to 0.05 count as
    changes, 5 % of comparisons of equal systems report any."""
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[index]))
        adjusted[index] = highest
    return adjusted
