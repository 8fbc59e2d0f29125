"""The sessions that each limit allows, on machines that differ."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.envoy.capacity import envoy_descriptors, envoy_processes, envoy_sessions
from launcher.errors import UsageError
from launcher.planning.capacity import (
    Bound,
    bounds,
    check,
    check_placement,
    ENVOY,
    hosting_bounds,
    Limit,
    LOAD,
    load_bounds,
    SERVER,
    Stage,
)
from launcher.system.machine import Machine
from tests.helpers.machines import GIB, GOOD

# Envoy on n1; servers with 4 workers on n2 and n3; load workers on n4 and n5.
MACHINES = {
    "n1": replace(GOOD, descriptors=30_000, last_port=42_767, memory_available=8 * GIB),
    "n2": replace(GOOD, descriptors=9_100, memory_available=6 * GIB),
    "n3": replace(GOOD, descriptors=8_100, memory_available=5 * GIB),
    "n4": replace(GOOD, descriptors=5_100, last_port=40_767, memory_available=7 * GIB),
    "n5": replace(GOOD, descriptors=6_100, last_port=36_767, memory_available=3 * GIB),
}


def placement(nodes: int = 3, *, local: bool = False, **fields: Any) -> Placement:
    values: dict[str, Any] = {"workers_per_node": 4, "max_concurrent_envs": 50} | fields
    deployment = Deployment(local=local, nodes=nodes, **values)
    there = [Node(f"n{number}", f"10.0.0.{number}", 2) for number in range(1, nodes + 1)]
    return place(deployment, there, RunDir(Path("/run"), "test"), Programs("envoy"))


def stage(load: Mapping[str, int] | None = None, **fields: Any) -> Stage:
    return Stage(placement(**fields), MACHINES, {"n4": 3, "n5": 2} if load is None else load)


def by_limit(found: list[Bound]) -> dict[Limit, Bound]:
    return {bound.limit: bound for bound in found}


def numbers(text: str) -> list[float]:
    """The figures of a text, in their order, but not those in names such as n3 or ipv4."""
    plain = text.replace(",", "")
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", plain)]


def test_bounds_are_the_sessions_of_every_limit_with_the_tightest_first() -> None:
    found = bounds(stage(), None)
    assert [bound.sessions for bound in found] == sorted(bound.sessions for bound in found)
    assert {bound.limit: bound.sessions for bound in found} == {
        Limit.PLACES: 8 * 50,
        Limit.SERVER_DESCRIPTORS: 8 * 8_000,
        Limit.SERVER_MEMORY: 2 * ((5 * GIB - 4 * SERVER.process) // SERVER.session),
        Limit.ENVOY_DESCRIPTORS: 30_000 // 2 - 100,
        Limit.ENVOY_PORTS: 8 * 10_000,
        Limit.ENVOY_MEMORY: (8 * GIB - ENVOY.process) // ENVOY.session,
        Limit.HEALTH_CHECKS: envoy_sessions(30_000, 437),
        Limit.LOAD_DESCRIPTORS: 5 * 5_000,
        Limit.LOAD_PORTS: 2 * 4_000,
        Limit.LOAD_MEMORY: 2 * ((3 * GIB - 3 * LOAD.process) // LOAD.session),
    }


def test_bounds_explain_the_figures_of_the_lowest_machine() -> None:
    found = by_limit(bounds(stage(), None))
    assert {limit: numbers(bound.why) for limit, bound in found.items()} == {
        Limit.PLACES: [8, 50],
        Limit.SERVER_DESCRIPTORS: [8, 8_100, 1],
        Limit.SERVER_MEMORY: [5.0, 4, 13],
        Limit.ENVOY_DESCRIPTORS: [1, 30_000, 2],
        Limit.ENVOY_PORTS: [10_000, 8],
        Limit.ENVOY_MEMORY: [8.0, 1, 62],
        Limit.HEALTH_CHECKS: [1_000, 437, 4],
        Limit.LOAD_DESCRIPTORS: [5, 5_100, 1],
        Limit.LOAD_PORTS: [4_000, 2],
        Limit.LOAD_MEMORY: [3.0, 3, 9],
    }
    lowest = {limit: re.findall(r"n\d", bound.why) for limit, bound in found.items()}
    assert lowest[Limit.SERVER_DESCRIPTORS] == lowest[Limit.SERVER_MEMORY] == ["n3"]
    assert lowest[Limit.LOAD_DESCRIPTORS] == ["n4"]
    assert lowest[Limit.LOAD_MEMORY] == ["n5"]
    assert lowest[Limit.ENVOY_DESCRIPTORS] == lowest[Limit.ENVOY_PORTS] == ["n1"]


@pytest.mark.parametrize("sessions", [None, 400])
def test_a_change_allows_twice_as_many_when_the_sessions_fit(sessions: int | None) -> None:
    found = by_limit(bounds(stage(), sessions))
    assert numbers(found[Limit.PLACES].change) == [100]
    assert numbers(found[Limit.SERVER_DESCRIPTORS].change) == [2 * 8_000 + 100]
    assert numbers(found[Limit.ENVOY_DESCRIPTORS].change) == [
        envoy_processes(2 * 14_900, 30_000),
        envoy_descriptors(2 * 14_900, 1),
    ]
    allowed = found[Limit.HEALTH_CHECKS].sessions
    assert numbers(found[Limit.HEALTH_CHECKS].change) == [envoy_descriptors(2 * allowed, 437)]
    assert numbers(found[Limit.LOAD_DESCRIPTORS].change) == [10]
    assert numbers(found[Limit.LOAD_PORTS].change) == [4, 4]


def test_a_change_allows_the_requested_sessions_when_they_do_not_fit() -> None:
    found = by_limit(bounds(stage(), 100_001))
    assert numbers(found[Limit.PLACES].change) == [12_501]
    assert numbers(found[Limit.SERVER_DESCRIPTORS].change) == [12_501 + 100]
    assert numbers(found[Limit.ENVOY_DESCRIPTORS].change) == [
        envoy_processes(100_001, 30_000),
        envoy_descriptors(100_001, 1),
    ]
    assert numbers(found[Limit.LOAD_DESCRIPTORS].change) == [21]
    assert numbers(found[Limit.LOAD_PORTS].change) == [26, 26]


def test_unequal_servers_are_limited_by_the_one_with_most_workers() -> None:
    there = [
        Node(f"n{number}", f"10.0.0.{number}", cores) for number, cores in ((1, 9), (2, 2), (3, 5))
    ]
    placed = place(Deployment(nodes=3), there, RunDir(Path("/run"), "test"), Programs("envoy"))
    found = by_limit(bounds(Stage(placed, MACHINES, {}), None))
    assert found[Limit.PLACES].sessions == 7 * 100
    assert found[Limit.HEALTH_CHECKS].sessions == envoy_sessions(30_000, 350)
    assert found[Limit.SERVER_MEMORY].sessions == 2 * (
        (5 * GIB - 5 * SERVER.process) // SERVER.session
    )


def test_several_envoy_processes_are_counted() -> None:
    found = by_limit(bounds(stage(envoy_processes=3), None))
    assert found[Limit.ENVOY_DESCRIPTORS].sessions == envoy_sessions(30_000, 3)
    assert found[Limit.ENVOY_MEMORY].sessions == (8 * GIB - 3 * ENVOY.process) // ENVOY.session
    needed = envoy_descriptors(2 * envoy_sessions(30_000, 3), 3)
    assert numbers(found[Limit.ENVOY_DESCRIPTORS].change)[1] == needed


def test_more_envoy_processes_are_no_advice_when_one_cannot_hold_a_session() -> None:
    machines = MACHINES | {"n1": replace(GOOD, descriptors=201)}
    found = by_limit(bounds(replace(stage(), machines=machines), 10))
    assert found[Limit.ENVOY_DESCRIPTORS].sessions == 0
    assert numbers(found[Limit.ENVOY_DESCRIPTORS].change) == [envoy_descriptors(10, 1)]


def test_without_load_its_limits_are_left_out() -> None:
    limits = by_limit(bounds(stage({}), None))
    assert not {Limit.LOAD_DESCRIPTORS, Limit.LOAD_PORTS, Limit.LOAD_MEMORY} & set(limits)


def test_without_envoy_its_limits_are_left_out() -> None:
    alone = Stage(placement(1), MACHINES, {"n4": 1})
    assert set(by_limit(bounds(alone, None))) == {
        *(Limit.PLACES, Limit.SERVER_DESCRIPTORS, Limit.SERVER_MEMORY),
        *(Limit.LOAD_DESCRIPTORS, Limit.LOAD_PORTS, Limit.LOAD_MEMORY),
    }


def test_hosting_bounds_leave_out_memory_and_load() -> None:
    assert set(by_limit(list(hosting_bounds(stage(), None)))) == {
        *(Limit.PLACES, Limit.SERVER_DESCRIPTORS, Limit.ENVOY_DESCRIPTORS),
        *(Limit.ENVOY_PORTS, Limit.HEALTH_CHECKS),
    }


@pytest.mark.parametrize(("sources", "addresses"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_load_ports_count_machines_or_the_source_addresses_if_there_are_more(
    sources: int, addresses: int
) -> None:
    found = by_limit(list(load_bounds({"n4": 3, "n5": 2}, MACHINES, None, sources)))
    assert found[Limit.LOAD_PORTS].sessions == addresses * 4_000
    staged = replace(stage(), sources=sources)
    assert by_limit(bounds(staged, None))[Limit.LOAD_PORTS].sessions == addresses * 4_000


@pytest.mark.parametrize(("descriptors", "each"), [(50, 0), (100, 0), (101, 1)])
def test_a_process_without_spare_descriptors_holds_nothing(descriptors: int, each: int) -> None:
    few = replace(GOOD, descriptors=descriptors)
    load = by_limit(list(load_bounds({"n4": 3}, {"n4": few}, 10)))[Limit.LOAD_DESCRIPTORS]
    assert load.sessions == 3 * each
    assert numbers(load.change) == [10]
    servers = by_limit(bounds(replace(stage(), machines=dict.fromkeys(MACHINES, few)), 10))
    assert servers[Limit.SERVER_DESCRIPTORS].sessions == 8 * each


def test_a_machine_without_ports_opens_nothing() -> None:
    none = replace(GOOD, last_port=GOOD.first_port - 1)
    bound = by_limit(list(load_bounds({"n4": 3}, {"n4": none}, 10)))[Limit.LOAD_PORTS]
    assert (bound.sessions, numbers(bound.change)) == (0, [10, 10])


class TestLocal:
    def memory(self, machine: Machine, load: Mapping[str, int], **fields: Any) -> Bound:
        staged = Stage(placement(local=True, **fields), {"n1": machine}, {})
        machines = dict.fromkeys(["n1", "n2", "n3", *load], machine)
        staged = replace(staged, machines=machines, load=load)
        found = by_limit(bounds(staged, None))
        assert not {Limit.SERVER_MEMORY, Limit.ENVOY_MEMORY, Limit.LOAD_MEMORY} & set(found)
        return found[Limit.LOCAL_MEMORY]

    def test_servers_envoy_and_load_share_the_memory(self) -> None:
        bound = self.memory(GOOD, {"here": 3, "there": 2}, envoy_processes=2)
        processes = 8 * SERVER.process + 2 * ENVOY.process + 5 * LOAD.process
        each = SERVER.session + ENVOY.session + LOAD.session
        assert bound.sessions == (60 * GIB - processes) // each
        assert numbers(bound.why) == [60.0, 15, 84]

    def test_only_the_parts_that_run_take_memory(self) -> None:
        bound = self.memory(GOOD, {}, nodes=1)
        assert bound.sessions == (60 * GIB - 4 * SERVER.process) // SERVER.session
        assert numbers(bound.why) == [60.0, 4, 13]

    @pytest.mark.parametrize(("room", "sessions"), [(-1, 0), (0, 0), (12_999, 0), (13_000, 1)])
    def test_processes_come_before_sessions(self, room: int, sessions: int) -> None:
        machine = replace(GOOD, memory_available=4 * SERVER.process + room)
        assert self.memory(machine, {}, nodes=1).sessions == sessions

    def test_the_limit_is_this_machine(self) -> None:
        staged = Stage(placement(local=True), dict.fromkeys(["n1", "n2", "n3"], GOOD), {})
        found = by_limit(bounds(staged, None))
        assert "this machine" in found[Limit.ENVOY_DESCRIPTORS].why
        assert "this machine" not in by_limit(bounds(stage(), None))[Limit.ENVOY_DESCRIPTORS].why


@pytest.mark.parametrize(("room", "sessions"), [(-1, 0), (0, 0), (12_999, 0), (13_000, 2)])
def test_a_node_without_room_for_its_processes_holds_nothing(room: int, sessions: int) -> None:
    low = replace(GOOD, memory_available=4 * SERVER.process + room)
    found = by_limit(bounds(replace(stage(), machines=MACHINES | {"n2": low}), None))
    assert found[Limit.SERVER_MEMORY].sessions == sessions


def test_places_that_the_app_limits_need_more_workers() -> None:
    limited = replace(stage(), placement=replace(placement(), app_sessions=3))
    bound = by_limit(bounds(limited, 100))[Limit.PLACES]
    assert (bound.sessions, numbers(bound.why)) == (24, [8, 3])
    assert bound.why.endswith("as many as the app allows")
    assert bound.change == "--workers-per-node 17, or more --nodes"
    roomy = replace(stage(), placement=replace(placement(), app_sessions=1_000))
    assert by_limit(bounds(roomy, 100)) == by_limit(bounds(stage(), 100))


def test_check_raises_only_below_the_requested_sessions() -> None:
    tight = [Bound(Limit.PLACES, 400, "", "do this"), Bound(Limit.ENVOY_PORTS, 500, "", "or that")]
    check(tight, None)
    check(tight, 400)
    with pytest.raises(UsageError, match=r"401 sessions .* 400 .*; do this$"):
        check(tight, 401)


def test_check_placement_names_the_tightest_limit_of_equal_machines() -> None:
    check_placement(placement(), 400, GOOD)
    check_placement(placement(), None, GOOD)
    check_placement(placement(1), 200, GOOD)
    with pytest.raises(UsageError, match=f"the {Limit.PLACES} allow 400"):
        check_placement(placement(), 401, GOOD)
    with pytest.raises(UsageError, match=f"the {Limit.ENVOY_DESCRIPTORS} allow 300"):
        check_placement(placement(), 400, replace(GOOD, descriptors=800))
