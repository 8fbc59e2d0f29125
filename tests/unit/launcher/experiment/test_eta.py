"""How long a grid will still take."""

import pytest

from launcher.experiment.eta import seconds_left
from launcher.experiment.grid import Cell


def cell(batch: int, wait: float, repetition: int = 1, **how: object) -> Cell:
    return Cell("ws", batch, wait, repetition, **how)  # type: ignore[arg-type]


def test_nothing_is_known_before_the_first_cell() -> None:
    assert seconds_left([cell(8, 1.0)], {}) is None


def test_a_cell_takes_its_wait_and_what_those_of_its_batch_took_besides() -> None:
    done = {cell(8, 1.0): 1.5, cell(64, 1.0): 3.0}
    assert seconds_left([cell(8, 10.0), cell(64, 5.0)], done) == pytest.approx(10.5 + 7.0)


def test_a_larger_batch_takes_longer_in_proportion() -> None:
    assert seconds_left([cell(32, 1.0)], {cell(8, 1.0): 1.5}) == pytest.approx(1.0 + 4 * 0.5)


def test_a_smaller_batch_is_not_thought_to_be_quicker() -> None:
    assert seconds_left([cell(2, 1.0)], {cell(8, 1.0): 1.5}) == pytest.approx(1.5)


def test_one_that_was_slow_does_not_count_for_all() -> None:
    done = {cell(8, 1.0, 1): 1.5, cell(8, 1.0, 2): 61.0, cell(8, 1.0, 3): 1.5}
    assert seconds_left([cell(8, 1.0, 4)], done) == pytest.approx(1.5)


def test_steps_and_arrivals_take_their_time() -> None:
    steps = cell(8, 2.0, steps=3)
    arrivals = cell(8, 1.0, shape="open", arrival_rate=4.0)
    assert seconds_left([steps, arrivals], {cell(8, 1.0): 1.0}) == pytest.approx(6.0 + 3.0)


def test_nothing_is_left_of_a_grid_that_is_done() -> None:
    assert seconds_left([], {cell(8, 1.0): 1.0}) == 0
