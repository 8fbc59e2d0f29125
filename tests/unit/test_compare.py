"""What changed between two results, from lines made by hand."""

from typing import Any

import numpy as np
import pytest

from analysis.compare import Change, compare, Comparison, differ, MEASURES, welch
from analysis.errors import ResultsError
from analysis.results import Results
from tests.unit.test_ceilings import CAPS, cell, results


def of(measure: str, *values: float, name: str = "a", batch: int = 1000) -> Results:
    """One cell; its repetitions have these values."""
    name_in_line = "error_rate" if measure == "success" else measure
    cells = []
    for number, value in enumerate(values, 1):
        told = 1 - value if measure == "success" else value
        made = cell(batch, told if measure == "success" else 0.0, repetition=number)
        cells.append(made | {name_in_line: told})
    return results(*cells, name=name)


def change(measure: str, a: list[float], b: list[float]) -> Change:
    found = compare(of(measure, *a), of(measure, *b, name="b"))
    (one,) = [one for one in found.changes if one.measure == measure]
    return one


def test_every_measure_of_every_cell_that_both_have() -> None:
    cells = [cell(batch, repetition=n) for batch in (10, 20) for n in (1, 2, 3)]
    found = compare(results(*cells), results(*cells))
    assert [one.measure for one in found.changes] == [*MEASURES, *MEASURES]
    assert {one.relative for one in found.changes} == {0.0}
    assert not found.worse
    assert found.notes == ()
    assert found.changes[0].cell == "ws burst batch 10 wait 1 steps 1"


@pytest.mark.parametrize(
    ("measure", "a", "b", "beyond", "worse"),
    [
        ("total_p99", [1.0, 1.01, 0.99], [1.5, 1.51, 1.49], True, True),
        ("total_p99", [1.5, 1.51, 1.49], [1.0, 1.01, 0.99], True, False),
        ("total_p99", [1.0, 1.001, 0.999], [1.04, 1.041, 1.039], False, False),  # below the floor
        ("total_p99", [1.0, 2.0, 3.0], [1.5, 2.5, 3.5], False, False),  # within the noise
        ("requests_per_second", [100, 101, 99], [50, 51, 49], True, True),
        ("requests_per_second", [50, 51, 49], [100, 101, 99], True, False),
        ("success", [1.0, 1.0, 1.0], [0.9, 0.91, 0.89], True, True),
        ("success", [1.0, 1.0, 1.0], [0.995, 0.995, 0.995], False, False),
        ("connect_p99", [0.1] * 3, [0.2] * 3, True, True),
    ],
)
def test_beyond_the_noise_is_a_large_change_that_repetitions_agree_on(
    measure: str, a: list[float], b: list[float], beyond: bool, worse: bool
) -> None:
    found = change(measure, a, b)
    assert (found.beyond_noise, found.worse, found.note) == (beyond, worse, "")


def test_one_repetition_is_never_beyond_the_noise_in_latency() -> None:
    found = change("total_p99", [1.0], [9.0])
    assert (found.beyond_noise, found.relative) == (False, 8.0)
    assert found.note == "no interval: one repetition"
    assert change("total_p99", [1.0, 1.0], [9.0, 9.0]).note == "no interval: 2 repetitions"


@pytest.mark.parametrize(("good", "worse"), [(0.9, True), (0.995, False), (1.0, False)])
def test_success_of_one_repetition_is_judged_by_its_sessions(good: float, worse: bool) -> None:
    found = change("success", [1.0], [good])
    assert (found.worse, found.note) == (worse, "no interval: one repetition; by sessions")


def test_few_sessions_prove_little() -> None:
    found = compare(of("success", 1.0, batch=4), of("success", 0.5, batch=4, name="b"))
    assert not found.worse


def test_other_caps_are_refused() -> None:
    for name in ("max_concurrent_envs", "workers_per_node", "servers"):
        other = results(cell(10), name="b", caps=CAPS | {name: 77})
        with pytest.raises(ResultsError, match=rf"has {name} \d+, /exp/b has 77"):
            compare(results(cell(10)), other)


def test_caps_that_are_not_known_are_a_note() -> None:
    found = compare(results(cell(10), caps={}), results(cell(10)))
    assert found.notes[0] == "max_concurrent_envs is not known of both: they may differ in it"


def test_invalid_lines_are_left_out_and_said() -> None:
    bad = cell(10, total_p99=99.0, valid=False, repetition=2)
    found = compare(results(cell(10)), results(cell(10), bad, name="b"))
    assert found.notes == ("b: 1 INVALID line(s) left out, of: ws burst batch 10 wait 1 steps 1",)
    assert all(one.a == one.b for one in found.changes)


def test_cells_that_one_has_alone_are_said() -> None:
    found = compare(results(cell(10), cell(20)), results(cell(10), name="b"))
    assert found.notes == ("only nodes-2 has valid lines of: ws burst batch 20 wait 1 steps 1",)


def test_no_cell_in_common_is_nothing_to_compare() -> None:
    with pytest.raises(ResultsError, match="have no cell in common"):
        compare(results(cell(10)), results(cell(20)))


def test_what_one_side_did_not_measure_is_left_out() -> None:
    nothing: dict[str, Any] = {"total_p50": None, "total_p99": None}
    found = compare(results(cell(10)), results(cell(10, 1.0, **nothing)))
    assert {one.measure for one in found.changes}.isdisjoint(nothing)
    assert found.worse  # no session succeeded


def test_arrival_rates_are_cells_of_their_own() -> None:
    cells = [cell(10, shape="open", arrival_rate=rate) for rate in (5.0, 10.0)]
    found: Comparison = compare(results(*cells), results(*cells))
    assert len(found.changes) == 2 * len(MEASURES)
    assert found.changes[0].cell == "ws open batch 10 wait 1 steps 1 arrival rate 5"


def test_the_interval_is_students() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    low, high = welch(a, b)
    # by R: t.test(b, a) has 2.94 degrees of freedom; 2 are taken, which is safe
    assert (low, high) == pytest.approx((2 - 4.303 * (5 / 3) ** 0.5, 2 + 4.303 * (5 / 3) ** 0.5))
    assert welch([1.0, 1.0], [3.0, 3.0]) == (2.0, 2.0)


def test_proportions_differ_beyond_chance() -> None:
    assert differ(1000, 900, 1000, 1000)
    assert not differ(1000, 998, 1000, 1000)
    assert not differ(1000, 1000, 1000, 1000)
    assert not differ(0, 0, 5, 5)
