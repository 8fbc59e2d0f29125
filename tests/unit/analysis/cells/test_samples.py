"""Figures from samples: counters that grow, peaks, CPU time and descriptors."""

import pytest

from analysis.cells.samples import Sampled, source, Usage
from tests.helpers.samples import envoy, node, places, process, Samples


def usage(*samples: dict[str, object]) -> Usage:
    (found,) = Sampled(samples).usages("")
    return found


def test_a_source_is_a_node_a_kind_and_a_name() -> None:
    assert source(places([1])) == ("n2", "places", "server-1")
    assert source(node()) == ("n1", "node", "")


@pytest.mark.parametrize(
    ("values", "rise"),
    [([], 0), ([5], 0), ([5, 5], 0), ([5, 8], 3), ([5, 2], 2), ([0, 4, 9, 1, 3], 12)],
)
def test_a_counter_rises_from_sample_to_sample_and_from_zero_after_a_reset(
    values: list[int], rise: int
) -> None:
    samples = [envoy(1, upstream_cx_overflow=value) for value in values]
    assert Sampled(samples).rise("envoy", "upstream_cx_overflow") == rise


def test_rises_of_several_sources_are_added() -> None:
    samples = [envoy(None, a=1, b=1), envoy(a=3, b=6), envoy(c=9)]
    samples += [envoy(None, a=10) | {"node": "n2"}, envoy(a=11) | {"node": "n2"}]
    samples += [node() | {"a": 0}, node() | {"a": 100}]
    sampled = Sampled(samples)
    assert [sampled.rise("envoy", counter) for counter in "abc"] == [3, 5, 0]
    assert sampled.rise("node", "a") == 100
    assert sampled.rise("envoy", "missing") == 0


def test_peaks_are_the_largest_values_within_the_cell() -> None:
    samples = [places([9], cell=None), places([2]), places([5]), places([3])]
    assert Sampled(samples).peaks("places", "used") == {("n2", "places", "server-1"): 5}
    assert Sampled(samples).peaks("places", "missing") == {("n2", "places", "server-1"): 0}
    assert Sampled(samples[:1]).peaks("places", "used") == {}


def test_cpu_busy_is_the_mean_of_the_node() -> None:
    two = [node("n1", cpu_busy=0.2), node("n1", cpu_busy=0.4), node("n2", cpu_busy=1.0)]
    assert Sampled(two).cpu_busy("n1") == pytest.approx(0.3)
    assert Sampled(two).cpu_busy("n3") is None
    assert Sampled(two[:2]).cpu_busy("n3") == pytest.approx(0.3)
    assert Sampled([node("n1")]).cpu_busy("n1") is None
    assert Sampled([]).cpu_busy("n1") is None


def test_usages_are_those_of_processes_with_a_prefix() -> None:
    samples = [
        process("server-1"),
        process("server-2"),
        process("load-1"),
        process("envoy", cell=None),
    ]
    names = [each.name for each in Sampled(samples).usages("server-")]
    assert names == ["server-1", "server-2"]
    assert [each.name for each in Sampled(samples).usages("")] == ["server-1", "server-2", "load-1"]


def test_samples_are_weighted_by_their_seconds() -> None:
    found = usage(
        process("envoy", 0.9, seconds=3.0),
        process("envoy", 0.89, seconds=0.5),
        process("envoy", 0.1, seconds=0.5),
    )
    assert found.busiest == pytest.approx((2.7 + 0.445 + 0.05) / 4)
    assert found.saturated == pytest.approx(0.75)


def test_a_sample_without_seconds_is_of_one_second() -> None:
    old = {name: value for name, value in process("envoy", 1.0).items() if name != "seconds"}
    found = usage(process("envoy", 0.1, seconds=3.0), old)
    assert (found.busiest, found.saturated) == (pytest.approx(0.325), pytest.approx(0.25))
    assert usage(process("envoy", 0.0, cpu=0.0, wait=0.0), old | {"cpu": 0.5}).runnable == 0.5


def test_samples_of_no_time_are_idle() -> None:
    found = usage(process("envoy", 1.0, seconds=0.0))
    assert (found.busiest, found.saturated, found.runnable) == (0.0, 0.0, None)


def test_the_sample_with_the_most_descriptors_counts() -> None:
    found = usage(*(process("envoy", fds=fds, fd_limit=2 * fds + 50) for fds in (5, 50, 25)))
    assert (found.fds, found.fd_limit, found.fullness) == (50, 150, pytest.approx(1 / 3))
    assert usage(process("envoy", fds=5, fd_limit=0)).fullness == 0.0


def times(*pairs: tuple[float, float], pids: tuple[int, ...] = ()) -> Samples:
    numbers = pids or (7,) * len(pairs)
    return [
        process("envoy", cpu=cpu, wait=wait, pid=pid, seconds=2.0)
        for (cpu, wait), pid in zip(pairs, numbers, strict=True)
    ]


@pytest.mark.parametrize(
    ("samples", "runnable"),
    [
        (times((1.0, 0.5), (3.0, 1.5)), 1.5),
        (times((1.0, 0.5), (2.0, 1.0), (4.0, 4.5)), 1.75),
        (times((1.0, 0.5), (1.0, 0.5)), 0.0),
        (times((1.0, 0.5), (0.2, 0.1)), 0.0),
        (times((1.0, 0.5)), None),
        (times((1.0, 0.5), (3.0, 1.5), pids=(7, 8)), None),
        (times((1.0, 0.5), (2.0, 1.0), (4.0, 4.5), pids=(7, 8, 7)), 1.75),
    ],
)
def test_runnable_is_the_growth_of_cpu_and_wait_time_per_second(
    samples: Samples, runnable: float | None
) -> None:
    assert usage(*samples).runnable == runnable
