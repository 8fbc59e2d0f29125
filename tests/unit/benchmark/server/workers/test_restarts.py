"""How often a process is restarted."""

import time

import pytest

from benchmark.server.workers.restarts import ExitHistory, MAX_RESTARTS, WINDOW_SECONDS


def test_the_fourth_exit_within_five_minutes_is_one_too_many() -> None:
    assert (MAX_RESTARTS, WINDOW_SECONDS) == (3, 300.0)
    exits = ExitHistory()
    history = []
    for _ in range(4):
        exits.add()
        history.append((len(exits), exits.too_many))
    assert history == [(1, False), (2, False), (3, False), (4, True)]


@pytest.mark.parametrize(("seconds", "count"), [(299.0, 5), (301.0, 1)])
def test_older_exits_do_not_count(
    monkeypatch: pytest.MonkeyPatch, seconds: float, count: int
) -> None:
    exits = ExitHistory()
    for _ in range(4):
        exits.add()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + seconds)
    exits.add()
    assert (len(exits), exits.too_many) == (count, count > 3)
