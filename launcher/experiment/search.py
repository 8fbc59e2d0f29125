"""The search for a ceiling: which batch to try next, and the bracket of each repetition. Pure."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one batch. With a `problem` it is inconclusive."""

    passed: bool
    problem: str | None = None


@dataclass(frozen=True)
class Range:
    """The batches to search, from `start`. Batches below `min_batch` cannot be judged."""

    start: int
    max_batch: int
    precision: float = 0.05
    min_batch: int = 1

    def tolerance(self, batch: int) -> int:
        """How far a failing batch may be above a passing one when the search ends."""
        return max(1, int(self.precision * batch))


@dataclass(frozen=True)
class Bracket:
    """The result of one repetition: the largest batch that passed (0 when none did) and the smallest
    that failed (None when none did). A `problem` ended the search early."""

    ceiling: int
    failing: int | None = None
    problem: str | None = None


def find_brackets(
    within: Range, repetitions: int, ask: Callable[[int, int], Outcome]
) -> tuple[Bracket, ...]:
    """Searches once per repetition; each after the first starts from the bracket before it.
    `ask(repetition, batch)` returns the outcome of a batch, running it if necessary."""
    brackets: list[Bracket] = []
    for number in range(1, repetitions + 1):
        previous = brackets[-1] if brackets else None
        brackets.append(repetition(within, partial(ask, number), previous))
    return tuple(brackets)


def repetition(
    within: Range, ask: Callable[[int], Outcome], previous: Bracket | None = None
) -> Bracket:
    low, high = within.min_batch - 1, None
    problem = None
    while problem is None and (batch := next_batch(within, low, high, previous)) is not None:
        outcome = ask(batch)
        logger.debug("batch %d, between %d and %s: %s", batch, low, high, outcome)
        problem = outcome.problem
        if problem is None and outcome.passed:
            low = batch
        elif problem is None:
            high = batch
    return Bracket(low if low >= within.min_batch else 0, high, problem)


def next_batch(within: Range, low: int, high: int | None, previous: Bracket | None) -> int | None:
    """The batch to try after `low` passed (below `min_batch`: none did) and `high` failed; None when
    they are close enough. `previous` is the bracket of another repetition to start from."""
    if high is None and low >= within.max_batch:
        return None
    if high is None:
        return min(within.max_batch, _above(within, low, previous))
    if high - low <= within.tolerance(low):
        return None
    if previous is not None and low < within.min_batch and high <= previous.ceiling:
        failing = previous.failing or previous.ceiling + within.tolerance(previous.ceiling)
        return max(within.min_batch, 2 * high - failing)
    return (low + high) // 2


def _above(within: Range, low: int, previous: Bracket | None) -> int:
    """Tries the previous bracket first, then moves away from it in strides that double."""
    if previous is not None and low < previous.ceiling:
        return previous.ceiling
    if previous is None or previous.failing is None:
        return max(within.start, 2 * low)
    if low < previous.failing:
        return previous.failing
    return 2 * low - previous.ceiling


def contradiction(outcomes: Sequence[tuple[int, int, bool]]) -> str | None:
    """How (batch, repetition, passed) contradict each other; None when each smaller batch passed."""
    passed = max((outcome for outcome in outcomes if outcome[2]), default=None)
    failed = min((outcome for outcome in outcomes if not outcome[2]), default=None)
    if passed is None or failed is None or passed[0] < failed[0]:
        return None
    if passed[0] == failed[0]:
        return f"batch {passed[0]} passed in repetition {passed[1]} and failed in {failed[1]}"
    return (
        f"batch {failed[0]} failed in repetition {failed[1]}, though {passed[0]} passed in "
        f"repetition {passed[1]}"
    )
