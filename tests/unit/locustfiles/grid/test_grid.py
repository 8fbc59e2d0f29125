"""What load workers are told, and what they tell: values in, values out."""

import itertools
import statistics
import subprocess
import sys
from typing import Any

import pytest

from locustfiles.grid.arrivals import deal, due_times
from locustfiles.grid.cell import Cell, WorkerReport
from locustfiles.grid.clock import ClockOffset, ProcessMonitor
from locustfiles.session.deadlines import Deadlines


def order(shape: str = "burst", batch: int = 10, **more: Any) -> dict[str, Any]:
    constant = {"shape": shape, "batch_size": batch, "arrival_rate": more.pop("rate", None)}
    constant["arrivals"] = more.pop("arrivals", "poisson")
    return {"constant": constant, "seed": "1 1", **more}


@pytest.mark.parametrize("shape", ["burst", "hold"])
def test_sessions_of_a_burst_are_due_at_once(shape: str) -> None:
    assert due_times(order(shape, batch=3)) == [0.0, 0.0, 0.0]


def test_constant_arrivals_are_evenly_spaced() -> None:
    wanted = order("open", batch=4, rate=10.0, arrivals="constant")
    assert due_times(wanted) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_poisson_arrivals_have_the_rate_that_was_asked_for() -> None:
    times = due_times(order("open", batch=4000, rate=50.0))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.15)  # as of an exponential


def test_poisson_arrivals_are_those_of_their_seed() -> None:
    wanted = order("open", rate=5.0)
    assert due_times(wanted) == due_times(wanted) != due_times(wanted | {"seed": "1 2"})


@pytest.mark.parametrize("counts", [[4, 3, 3], [10], [1, 9], [0, 5, 5], [7, 0, 3]])
def test_arrivals_are_dealt_out_to_load_workers_and_none_is_lost(counts: list[int]) -> None:
    times = [float(number) for number in range(10)]
    shares = [deal(times, counts, index) for index in range(len(counts))]
    assert [len(share) for share in shares] == counts
    assert sorted(time for share in shares for time in share) == times


def test_load_workers_take_turns() -> None:
    assert deal([0.0, 0.1, 0.2, 0.3, 0.4], [3, 2], 0) == [0.0, 0.2, 0.4]
    assert deal([0.0, 0.1, 0.2, 0.3, 0.4], [3, 2], 1) == [0.1, 0.3]


def test_the_quickest_exchange_tells_the_offset_of_a_clock() -> None:
    offset = ClockOffset()
    for delay in (0.8, 0.004, 0.3, 0.2, 0.1):  # the way back takes three times the way there
        offset.add(100.0, 100.0 - 7.0 + delay / 4, 100.0 + delay)
    assert offset.known
    assert offset.seconds == pytest.approx(7.0, abs=0.002)


def test_an_offset_that_the_way_may_explain_is_none() -> None:
    offset = ClockOffset()
    offset.add(100.0, 100.0, 100.003)
    assert offset.seconds == 0.0


def test_a_cell_is_dealt_out_to_users_and_the_rest_is_known() -> None:
    cell = Cell(1, order(batch=10))
    cell.assign({"load-1": 4, "load-2": 3})
    assert [(a.worker, a.first, a.count) for a in cell.assignments] == [
        ("load-1", 0, 4),
        ("load-2", 4, 3),
    ]
    assert list(cell.unassigned) == [7, 8, 9]
    cell.received |= {1, 2, 5}
    assert cell.missing("load-1") == [0, 3]
    assert cell.missing() == [0, 3, 4, 6]
    assert [cell.owner(number) for number in (3, 4, 8)] == ["load-1", "load-2", None]


def test_no_load_worker_gets_more_sessions_than_there_are() -> None:
    cell = Cell(1, order(batch=5))
    cell.assign({"load-1": 4, "load-2": 4, "load-3": 4})
    assert [a.count for a in cell.assignments] == [4, 1, 0]
    shares = dict(cell.shares(17.0))
    assert set(shares) == {"load-1", "load-2"}
    assert (shares["load-2"]["first"], shares["load-2"]["start"]) == (4, 17.0)
    assert (shares["load-2"]["index"], shares["load-2"]["counts"]) == (1, [4, 1, 0])


def test_what_load_workers_tell_adds_up() -> None:
    cell = Cell(1, order("hold", batch=5))
    cell.assign({"load-1": 3, "load-2": 2})
    cell.reports = {"load-1": WorkerReport(3, 2, {"lag_max": 0.1}), "load-2": WorkerReport(2, 2)}
    assert (cell.open, cell.held, cell.holds) == (5, 4, True)
    fitness = cell.fitness({"load-1": 0.0, "load-2": -3.5})
    assert fitness["load-1"] == {"sessions": 3, "clock_offset": 0.0, "lag_max": 0.1}
    assert fitness["load-2"] == {"sessions": 2, "clock_offset": -3.5}


def test_a_cell_with_arrivals_lasts_until_the_last_is_due() -> None:
    cell = Cell(1, order("open", batch=10, rate=2.0, arrivals="constant"))
    assert cell.last_due() == pytest.approx(4.5)


def test_whoever_waited_longest_in_a_cell_is_its_lag() -> None:
    monitor = ProcessMonitor()
    monitor.add_lag(3.0)
    monitor.add_lag(2.0)
    assert monitor.lag == monitor.report()["lag_max"] == 3.0
    monitor.reset()
    assert monitor.lag < 3.0


class Waiting:
    deadline = 0.0


def test_deadlines_pass_in_their_order_and_may_be_moved() -> None:
    deadlines: Deadlines[Waiting] = Deadlines()
    first, second, moved, ended = Waiting(), Waiting(), Waiting(), Waiting()
    for waiting, seconds in ((first, -2.0), (moved, -2.0), (ended, -2.0), (second, -1.0)):
        deadlines.set(waiting, seconds)
    deadlines.set(moved, 1000.0)
    ended.deadline = float("inf")
    assert list(deadlines.expired()) == [first, second]
    assert deadlines.next() == moved.deadline
    moved.deadline = float("inf")
    assert deadlines.next() is None


def test_locust_counts_a_user_for_each_session_and_stops_them() -> None:
    users = """
from locust.env import Environment
from locustfiles.grid.user import SessionUser
runner = Environment(user_classes=[SessionUser], host="x").create_local_runner()
for change, count in ((runner.spawn_users, 300), (runner.stop_users, 290), (runner.spawn_users, 5)):
    change({"SessionUser": count})
    print(runner.user_count, runner.user_classes_count["SessionUser"])
runner.stop()
print(runner.user_count)
"""
    # In a process of its own: Locust patches the one that it is imported in.
    said = subprocess.run(
        [sys.executable, "-P", "-c", users], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split() == ["300", "300", "10", "10", "15", "15", "0"]
