"""The search for a ceiling, on systems that are functions."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from launcher.experiment.search import (
    Bracket,
    contradiction,
    find_brackets,
    Outcome,
    Range,
    repetition,
)

PASS, FAIL = Outcome(True), Outcome(False)


@dataclass
class System:
    """Decides the outcome of each batch and records which batches were run."""

    outcome: Callable[[int], Outcome]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, repetition: int, batch: int) -> Outcome:
        self.asked.append((repetition, batch))
        return self.outcome(batch)

    def batches(self, repetition: int) -> list[int]:
        return [batch for number, batch in self.asked if number == repetition]


def capped(cap: int) -> System:
    return System(lambda batch: Outcome(batch <= cap))


def bounds(start: int = 32, max_batch: int = 100_000, **more: float) -> Range:
    return Range(start, max_batch, **more)  # type: ignore[arg-type]


def test_search_doubles_batches_until_one_fails_then_halves_the_gap() -> None:
    system = capped(1000)
    assert find_brackets(bounds(), 1, system) == (Bracket(992, 1024),)
    assert system.batches(1) == [32, 64, 128, 256, 512, 1024, 768, 896, 960, 992]


def test_search_finds_the_exact_ceiling_with_precision_0() -> None:
    system = capped(1000)
    assert find_brackets(bounds(precision=0), 1, system) == (Bracket(1000, 1001),)
    assert len(system.asked) == 6 + 9


@pytest.mark.parametrize("cap", [1, 2, 19, 20, 31, 32, 33, 999, 1000, 1024, 65_536])
@pytest.mark.parametrize("start", [1, 7, 32, 4096])
def test_search_finds_every_ceiling_from_every_start(cap: int, start: int) -> None:
    found = find_brackets(bounds(start, precision=0), 3, capped(cap))
    assert found == (Bracket(cap, cap + 1),) * 3


@pytest.mark.parametrize("precision", [0, 0.01, 0.05, 0.5, 1])
def test_search_leaves_no_gap_wider_than_the_precision(precision: float) -> None:
    for cap in (1, 10, 100, 1000, 31_234):
        for found in find_brackets(bounds(precision=precision), 2, capped(cap)):
            assert found.ceiling <= cap < (found.failing or 0)
            assert found.failing is not None
            assert found.failing - found.ceiling <= max(1, precision * found.ceiling)


def test_later_repetitions_confirm_the_bracket_with_two_batches() -> None:
    system = capped(1000)
    find_brackets(bounds(), 3, system)
    assert system.batches(2) == system.batches(3) == [992, 1024]


def test_repetition_moves_up_in_doubling_strides_when_it_does_better() -> None:
    system = capped(1600)
    found = repetition_after(Bracket(992, 1024), system)
    assert system.batches(1)[:7] == [992, 1024, 1056, 1120, 1248, 1504, 2016]
    assert found.ceiling <= 1600 < (found.failing or 0)


def test_repetition_moves_down_in_doubling_strides_when_it_does_worse() -> None:
    system = capped(700)
    found = repetition_after(Bracket(992, 1024), system)
    assert system.batches(1)[:5] == [992, 960, 896, 768, 512]
    assert found.ceiling <= 700 < (found.failing or 0)


def test_repetition_recovers_from_a_chance_failure_in_the_first() -> None:
    system = capped(50_000)
    assert repetition_after(Bracket(28, 29), system).ceiling > 47_000
    assert len(system.asked) < 30


def repetition_after(before: Bracket, system: System) -> Bracket:
    return repetition(bounds(), partial(system, 1), before)


def test_search_goes_up_to_the_limit_when_every_batch_passes() -> None:
    system = System(lambda _: PASS)
    assert find_brackets(bounds(max_batch=1000), 2, system) == (Bracket(1000), Bracket(1000))
    assert system.batches(1) == [32, 64, 128, 256, 512, 1000]
    assert system.batches(2) == [1000]


def test_repetition_moves_down_when_it_fails_at_the_limit() -> None:
    system = capped(900)
    found = repetition(bounds(max_batch=1000), partial(system, 1), Bracket(1000))
    assert system.batches(1)[:3] == [1000, 950, 850]
    assert found.ceiling in range(850, 901)


def test_search_starts_at_the_limit_when_that_is_below_the_start() -> None:
    system = System(lambda _: PASS)
    assert find_brackets(bounds(32, max_batch=10), 1, system) == (Bracket(10),)
    assert system.asked == [(1, 10)]


def test_search_finds_ceiling_0_when_every_batch_fails() -> None:
    system = System(lambda _: FAIL)
    assert find_brackets(bounds(), 2, system) == (Bracket(0, 1), Bracket(0, 1))
    assert system.batches(1) == [32, 16, 8, 4, 2, 1]
    assert system.batches(2) == [1]


def test_repetition_moves_up_after_one_in_which_every_batch_failed() -> None:
    system = capped(100)
    found = repetition_after(Bracket(0, 1), system)
    assert found.ceiling in range(96, 101)
    assert system.batches(1)[:8] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_search_tries_no_batch_below_the_minimum() -> None:
    system = System(lambda _: FAIL)
    assert find_brackets(bounds(min_batch=4), 2, system) == (Bracket(0, 4), Bracket(0, 4))
    assert min(batch for _, batch in system.asked) == 4


def test_inconclusive_batch_ends_its_repetition_with_the_problem() -> None:
    system = System(
        lambda batch: Outcome(batch < 512, "the load was late" * (batch == 512) or None)
    )
    assert find_brackets(bounds(), 2, system) == (Bracket(256, None, "the load was late"),) * 2
    assert system.batches(1) == [32, 64, 128, 256, 512]
    assert system.batches(2) == [256, 512]


def test_inconclusive_batch_within_the_gap_keeps_the_bracket() -> None:
    system = System(lambda batch: Outcome(batch <= 500, "late" if 300 < batch < 500 else None))
    assert find_brackets(bounds(), 1, system) == (Bracket(256, 512, "late"),)


def test_inconclusive_first_batch_leaves_the_bracket_open() -> None:
    system = System(lambda _: Outcome(False, "late"))
    assert find_brackets(bounds(), 2, system) == (Bracket(0, None, "late"),) * 2
    assert system.asked == [(1, 32), (2, 32)]


@pytest.mark.parametrize("seed", range(50))
def test_search_ends_near_the_cap_of_a_noisy_system(seed: int) -> None:
    chance = random.Random(seed)
    system = System(lambda batch: Outcome(batch * chance.uniform(0.9, 1.1) <= 1000))
    for found in find_brackets(bounds(), 5, system):
        assert 1000 / 1.12 < found.ceiling < 1000 * 1.12
        assert found.failing is not None
        assert found.ceiling < found.failing <= found.ceiling * 1.05
    assert len(system.asked) < 10 + 4 * 9


@pytest.mark.parametrize("seed", range(50))
def test_search_ends_when_outcomes_are_random(seed: int) -> None:
    chance = random.Random(seed)
    system = System(lambda _: Outcome(chance.random() < 0.5))
    for found in find_brackets(bounds(precision=0), 5, system):
        assert found.failing == found.ceiling + 1 or found.failing is None
    for number in range(1, 6):
        asked = system.batches(number)
        assert len(set(asked)) == len(asked) < 60


def test_search_resumes_at_every_batch() -> None:
    whole = capped(1000)
    expected = find_brackets(bounds(), 3, whole)
    for ran in range(len(whole.asked)):
        rest = capped(1000)
        assert find_brackets(bounds(), 3, knowing(whole.asked[:ran], rest)) == expected
        assert rest.asked == whole.asked[ran:]


def knowing(known: list[tuple[int, int]], rest: System) -> Callable[[int, int], Outcome]:
    def ask(repetition: int, batch: int) -> Outcome:
        if (repetition, batch) in known:
            return rest.outcome(batch)
        return rest(repetition, batch)

    return ask


PLAIN = [(32, 1, True), (64, 1, False), (32, 2, True)]


@pytest.mark.parametrize("outcomes", [[], [(32, 1, False)], [(32, 1, True)], PLAIN])
def test_contradiction_is_none_when_every_smaller_batch_passed(
    outcomes: list[tuple[int, int, bool]],
) -> None:
    assert contradiction(outcomes) is None


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ([(70, 2, True)], "batch 64 failed in repetition 1, though 70 passed in repetition 2"),
        ([(64, 2, True)], "batch 64 passed in repetition 2 and failed in 1"),
        # Only the smallest of several failing batches, and the largest of several passing ones, count.
        (
            [(70, 2, True), (128, 2, False)],
            "batch 64 failed in repetition 1, though 70 passed in repetition 2",
        ),
        (
            [(65, 2, True), (100, 3, True), (256, 3, False)],
            "batch 64 failed in repetition 1, though 100 passed in repetition 3",
        ),
    ],
)
def test_contradiction_names_the_smallest_failure_and_the_largest_success(
    more: list[tuple[int, int, bool]], text: str
) -> None:
    for order in itertools.permutations([*PLAIN, *more]):
        assert contradiction(order) == text
