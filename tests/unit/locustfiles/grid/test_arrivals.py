"""When sessions are due, and how they are dealt out to load workers."""

import itertools
import statistics
from typing import Any

import pytest

from locustfiles.grid.arrivals import deal, due_times


def order(shape: str, batch: int, rate: float | None = None, arrivals: str = "poisson") -> Any:
    constant = {"shape": shape, "batch_size": batch, "arrival_rate": rate, "arrivals": arrivals}
    return {"constant": constant, "seed": "1 1"}


@pytest.mark.parametrize("shape", ["burst", "hold"])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_sessions_of_a_burst_are_due_at_once(shape: str, batch: int) -> None:
    assert due_times(order(shape, batch)) == [0.0] * batch
    assert due_times(order(shape, batch, rate=10.0, arrivals="constant")) == [0.0] * batch


def test_constant_arrivals_are_evenly_spaced() -> None:
    times = due_times(order("open", 4, 10.0, "constant"))
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_poisson_arrivals_have_the_requested_rate() -> None:
    times = due_times(order("open", 4000, 50.0))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.15)  # as for an exponential
    assert times[0] > 0


def test_poisson_arrivals_depend_on_the_seed_only() -> None:
    requested = order("open", 10, 5.0)
    assert due_times(requested) == due_times(requested) != due_times(requested | {"seed": "1 2"})


@pytest.mark.parametrize("counts", [[4, 3, 3], [10], [1, 9], [0, 5, 5], [7, 0, 3]])
def test_every_arrival_is_dealt_to_one_load_worker(counts: list[int]) -> None:
    times = [float(number) for number in range(10)]
    shares = [deal(times, counts, index) for index in range(len(counts))]
    assert [len(share) for share in shares] == counts
    assert sorted(time for share in shares for time in share) == times


def test_load_workers_take_turns_until_each_has_its_count() -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert deal(times, [3, 1, 2], 0) == [0.0, 0.3, 0.5]
    assert deal(times, [3, 1, 2], 1) == [0.1]
    assert deal(times, [3, 1, 2], 2) == [0.2, 0.4]


def test_sessions_that_no_load_worker_has_are_not_dealt() -> None:
    assert deal([0.0, 0.1, 0.2], [1, 1], 0) == [0.0]
    assert deal([0.0, 0.1, 0.2], [1, 1], 1) == [0.1]
    assert deal([0.0], [], 0) == []
