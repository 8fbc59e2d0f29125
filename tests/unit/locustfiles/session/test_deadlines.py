"""Deadlines of many sessions."""

from locustfiles.session.deadlines import Deadlines


class Item:
    deadline = 0.0


def test_deadlines_expire_in_order_and_can_be_moved() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    first, second, moved, ended = Item(), Item(), Item(), Item()
    for item, seconds in ((first, -2.0), (moved, -2.0), (ended, -2.0), (second, -1.0)):
        deadlines.set(item, seconds)
    deadlines.set(moved, 1000.0)
    ended.deadline = float("inf")
    assert list(deadlines.expired()) == [first, second]
    assert list(deadlines.expired()) == []
    assert deadlines.next() == moved.deadline
    moved.deadline = float("inf")
    assert deadlines.next() is None


def test_the_earliest_deadline_of_all_durations_is_next() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    assert deadlines.next() is None
    long, short = Item(), Item()
    deadlines.set(long, 1000.0)
    deadlines.set(short, 500.0)
    assert deadlines.next() == short.deadline < long.deadline
    assert list(deadlines.expired()) == []
