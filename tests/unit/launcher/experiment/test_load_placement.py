"""Which nodes the load workers run on."""

import os
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from launcher.deployment.placement import Role
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, ProcessState
from launcher.experiment import load_placement
from launcher.experiment.load_placement import LoadPlacement, place_load
from launcher.experiment.target import Target
from launcher.runtimes.local import LocalRuntime
from launcher.slurm.allocation import Allocation, Component
from launcher.system.machine import Limits

URL = "http://192.0.2.1:8000"
LOOPBACK = "http://127.0.0.1:8000"
ALLOCATION = Allocation("7", (Component(("n1", "c1", "c2"), (4, 2, 3)),))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores; 500 sessions per load worker."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(load_placement, "limits", lambda: Limits(descriptors=600, ports=28_000))


def deployed(url: str = URL, **changes: Any) -> Target:
    state: dict[str, Any] = {
        "url": url,
        "job": "7",
        "client_nodes": {"c1": 2, "c2": 3},
        "slurm": {"allocation": asdict(ALLOCATION)},
    }
    return Target(url, DeploymentState(**(state | changes)))


@pytest.mark.parametrize(
    ("workers", "sessions", "expected"),
    [
        (None, 0, {"c1": 2, "c2": 3}),
        (None, 2500, {"c1": 2, "c2": 3}),
        (None, 2501, {"c1": 3, "c2": 3}),
        (None, 4500, {"c1": 5, "c2": 4}),
        (1, 10_000, {"c1": 1}),
        (4, 0, {"c1": 2, "c2": 2}),
        (7, 0, {"c1": 4, "c2": 3}),
    ],
)
def test_place_load_spreads_workers_over_the_client_nodes(
    workers: int | None, sessions: int, expected: dict[str, int]
) -> None:
    placement = place_load(deployed(), workers, sessions)
    assert Counter(placement.nodes) == expected
    assert placement.nodes == tuple(sorted(placement.nodes))
    assert (placement.is_local, placement.allocation) == (False, ALLOCATION)
    assert (placement.shares_node, placement.sharing_is_avoidable) == (False, False)
    assert placement.master_bind == "0.0.0.0"


@pytest.mark.parametrize("changes", [{"client_nodes": {}}, {"job": None}])
@pytest.mark.parametrize(
    ("workers", "sessions", "count"), [(None, 0, 2), (None, 1000, 2), (None, 1001, 3), (1, 5000, 1)]
)
def test_place_load_uses_this_machine_without_client_nodes(
    changes: dict[str, Any], workers: int | None, sessions: int, count: int
) -> None:
    placement = place_load(deployed(**changes), workers, sessions)
    assert placement.nodes == ("127.0.0.1",) * count
    assert placement.is_local
    assert (placement.master_bind, placement.master_address) == ("127.0.0.1", "127.0.0.1")
    assert isinstance(placement.runtime(), LocalRuntime)


def here(local: bool) -> Target:
    """A deployment with a process on this machine, without client nodes."""
    process = ProcessState("server-1", Role.SERVER, os.uname().nodename)
    deployment = Deployment(local=local)
    return deployed(client_nodes={}, processes=(process,), deployment=deployment)


@pytest.mark.parametrize(
    ("target", "shares", "avoidable"),
    [
        (Target(URL), False, False),
        (Target(LOOPBACK), True, False),
        (deployed(LOOPBACK, client_nodes={}), True, True),
        (here(local=True), True, False),
        (here(local=False), True, True),
    ],
)
def test_sharing_is_avoidable_unless_the_deployment_is_on_this_machine_alone(
    target: Target, shares: bool, avoidable: bool
) -> None:
    placement = place_load(target, None)
    assert (placement.shares_node, placement.sharing_is_avoidable) == (shares, avoidable)


def test_str_of_a_placement_names_its_nodes_once() -> None:
    assert str(place_load(deployed(), None)) == "5 load worker(s) on client node(s) c1 c2"
    name = os.uname().nodename
    local = LoadPlacement(Target(URL), ("127.0.0.1",) * 3)
    assert str(local) == f"3 load worker(s) on {name}"
    shared = LoadPlacement(Target(URL), ("127.0.0.1",), shares_node=True)
    assert str(shared) == f"1 load worker(s) on {name}, which also runs what is measured"
