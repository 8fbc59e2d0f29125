"""The master's view of a cell."""

from typing import Any

import pytest

from locustfiles.grid.cell import Assignment, Cell, WorkerReport


def cell(shape: str = "burst", batch: int = 10, rate: float = 2.0, timeout: float = 30.0) -> Cell:
    constant: dict[str, Any] = {"shape": shape, "batch_size": batch}
    constant |= {"arrival_rate": rate, "arrivals": "constant"}
    return Cell(7, {"constant": constant, "seed": "1 1", "timeout": timeout})


def test_sessions_are_assigned_to_users_in_order() -> None:
    it = cell(batch=10)
    it.assign({"load-1": 4, "load-2": 3})
    assert it.assignments == [Assignment("load-1", 0, 4), Assignment("load-2", 4, 3)]
    assert list(it.unassigned) == [7, 8, 9]


def test_every_session_has_the_owner_that_it_was_assigned_to() -> None:
    it = cell(batch=10)
    it.assign({"load-1": 4, "load-2": 3})
    owners = [it.owner(number) for number in (0, 3, 4, 6, 7)]
    assert owners == ["load-1", "load-1", "load-2", "load-2", None]


def test_missing_sessions_are_those_without_a_row() -> None:
    it = cell(batch=10)
    it.assign({"load-1": 4, "load-2": 3})
    it.received |= {1, 2, 5}
    assert it.missing("load-1") == [0, 3]
    assert it.missing("load-2") == [4, 6]
    assert it.missing() == [0, 3, 4, 6]
    assert it.missing("load-3") == []


def test_no_more_sessions_are_assigned_than_the_cell_has() -> None:
    it = cell(batch=5)
    it.assign({"load-1": 4, "load-2": 4, "load-3": 4})
    assert [assignment.count for assignment in it.assignments] == [4, 1, 0]
    assert list(it.unassigned) == []


def test_only_load_workers_with_sessions_get_a_share() -> None:
    it = cell(batch=5)
    it.assign({"load-1": 4, "load-2": 4, "load-3": 4})
    shares = dict(it.shares(17.0))
    assert set(shares) == {"load-1", "load-2"}
    assert shares["load-2"] == {
        **it.order,
        "cell": 7,
        "start": 17.0,
        "first": 4,
        "index": 1,
        "counts": [4, 1, 0],
    }
    assert (shares["load-1"]["first"], shares["load-1"]["index"]) == (0, 0)


def test_reports_of_load_workers_add_up() -> None:
    it = cell("hold", batch=5)
    it.assign({"load-1": 3, "load-2": 2})
    it.reports = {"load-1": WorkerReport(3, 2, {"lag_max": 0.1}), "load-2": WorkerReport(2, 2)}
    assert (it.open, it.held) == (5, 4)


def test_facts_of_a_load_worker_without_a_report_are_its_sessions_and_clock() -> None:
    it = cell(batch=5)
    it.assign({"load-1": 3, "load-2": 2})
    it.reports = {"load-1": WorkerReport(3, 2, {"lag_max": 0.1})}
    assert it.fitness({"load-1": 0.0, "load-2": -3.5}) == {
        "load-1": {"sessions": 3, "clock_offset": 0.0, "lag_max": 0.1},
        "load-2": {"sessions": 2, "clock_offset": -3.5},
    }


@pytest.mark.parametrize(("rows", "done"), [(1, False), (2, True)])
def test_a_cell_is_done_when_every_session_has_a_row(rows: int, done: bool) -> None:
    it = cell(batch=2)
    it.received |= set(range(rows))
    assert it.done is done


@pytest.mark.parametrize(("shape", "holds"), [("burst", False), ("hold", True), ("open", False)])
def test_only_the_shape_hold_holds_sessions(shape: str, holds: bool) -> None:
    assert cell(shape).holds is holds


def test_the_last_arrival_is_due_when_all_others_have_arrived() -> None:
    assert cell("open", batch=10, rate=2.0).last_due() == pytest.approx(4.5)
    assert cell("burst", batch=10).last_due() == 0.0
    assert cell("open", batch=0).last_due() == 0.0


@pytest.mark.parametrize("shape", ["burst", "hold"])
@pytest.mark.parametrize("timeout", [1.0, 30.0])
def test_a_burst_is_held_back_for_at_most_half_of_the_timeout(shape: str, timeout: float) -> None:
    assert cell(shape, timeout=timeout).last_start() == pytest.approx(0.5 * timeout)


def test_arrivals_are_never_held_back() -> None:
    assert cell("open", batch=10, rate=2.0, timeout=30.0).last_start() == pytest.approx(4.5)
