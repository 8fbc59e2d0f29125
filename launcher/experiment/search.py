"""The search for a ceiling: which batch to try next, and what its repetitions have come to. Pure."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Outcome:
    """Of one batch. With a `trouble` it cannot be told whether the batch is too much."""

    passed: bool
    trouble: str | None = None


@dataclass(frozen=True)
class Range:
    """Where to search: from `start` up to `most`, to within `precision` of the ceiling. Batches
    below `least` cannot be judged."""

    start: int
    most: int
    precision: float = 0.05
    least: int = 1

    def near(self, batch: int) -> int:
        """How far the batch that fails may be above one that passes."""
        return max(1, int(self.precision * batch))


@dataclass(frozen=True)
class Found:
    """What one repetition has come to: the largest batch that passed (0: none did) and the smallest
    that failed (None: none did). `trouble` is what ended it before they were near each other."""

    ceiling: int
    failing: int | None = None
    trouble: str | None = None


def search(
    within: Range, repetitions: int, ask: Callable[[int, int], Outcome]
) -> tuple[Found, ...]:
    """A search for each repetition; those after the first begin where the one before ended.
    `ask(repetition, batch)` runs a batch, or knows what became of it."""
    found: list[Found] = []
    for number in range(1, repetitions + 1):
        steps = repetition(within, found[-1] if found else None)
        found.append(_drive(steps, partial(ask, number)))
    return tuple(found)


def repetition(within: Range, before: Found | None = None) -> Generator[int, Outcome, Found]:
    """Yields a batch, is sent its outcome, until it knows."""
    low, high = within.least - 1, None
    trouble = None
    while trouble is None and (batch := following(within, low, high, before)) is not None:
        outcome = yield batch
        trouble = outcome.trouble
        if trouble is None and outcome.passed:
            low = batch
        elif trouble is None:
            high = batch
    return Found(low if low >= within.least else 0, high, trouble)


def following(within: Range, low: int, high: int | None, before: Found | None) -> int | None:
    """The batch to try when `low` passed (or nothing did: below `least`) and `high` failed; None when
    that is near enough. `before` is what another repetition found, to begin at."""
    if high is None:
        return min(within.most, _above(within, low, before)) if low < within.most else None
    if high - low <= within.near(low):
        return None
    if before is not None and low < within.least and high <= before.ceiling:
        return max(within.least, _below(within, high, before))
    return (low + high) // 2


def _above(within: Range, low: int, before: Found | None) -> int:
    """Up to the batches known from before, then away from them in strides that double."""
    if before is not None and low < before.ceiling:
        return before.ceiling
    if before is None or before.failing is None:
        return max(within.start, 2 * low)
    if low < before.failing:
        return before.failing
    return 2 * low - before.ceiling


def _below(within: Range, high: int, before: Found) -> int:
    failing = before.failing or before.ceiling + within.near(before.ceiling)
    return 2 * high - failing


def _drive(steps: Generator[int, Outcome, Found], ask: Callable[[int], Outcome]) -> Found:
    try:
        batch = next(steps)
        while True:
            batch = steps.send(ask(batch))
    except StopIteration as ended:
        found: Found = ended.value
        return found


def contradiction(outcomes: Sequence[tuple[int, int, bool]]) -> str | None:
    """What is not monotone in outcomes, each (batch, repetition, passed); None when all is."""
    passed = max((each for each in outcomes if each[2]), default=None)
    failed = min((each for each in outcomes if not each[2]), default=None)
    if passed is None or failed is None or passed[0] < failed[0]:
        return None
    if passed[0] == failed[0]:
        return f"batch {passed[0]} met it in repetition {passed[1]} and failed in {failed[1]}"
    return (
        f"batch {failed[0]} failed in repetition {failed[1]}, though {passed[0]} met it in "
        f"repetition {passed[1]}"
    )
