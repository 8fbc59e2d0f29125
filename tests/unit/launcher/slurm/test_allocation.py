import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.lifecycle.batch_job import submission
from launcher.planning.plan import place_sized
from launcher.runtimes.nodes import nodes_for
from launcher.slurm.allocation import (
    address_of,
    Allocation,
    allocation,
    choose_nodes,
    Component,
    expand,
    expected_allocation,
    ignored_partition,
)
from launcher.system.machine import limits
from tests.helpers.allocations import HETEROGENEOUS, PLAIN


def names(nodelist: str) -> list[str]:
    return nodelist.split("+")


@pytest.mark.parametrize("variables", [{}, {"SLURM_JOB_ID": "7"}, {"SLURM_JOB_NODELIST": "n1"}])
def test_allocation_is_none_without_a_job_or_nodes(variables: dict[str, str]) -> None:
    assert allocation(variables, names) is None


@pytest.mark.parametrize(
    ("variables", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_JOB_CPUS_PER_NODE": "64(x3)"}, (3, 3, 3)),
        ({"SLURM_JOB_CPUS_PER_NODE": "64(x2),16"}, (64, 64, 16)),
        ({"SLURM_JOB_CPUS_PER_NODE": "64"}, (64, 1, 1)),
        ({}, (1, 1, 1)),
    ],
)
def test_cores_are_those_of_the_task_or_else_of_the_node(
    variables: dict[str, str], cores: tuple[int, ...]
) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1+n2+n3"}
    assert allocation(job | variables, names) == Allocation(
        "7", (Component(("n1", "n2", "n3"), cores),)
    )


def test_a_heterogeneous_allocation_keeps_the_order_of_its_components() -> None:
    variables = {
        "SLURM_JOB_ID": "8",
        "SLURM_HET_SIZE": "2",
        "SLURM_JOB_ID_HET_GROUP_0": "7",
        "SLURM_JOB_ID_HET_GROUP_1": "8",
        "SLURM_JOB_NODELIST_HET_GROUP_0": "a1",
        "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_0": "8",
        "SLURM_JOB_NODELIST_HET_GROUP_1": "b1+b2",
        "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_1": "2,3",
    }
    assert allocation(variables, names) == HETEROGENEOUS


def test_nodes_know_their_component_job_and_cores() -> None:
    nodes = HETEROGENEOUS.nodes
    assert nodes == ("a1", "b1", "b2")
    assert [HETEROGENEOUS.group(node) for node in nodes] == [0, 1, 1]
    assert [HETEROGENEOUS.job_of(node) for node in nodes] == ["7", "8", "8"]
    assert [HETEROGENEOUS.cores(node) for node in (*nodes, "unknown")] == [8, 2, 3, 1]
    assert PLAIN.job_of("n2") == "7"


@pytest.mark.parametrize(
    ("nodes", "parts"),
    [([], []), (["b2"], [["b2"]]), (["b2", "a1", "b1"], [["a1"], ["b2", "b1"]])],
)
def test_nodes_are_grouped_by_component(nodes: list[str], parts: list[list[str]]) -> None:
    assert HETEROGENEOUS.by_component(nodes) == parts


@pytest.mark.parametrize("allocated", [PLAIN, HETEROGENEOUS])
def test_an_allocation_survives_json(allocated: Allocation) -> None:
    assert Allocation.from_dict(json.loads(json.dumps(asdict(allocated)))) == allocated


@pytest.mark.parametrize(
    ("counts", "cores"),
    [("", []), ("48", [48]), ("48(x3)", [48] * 3), ("48(x2),16,8(x2)", [48, 48, 16, 8, 8])],
)
def test_expand_repeats_counts(counts: str, cores: list[int]) -> None:
    assert expand(counts) == cores


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [
        ({}, ["n1", "n2", "n3"]),
        ({"nodes": 2}, ["n1", "n2"]),
        ({"nodes": 1}, ["n1"]),
        ({"nodes": 3}, ["n1", "n2", "n3"]),
        ({"client_nodes": 1}, ["n1", "n2", "n3"]),
        ({"nodes": 1, "client_nodes": 1}, ["n1", "n2"]),
        ({"nodes": 2, "client_nodes": 1}, ["n1", "n2", "n3"]),
    ],
)
def test_a_deployment_uses_the_first_nodes(fields: dict[str, Any], nodes: list[str]) -> None:
    assert choose_nodes(PLAIN, Deployment(**fields)) == nodes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 4}, "--nodes 4 is more than the 3 node(s) of allocation 7: n1 n2 n3"),
        ({"nodes": 3, "client_nodes": 1}, "--nodes 3 --client-nodes 1 is more than the 3 node(s)"),
        ({"client_nodes": 2}, "allocation 7 has 3 node(s), of which 2 for clients"),
    ],
)
def test_a_request_for_more_nodes_than_allocated_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        choose_nodes(PLAIN, Deployment(**fields))


def test_an_allocation_of_one_node_is_refused_with_advice() -> None:
    with pytest.raises(UsageError, match="Envoy and a server need two: allocate more"):
        choose_nodes(Allocation("7", (Component(("n1",), (4,)),)), Deployment())


@pytest.mark.parametrize(
    ("variables", "ignored"),
    [
        ({}, False),
        ({"PARTITION": "debug"}, False),
        ({"PARTITION": "debug", "SLURM_JOB_PARTITION": "debug"}, False),
        ({"PARTITION": "debug", "SLURM_JOB_PARTITION": "big"}, True),
    ],
)
def test_a_partition_that_sbatch_ignored_is_reported(
    variables: dict[str, str], ignored: bool
) -> None:
    assert (ignored_partition(variables) is not None) == ignored


def test_a_plan_for_a_future_job_has_placeholders_for_nodes(tmp_path: Path) -> None:
    deployment = Deployment(nodes=3, client_nodes=1, cpus_per_task=2, dir=tmp_path)
    nodes = nodes_for(deployment, expected_allocation(deployment))
    placement = place_sized(deployment, nodes, limits())
    assert placement.envoy_node == "NODE_1"
    assert [server.name for server in placement.servers] == ["NODE_2", "NODE_3"]
    assert [(node.name, node.cores) for node in placement.client_nodes] == [("NODE_4", 2)]
    argv, path, text = submission(deployment)
    assert {"--nodes=4", "--cpus-per-task=2"} <= set(argv)
    assert argv[-1] == str(path)
    assert str(tmp_path) in text


@pytest.mark.parametrize(
    ("fields", "cores", "expected"), [({}, None, 1), ({}, 6, 6), ({"cpus_per_task": 2}, 6, 2)]
)
def test_a_future_job_has_the_requested_or_the_given_cores(
    fields: dict[str, Any], cores: int | None, expected: int
) -> None:
    allocated = expected_allocation(Deployment(nodes=2, **fields), cores)
    assert allocated == Allocation("JOB", (Component(("NODE_1", "NODE_2"), (expected,) * 2),))


@pytest.mark.parametrize(
    ("name", "address"),
    [("192.0.2.7", "192.0.2.7"), ("localhost", "localhost"), ("no.invalid", "no.invalid")],
)
def test_a_node_without_an_address_of_its_own_keeps_its_name(name: str, address: str) -> None:
    assert address_of(name) == address
