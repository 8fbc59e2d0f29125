"""How many sessions Envoy processes hold, when the kernel deals them out as dice would."""

import random

import pytest

from launcher.envoy.capacity import envoy_descriptors, envoy_processes, envoy_sessions


def test_one_envoy_holds_half_its_descriptors_less_a_few() -> None:
    assert envoy_sessions(20_000) == 9_900
    assert envoy_sessions(1_000) == 400
    assert envoy_sessions(100) == 0


@pytest.mark.parametrize("processes", [2, 3, 12, 120])
def test_several_hold_less_than_as_many_times_one(processes: int) -> None:
    together = envoy_sessions(20_000, processes)
    assert 0.93 * processes * 9_900 < together < processes * 9_900
    assert envoy_processes(together, 20_000) == processes
    assert envoy_processes(together + processes, 20_000) == processes + 1


@pytest.mark.parametrize("processes", [1, 2, 12])
def test_descriptors_for_so_many_sessions_are_enough_for_them(processes: int) -> None:
    assert envoy_sessions(envoy_descriptors(50_000, processes), processes) >= 50_000


def test_no_envoy_overflows_when_connections_are_dealt_out_as_by_dice() -> None:
    sessions, dice = envoy_sessions(2_000, 10), random.Random(1)
    for _ in range(20):
        counts = [0] * 10
        for _ in range(sessions):
            counts[dice.randrange(10)] += 1
        assert max(counts) <= 900


def test_too_few_descriptors_for_any_envoy() -> None:
    with pytest.raises(ValueError, match="too few"):
        envoy_processes(10, 200)
