"""How many workers, places, Envoy processes and addresses a number of sessions needs."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.envoy.capacity import envoy_sessions
from launcher.errors import UsageError
from launcher.experiment.grid import Grid
from launcher.experiment.grid_run import with_source_addresses
from launcher.planning import sizing
from launcher.planning.capacity import check
from launcher.planning.needs import Assumed, Needs, needs
from launcher.system.machine import Limits, limits
from tests.helpers.machines import GIB, GOOD

LIMITS = Limits(descriptors=20_000, ports=28_232)
SMALL = Assumed(2, replace(GOOD, memory_available=24 * GIB))


def nodes(count: int, cores: int = 2, *, local: bool = False) -> list[Node]:
    each = max(1, cores // max(1, count - 1)) if local else cores
    return [Node(f"n{number}", f"n{number}", each) for number in range(count)]


def chosen(sessions: int, count: int, cores: int = 2, **fields: Any) -> Deployment:
    deployment = Deployment(sessions=sessions, nodes=count, **fields)
    there = nodes(count + deployment.client_nodes, cores, local=deployment.local)
    return sizing.sized(deployment, there, LIMITS)


def placed(sessions: int, count: int, cores: int = 2, **fields: Any) -> Placement:
    deployment = chosen(sessions, count, cores, **fields)
    there = nodes(count + deployment.client_nodes, cores, local=deployment.local)
    return place(deployment, there, RunDir(Path("/run"), "test"), Programs("envoy"))


def needed(sessions: int, count: int, **fields: Any) -> Needs:
    return needs(placed(sessions, count, **fields), SMALL, sessions)


class TestChoice:
    def test_sized_changes_nothing_without_sessions(self) -> None:
        deployment = Deployment(nodes=3)
        assert sizing.sized(deployment, nodes(3), LIMITS) is deployment

    def test_sized_for_a_hundred_thousand_sessions_on_one_machine(self) -> None:
        deployment = chosen(100_000, 5, local=True)
        assert deployment.workers_per_node == 2
        assert deployment.envoy_processes == 11
        assert 12_500 < deployment.max_concurrent_envs <= 19_900

    def test_sized_keeps_one_worker_per_core_when_that_is_enough(self) -> None:
        deployment = chosen(1_000, 3, cores=8)
        assert (deployment.workers_per_node, deployment.envoy_processes) == (None, 1)
        assert 16 * deployment.max_concurrent_envs >= 1_000

    def test_sized_keeps_given_options(self) -> None:
        given = {"workers_per_node": 3, "max_concurrent_envs": 7, "envoy_processes": 2}
        deployment = chosen(100_000, 3, **given)
        assert {name: getattr(deployment, name) for name in given} == given

    def test_sized_adds_workers_when_few_places_are_given(self) -> None:
        deployment = chosen(10_000, 3, max_concurrent_envs=100)
        assert deployment.workers_per_node == 50

    def test_sized_adds_workers_when_the_app_allows_few_sessions(self) -> None:
        deployment = Deployment(sessions=100, nodes=3)
        one = sizing.sized(deployment, nodes(3), LIMITS, app_sessions=1)
        assert one.workers_per_node == 50
        many = sizing.sized(deployment, nodes(3), LIMITS, app_sessions=1_000)
        assert many == sizing.sized(deployment, nodes(3), LIMITS)

    def test_sized_adds_workers_when_ports_are_few(self) -> None:
        wide = Limits(descriptors=1_000_000, ports=1_000)
        deployment = sizing.sized(Deployment(sessions=9_000, nodes=2), nodes(2), wide)
        assert deployment.workers_per_node == 20

    def test_sized_uses_fewer_workers_with_many_envoy_processes(self) -> None:
        deployment = chosen(1_000_000, 80, cores=64)
        assert deployment.envoy_processes == 108
        assert deployment.workers_per_node == 16

    def test_sized_gives_a_single_server_more_slack(self) -> None:
        deployment = chosen(1_000, 1, cores=4)
        assert deployment.max_concurrent_envs >= 375
        assert deployment.envoy_processes is None

    @pytest.mark.parametrize("sessions", [1, 99, 5_000, 9_900, 9_901, 60_000, 250_000])
    @pytest.mark.parametrize("count", [2, 3, 9])
    def test_sized_holds_the_sessions_within_the_descriptors(
        self, sessions: int, count: int
    ) -> None:
        placement = placed(sessions, count)
        assert placement.capacity >= sessions
        assert placement.deployment.max_concurrent_envs <= 19_900
        assert envoy_sessions(20_000, len(placement.envoys)) >= sessions
        assert needs(placement, SMALL, sessions).bounds[0].sessions >= sessions


def sized(sessions: int, cores: list[int], limits: Limits, **fields: Any) -> Deployment:
    """For nodes with these cores: Envoy, servers, then client nodes."""
    nodes = len(cores) - fields.get("client_nodes", 0)
    there = [Node(f"n{number}", f"n{number}", each) for number, each in enumerate(cores)]
    return sizing.sized(Deployment(sessions=sessions, nodes=nodes, **fields), there, limits)


# A worker holds 1,000 sessions; Envoy 450 per process; 9,000 ports to each worker can be used.
SMALL_LIMITS = Limits(descriptors=1_100, ports=20_000)


class TestUnequalNodes:
    """Servers with different numbers of cores; neither Envoy nor clients count."""

    @pytest.mark.parametrize(
        ("cores", "sessions", "workers"),
        [
            ([64, 4, 8], 12_000, None),  # 12 workers are needed and 12 there
            ([64, 4, 8], 12_001, 8),  # 7 per server are needed: the larger server's number will do
            ([64, 2, 4], 12_000, 6),  # 6 per server are needed: more than any has
            ([64, 2, 4], 6_000, None),
            ([64, 2, 4], 6_001, 4),
            ([64, 2, 4, 64], 6_001, 4),
        ],
    )
    def test_workers(self, cores: list[int], sessions: int, workers: int | None) -> None:
        clients = {"client_nodes": 1} if len(cores) == 4 else {}
        chosen = sized(sessions, cores, SMALL_LIMITS, envoy_processes=1, **clients)
        assert chosen.workers_per_node == workers

    @pytest.mark.parametrize(
        ("cores", "envoys", "workers"),
        [
            ([1, 4, 5], 350, None),  # 350 Envoy processes may check 5 workers
            ([1, 4, 6], 350, 5),
            ([1, 3, 3], 875, 2),
            ([1, 1, 1], 1_024, None),
            ([1, 9, 9], 1_024, 1),
        ],
    )
    def test_health_checks_limit_the_workers(
        self, cores: list[int], envoys: int, workers: int | None
    ) -> None:
        chosen = sized(1_000, cores, SMALL_LIMITS, envoy_processes=envoys)
        assert chosen.workers_per_node == workers

    def test_health_checks_do_not_limit_the_workers_that_sessions_need(self) -> None:
        chosen = sized(20_000, [1, 9, 9], SMALL_LIMITS, envoy_processes=875)
        assert chosen.workers_per_node == 10

    def test_health_checks_do_not_limit_a_server_without_envoy(self) -> None:
        assert sized(1_000, [4_000], SMALL_LIMITS).workers_per_node is None


class TestPlaces:
    @pytest.mark.parametrize(
        ("cores", "sessions", "places"),
        [
            ([1, 8, 4], 6_000, 558),  # 6,000 / 12 workers × 1.1 + 8
            ([1, 8, 4], 6_001, 559),
            ([1, 8, 4], 1_003, 100),  # never fewer than the default
            ([1, 8, 4], 1_004, 101),
            ([4], 1_000, 383),  # 1,000 / 4 workers × 1.5 + 8
            ([1, 1], 905, 1_000),  # never more than the descriptors of a worker
            ([1, 1], 895, 993),
        ],
    )
    def test_places(self, cores: list[int], sessions: int, places: int) -> None:
        assert sized(sessions, cores, SMALL_LIMITS).max_concurrent_envs == places

    @pytest.mark.parametrize(("descriptors", "places"), [(50, 1), (101, 1), (102, 2)])
    def test_places_are_limited_by_few_descriptors(self, descriptors: int, places: int) -> None:
        chosen = sized(10, [1, 4, 4], Limits(descriptors, 20_000))
        assert chosen.max_concurrent_envs == places

    def test_places_are_for_the_workers_that_were_chosen(self) -> None:
        chosen = sized(6_001, [1, 2, 4], SMALL_LIMITS)
        assert (chosen.workers_per_node, chosen.max_concurrent_envs) == (4, 834)

    def test_places_are_for_the_workers_that_were_given(self) -> None:
        assert sized(6_000, [1, 2, 4], SMALL_LIMITS, workers_per_node=5).max_concurrent_envs == 668


class TestWorkersNeeded:
    @pytest.mark.parametrize(
        ("limits", "sessions", "workers"),
        [
            (Limits(1_100, 20_000), 3_000, 3),
            (Limits(1_100, 20_000), 3_001, 4),
            (Limits(50, 20_000), 3, 3),
            (Limits(101, 20_000), 3, 3),
            (Limits(102, 20_000), 3, 2),
            (Limits(1_100, 1_000), 900, 2),  # 450 of 1,000 ports are usable
            (Limits(1_100, 1_000), 901, 3),
            (Limits(1_100, 2), 3, 3),
        ],
    )
    def test_workers_needed(self, limits: Limits, sessions: int, workers: int) -> None:
        assert sizing.workers_needed(Deployment(), sessions, limits) == workers

    def test_given_places_limit_a_worker_but_the_default_does_not(self) -> None:
        few = Deployment(max_concurrent_envs=200)
        assert sizing.workers_needed(few, 3_000, SMALL_LIMITS) == 15
        many = Deployment(max_concurrent_envs=2_000)
        assert sizing.workers_needed(many, 3_000, SMALL_LIMITS) == 3


class TestEnvoyProcesses:
    def test_one_server_has_no_envoy(self) -> None:
        assert sized(5_000, [4], SMALL_LIMITS).envoy_processes is None

    def test_one_more_process_is_chosen_when_one_is_full(self) -> None:
        assert sized(450, [1, 4], SMALL_LIMITS).envoy_processes == 1
        assert sized(451, [1, 4], SMALL_LIMITS).envoy_processes == 2

    def test_too_few_descriptors_for_envoy_leave_one_process(self) -> None:
        assert sized(450, [1, 4], Limits(201, 20_000)).envoy_processes == 1


class TestRefusal:
    def test_a_plan_that_is_too_small_names_its_tightest_limit(self) -> None:
        found = needed(1_000_000, 80)
        with pytest.raises(
            UsageError, match="1,000,000 sessions cannot be held: the memory of Envoy"
        ):
            check(found.bounds, 1_000_000)
        with pytest.raises(UsageError, match=r"ports from the load.*--client-nodes 4"):
            check(needed(100_000, 9, client_nodes=2).bounds, 100_000)

    def test_a_plan_for_the_sessions_is_never_refused(self) -> None:
        check(needed(100_000, 9, client_nodes=4).bounds, 100_000)
        check(needed(100_000, 5, local=True).bounds, 100_000)


class TestLoad:
    @pytest.mark.parametrize(
        ("sessions", "workers"), [(100, 5), (5_000, 5), (5_001, 6), (100_000, 100)]
    )
    def test_load_workers_are_one_per_core_and_more_for_descriptors(
        self, sessions: int, workers: int
    ) -> None:
        assert sizing.load_workers(sessions, {"n1": 2, "n2": 3}, SMALL_LIMITS) == workers

    @pytest.mark.parametrize(
        ("sessions", "load"),
        [(5_000, {"n1": 2, "n2": 3}), (5_001, {"n1": 3, "n2": 3}), (6_001, {"n1": 4, "n2": 4})],
    )
    def test_load_by_machine_is_one_worker_per_core_unless_more_are_needed(
        self, sessions: int, load: dict[str, int]
    ) -> None:
        assert sizing.load_by_machine(sessions, {"n1": 2, "n2": 3}, SMALL_LIMITS) == load

    @pytest.mark.parametrize(("descriptors", "workers"), [(50, 9), (101, 9), (102, 5)])
    def test_load_workers_with_few_descriptors(self, descriptors: int, workers: int) -> None:
        assert sizing.load_workers(9, {"n1": 2}, Limits(descriptors, 20_000)) == workers

    @pytest.mark.parametrize(
        ("sessions", "ports", "machines"),
        [(0, 20_000, 1), (9_000, 20_000, 1), (9_001, 20_000, 2), (3, 2, 3), (3, 4, 3), (4, 5, 2)],
    )
    def test_load_machines_have_enough_ports(
        self, sessions: int, ports: int, machines: int
    ) -> None:
        assert sizing.load_machines(sessions, Limits(1_100, ports)) == machines

    def test_source_addresses_are_distinct_loopback_addresses(self) -> None:
        assert sizing.source_addresses(9_000, SMALL_LIMITS) == ()
        assert sizing.source_addresses(9_001, SMALL_LIMITS) == ("127.1.0.1", "127.1.0.2")
        many = sizing.source_addresses(252 * 9_000, SMALL_LIMITS)
        assert many[248:] == ("127.1.0.249", "127.1.0.250", "127.1.1.1", "127.1.1.2")
        assert len(set(many)) == 252

    def test_grid_gets_source_addresses_for_a_loopback_url_only(self) -> None:
        ports = limits().ports
        here = Grid("http://127.0.0.1:8000", (ports,), (1.0,), Path("out"))
        assert len(with_source_addresses(here, ports).sources) == 3
        assert with_source_addresses(here, 10) is here
        own = replace(here, sources=("127.0.0.9",))
        assert with_source_addresses(own, ports) is own
        away = replace(here, url=f"http://{os.uname().nodename}.invalid:8000")
        assert with_source_addresses(away, ports) is away
