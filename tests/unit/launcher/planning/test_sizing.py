"""From a wanted number of sessions and the nodes to how many of what."""

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
from launcher.planning.capacity import check, check_placement
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
    def test_who_asks_for_nothing_gets_what_there_always_was(self) -> None:
        deployment = Deployment(nodes=3)
        assert sizing.sized(deployment, nodes(3), LIMITS) is deployment

    def test_a_hundred_thousand_on_one_machine(self) -> None:
        deployment = chosen(100_000, 5, local=True)
        assert deployment.workers_per_node == 2
        assert deployment.envoy_processes == 11
        assert 12_500 < deployment.max_concurrent_envs <= 19_900

    def test_cores_stay_the_measure_where_they_suffice(self) -> None:
        deployment = chosen(1_000, 3, cores=8)
        assert (deployment.workers_per_node, deployment.envoy_processes) == (None, 1)
        assert 16 * deployment.max_concurrent_envs >= 1_000

    def test_what_is_given_stays(self) -> None:
        given = {"workers_per_node": 3, "max_concurrent_envs": 7, "envoy_processes": 2}
        deployment = chosen(100_000, 3, **given)
        assert {name: getattr(deployment, name) for name in given} == given

    def test_workers_make_up_for_few_places_that_were_given(self) -> None:
        deployment = chosen(10_000, 3, max_concurrent_envs=100)
        assert deployment.workers_per_node == 50

    def test_ports_want_workers_too(self) -> None:
        wide = Limits(descriptors=1_000_000, ports=1_000)
        deployment = sizing.sized(Deployment(sessions=9_000, nodes=2), nodes(2), wide)
        assert deployment.workers_per_node == 20

    def test_many_envoys_have_fewer_workers_to_check(self) -> None:
        deployment = chosen(1_000_000, 80, cores=64)
        assert deployment.envoy_processes == 108
        assert deployment.workers_per_node == 16

    def test_a_server_alone_has_places_for_what_the_kernel_deals_out_unevenly(self) -> None:
        deployment = chosen(1_000, 1, cores=4)
        assert deployment.max_concurrent_envs >= 375
        assert deployment.envoy_processes is None

    @pytest.mark.parametrize("sessions", [1, 99, 5_000, 9_900, 9_901, 60_000, 250_000])
    @pytest.mark.parametrize("count", [2, 3, 9])
    def test_whatever_is_chosen_holds_them_and_keeps_within_the_descriptors(
        self, sessions: int, count: int
    ) -> None:
        placement = placed(sessions, count)
        assert placement.capacity >= sessions
        assert placement.deployment.max_concurrent_envs <= 19_900
        assert envoy_sessions(20_000, len(placement.envoys)) >= sessions
        assert needs(placement, SMALL, sessions).bounds[0].sessions >= sessions


class TestNeeds:
    def test_a_row_for_each_role(self) -> None:
        found = needed(100_000, 9, client_nodes=4)
        assert [(row.role, row.nodes) for row in found.rows] == [
            ("Envoy", 1),
            ("server", 8),
            ("load", 4),
        ]
        envoy, server, load = found.rows
        assert (envoy.processes, envoy.threads, envoy.ports) == (11, 1, "8000,9901-9911")
        assert (server.processes, server.sessions, server.ports) == (2, 12_500, "8000-8003")
        assert (load.processes, load.sessions) == (2, 25_000)
        assert all(row.descriptors <= row.limit for row in found.rows)
        check(found.bounds, 100_000)

    def test_client_nodes_that_nobody_asked_for_are_counted(self) -> None:
        found = needed(100_000, 9)
        assert found.clients == found.rows[-1].nodes == 8
        assert not [bound for bound in found.bounds if "load" in bound.limit]

    def test_one_machine_for_all_has_addresses_enough(self) -> None:
        found = needed(100_000, 5, local=True)
        assert found.rows[-1].processes == 6
        assert found.rows[-1].ports == "from 8 address(es)"
        check(found.bounds, 100_000)

    def test_what_cannot_be_held_is_refused_in_one_line(self) -> None:
        found = needed(1_000_000, 80)
        with pytest.raises(
            UsageError, match="1,000,000 sessions cannot be held: the memory of Envoy"
        ):
            check(found.bounds, 1_000_000)
        with pytest.raises(UsageError, match=r"ports from the load.*--client-nodes 4"):
            check(needed(100_000, 9, client_nodes=2).bounds, 100_000)

    def test_up_refuses_what_was_given_too_small(self) -> None:
        with pytest.raises(UsageError, match="the places of the servers allow 200"):
            check_placement(
                placed(1_000, 3, max_concurrent_envs=50, workers_per_node=2), 1_000, GOOD
            )
        check_placement(placed(1_000, 3), 1_000, GOOD)


class TestLoad:
    def test_load_workers_are_one_a_core_and_more_for_descriptors(self) -> None:
        assert sizing.load_workers(100, {"here": 2}, LIMITS) == 2
        assert sizing.load_workers(100_000, {"here": 2}, LIMITS) == 6

    def test_addresses_are_as_many_as_ports_need(self) -> None:
        assert sizing.source_addresses(12_000, LIMITS) == ()
        four = sizing.source_addresses(50_000, LIMITS)
        assert four == ("127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.4")
        many = sizing.source_addresses(10_000_000, LIMITS)
        assert len(set(many)) == 788

    def test_a_grid_gets_addresses_for_a_loopback_url_alone(self) -> None:
        ports = limits().ports
        here = Grid("http://127.0.0.1:8000", (ports,), (1.0,), Path("out"))
        assert len(with_source_addresses(here, ports).sources) == 3
        assert with_source_addresses(here, 10) is here
        own = replace(here, sources=("127.0.0.9",))
        assert with_source_addresses(own, ports) is own
        away = replace(here, url=f"http://{os.uname().nodename}.invalid:8000")
        assert with_source_addresses(away, ports) is away
