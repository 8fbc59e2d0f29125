"""Clock offsets and the lag of a process."""

import pytest

from locustfiles.grid.clock import ClockOffset, ProcessMonitor


def test_the_quickest_exchange_determines_the_offset() -> None:
    offset = ClockOffset()
    for delay in (0.8, 0.004, 0.3, 0.2, 0.1):  # the reply takes three times as long as the request
        offset.add(100.0, 100.0 - 7.0 + delay / 4, 100.0 + delay)
    assert offset.seconds == pytest.approx(7.0, abs=0.002)


def test_an_offset_is_known_after_five_exchanges() -> None:
    offset = ClockOffset()
    for count in range(1, 6):
        offset.add(100.0, 100.0, 100.003)
        assert offset.known == (count == 5)


def test_an_offset_that_unequal_delays_could_explain_is_zero() -> None:
    offset = ClockOffset()
    offset.add(100.0, 100.0, 100.003)
    assert offset.seconds == 0.0


@pytest.mark.parametrize(("ahead", "seconds"), [(0.9, 0.0), (1.1, 1.1), (-0.9, 0.0), (-1.1, -1.1)])
def test_an_offset_counts_beyond_half_of_the_round_trip(ahead: float, seconds: float) -> None:
    offset = ClockOffset()
    offset.add(100.0, 101.0 - ahead, 102.0)
    assert offset.seconds == pytest.approx(seconds)


def test_the_lag_of_a_process_is_its_maximum_since_the_reset() -> None:
    monitor = ProcessMonitor()
    monitor.add_lag(3.0)
    monitor.add_lag(2.0)
    assert monitor.lag == monitor.report()["lag_max"] == 3.0
    monitor.reset()
    assert monitor.lag < 3.0


def test_a_report_has_the_times_since_the_reset() -> None:
    report = ProcessMonitor().report()
    assert set(report) == {"cpu_seconds", "wait_seconds", "wall_seconds", "lag_max"}
    assert 0 <= report["cpu_seconds"] < 10
    assert 0 <= report["wall_seconds"] < 10
