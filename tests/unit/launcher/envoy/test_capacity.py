import random

import pytest

from launcher.envoy.capacity import envoy_descriptors, envoy_processes, envoy_sessions


@pytest.mark.parametrize(
    ("descriptors", "processes", "sessions"),
    [
        *((20_000, 1, 9_900), (1_000, 1, 400), (202, 1, 1), (201, 1, 0), (100, 1, 0), (200, 9, 0)),
        *((20_000, 2, 18_973), (20_000, 4, 37_585), (1_000, 3, 939)),
    ],
)
def test_sessions_of_envoy_processes(descriptors: int, processes: int, sessions: int) -> None:
    assert envoy_sessions(descriptors, processes) == sessions


@pytest.mark.parametrize(
    ("sessions", "processes", "descriptors"), [(1_000, 1, 2_200), (1_000, 4, 866), (0, 3, 200)]
)
def test_descriptors_of_envoy_processes(sessions: int, processes: int, descriptors: int) -> None:
    assert envoy_descriptors(sessions, processes) == descriptors


@pytest.mark.parametrize(
    ("sessions", "descriptors", "processes"),
    [(0, 20_000, 1), (1, 202, 1), (9_900, 20_000, 1), (9_901, 20_000, 2), (18_974, 20_000, 3)],
)
def test_processes_are_the_fewest_that_hold_the_sessions(
    sessions: int, descriptors: int, processes: int
) -> None:
    assert envoy_processes(sessions, descriptors) == processes


def test_one_process_is_the_default() -> None:
    assert (envoy_sessions(20_000), envoy_descriptors(9_900)) == (9_900, 20_000)


@pytest.mark.parametrize("processes", [2, 3, 12, 120])
def test_several_processes_hold_less_than_that_many_times_one(processes: int) -> None:
    together = envoy_sessions(20_000, processes)
    assert 0.93 * processes * 9_900 < together < processes * 9_900
    assert envoy_processes(together, 20_000) == processes
    assert envoy_processes(together + processes, 20_000) == processes + 1


@pytest.mark.parametrize("processes", [1, 2, 12])
def test_required_descriptors_are_enough_for_the_sessions(processes: int) -> None:
    assert envoy_sessions(envoy_descriptors(50_000, processes), processes) >= 50_000


def test_no_process_overflows_when_connections_are_distributed_at_random() -> None:
    sessions, dice = envoy_sessions(2_000, 10), random.Random(1)
    for _ in range(20):
        counts = [0] * 10
        for _ in range(sessions):
            counts[dice.randrange(10)] += 1
        assert max(counts) <= 900


def test_too_few_descriptors_for_one_session_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        envoy_processes(10, 201)
