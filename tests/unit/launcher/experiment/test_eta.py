"""The estimate of the time that a grid still takes."""

import pytest

from launcher.experiment.eta import seconds_left
from launcher.experiment.grid import Cell


def cell(batch: int, wait: float, repetition: int = 1, **shape: object) -> Cell:
    return Cell("ws", batch, wait, repetition, **shape)  # type: ignore[arg-type]


def test_seconds_left_is_none_before_the_first_cell_has_ended() -> None:
    assert seconds_left([cell(8, 1.0)], {}) is None


def test_seconds_left_adds_the_overhead_of_the_same_batch_to_the_wait() -> None:
    done = {cell(8, 1.0): 1.5, cell(64, 1.0): 3.0}
    assert seconds_left([cell(8, 10.0), cell(64, 5.0)], done) == pytest.approx(10.5 + 7.0)


def test_seconds_left_scales_the_overhead_for_a_larger_batch() -> None:
    assert seconds_left([cell(32, 1.0)], {cell(8, 1.0): 1.5}) == pytest.approx(1.0 + 4 * 0.5)


def test_seconds_left_does_not_scale_the_overhead_for_a_smaller_batch() -> None:
    assert seconds_left([cell(2, 1.0)], {cell(8, 1.0): 1.5}) == pytest.approx(1.5)


def test_seconds_left_ignores_one_slow_cell() -> None:
    done = {cell(8, 1.0, 1): 1.5, cell(8, 1.0, 2): 61.0, cell(8, 1.0, 3): 1.5}
    assert seconds_left([cell(8, 1.0, 4)], done) == pytest.approx(1.5)


def test_seconds_left_counts_steps_and_arrivals() -> None:
    steps = cell(8, 2.0, steps=3)
    arrivals = cell(8, 1.0, shape="open", arrival_rate=4.0)
    assert seconds_left([steps, arrivals], {cell(8, 1.0): 1.0}) == pytest.approx(6.0 + 3.0)


def test_seconds_left_is_0_when_no_cell_is_left() -> None:
    assert seconds_left([], {cell(8, 1.0): 1.0}) == 0


def test_seconds_left_takes_the_overhead_of_the_nearest_batch() -> None:
    done = {cell(8, 1.0): 1.5, cell(64, 1.0): 9.0}
    assert seconds_left([cell(10, 1.0)], done) == pytest.approx(1.0 + 0.5 * 10 / 8)
    assert seconds_left([cell(60, 1.0)], done) == pytest.approx(1.0 + 8.0)


def test_seconds_left_is_never_less_than_the_waits() -> None:
    assert seconds_left([cell(8, 5.0)], {cell(8, 5.0, 2): 4.0}) == pytest.approx(5.0)
