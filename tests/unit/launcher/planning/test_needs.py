"""What a number of sessions needs on each node."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.envoy.capacity import envoy_descriptors
from launcher.planning.capacity import Cost, ENVOY, Limit, LOAD, SERVER
from launcher.planning.needs import Assumed, needs, ranges, Row
from tests.helpers.machines import GIB, GOOD

# 1,000 sessions per process and 3,600 usable ports per address.
MACHINE = replace(GOOD, descriptors=1_100, last_port=40_767, memory_available=9 * GIB)
NODES = Assumed(3, MACHINE)


def placement(nodes: int = 3, clients: int = 0, *, local: bool = False, **fields: Any) -> Placement:
    deployment = Deployment(
        local=local, nodes=nodes, client_nodes=clients, workers_per_node=4, **fields
    )
    there = [Node(f"n{number}", f"n{number}", 2) for number in range(nodes + clients)]
    return place(deployment, there, RunDir(Path("/run"), "test"), Programs("envoy"))


def row(role: str, nodes: int, processes: int, cost: Cost, each: int, **others: Any) -> Row:
    """One node of the role holds `each` sessions."""
    values: dict[str, Any] = {
        "threads": 1,
        "ports": "",
        "descriptors": -(-each // processes) + 100,
        "limit": 1_100,
        "memory": each * cost.session + processes * cost.process,
        "room": 9 * GIB,
        "cpu": each * cost.cpu,
    }
    return Row(role=role, nodes=nodes, processes=processes, sessions=each, **(values | others))


def test_needs_have_a_row_for_every_role_with_client_nodes() -> None:
    found = needs(placement(clients=2, envoy_processes=2, envoy_threads=5), NODES, 7_001)
    envoy = row("Envoy", 1, 2, ENVOY, 7_001, threads=5, ports="8000,9901-9902")
    assert found.rows == (
        replace(envoy, descriptors=envoy_descriptors(7_001, 2)),
        row("server", 2, 4, SERVER, 3_501, ports="8000-8005"),
        row("load", 2, 4, LOAD, 3_501),
    )
    assert (found.sessions, found.clients) == (7_001, 0)
    assert found.bounds[0].sessions == min(bound.sessions for bound in found.bounds)
    load = next(bound for bound in found.bounds if bound.limit is Limit.LOAD_DESCRIPTORS)
    assert load.sessions == 8 * 1_000


def test_needs_without_envoy_have_no_row_for_it() -> None:
    found = needs(placement(1), NODES, 100)
    assert [each.role for each in found.rows] == ["server", "load (wanted)"]


def test_needs_of_unequal_servers_are_those_of_the_largest() -> None:
    there = [Node("n0", "n0", 1), Node("n1", "n1", 2), Node("n2", "n2", 5), Node("n3", "n3", 3)]
    placed = place(Deployment(nodes=4), there, RunDir(Path("/run"), "test"), Programs("envoy"))
    server = needs(placed, NODES, 3_000).rows[1]
    assert server == row("server", 3, 5, SERVER, 1_000, ports="8000-8006")


def test_client_nodes_that_are_missing_are_counted_by_ports() -> None:
    found = needs(placement(), NODES, 3_601)
    assert found.clients == 2
    assert found.rows[-1] == row("load (wanted)", 2, 3, LOAD, 1_801)
    assert not [bound for bound in found.bounds if bound.limit is Limit.LOAD_PORTS]
    assert needs(placement(), NODES, 3_600).clients == 1


def test_client_nodes_that_are_missing_have_more_workers_for_descriptors() -> None:
    many_ports = Assumed(1, replace(MACHINE, last_port=60_999))
    found = needs(placement(), many_ports, 5_001)
    assert (found.clients, found.rows[-1].processes) == (1, 6)


def test_client_nodes_that_are_missing_are_counted_by_memory() -> None:
    room = 3 * LOAD.process + 1_000 * LOAD.session
    small = Assumed(3, replace(MACHINE, memory_available=room))
    assert needs(placement(), small, 3_000).clients == 3
    assert needs(placement(), small, 3_001).clients == 4


def test_a_local_load_has_workers_and_source_addresses_of_this_machine() -> None:
    found = needs(placement(local=True), NODES, 3_601)
    assert found.clients == 0
    assert found.rows[-1] == row("load", 1, 4, LOAD, 3_601, ports="from 2 address(es)")
    load = {bound.limit: bound.sessions for bound in found.bounds}
    assert load[Limit.LOAD_PORTS] == 2 * 8_000
    assert load[Limit.LOAD_DESCRIPTORS] == 4 * 1_000


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (2, 2), (3, 3)])
def test_a_local_load_has_a_worker_per_core_but_at_least_two(cores: int, workers: int) -> None:
    assert needs(placement(local=True), Assumed(cores, MACHINE), 10).rows[-1].processes == workers


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([8000], "8000"),
        ([8000, 8001], "8000-8001"),
        ([8003, 8000, 8001, 8002, 9901], "8000-8003,9901"),
        ([1, 3, 5, 6], "1,3,5-6"),
    ],
)
def test_ranges_join_consecutive_ports(ports: list[int], text: str) -> None:
    assert ranges(ports) == text
