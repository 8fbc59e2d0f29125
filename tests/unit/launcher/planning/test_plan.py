"""A plan is the placement of the sized deployment, its programs, and a configuration for each Envoy."""

import logging
from pathlib import Path

import pytest

from launcher.deployment.placement import Node
from launcher.deployment.programs import programs
from launcher.deployment.spec import Deployment
from launcher.envoy.config import configurations
from launcher.planning.plan import place_sized, plan
from launcher.system.machine import Limits

LIMITS = Limits(descriptors=5_100, ports=28_232)
NODES = [Node("n1", "10.0.0.1", 2), Node("n2", "10.0.0.2", 4), Node("n3", "10.0.0.3", 4)]


def test_a_plan_is_sized_for_the_limits_and_the_cores_of_its_nodes(tmp_path: Path) -> None:
    deployment = Deployment(sessions=10_000, nodes=3, dir=tmp_path)
    found = place_sized(deployment, NODES, LIMITS)
    assert [len(server.worker_ports) for server in found.servers] == [4, 4]
    assert len(found.envoys) > 1
    roomy = place_sized(deployment, NODES, Limits(descriptors=50_000, ports=28_232))
    assert len(roomy.envoys) == 1


def test_a_plan_has_what_its_placement_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = Deployment(sessions=10_000, nodes=3, dir=tmp_path)
    with caplog.at_level(logging.DEBUG, logger="launcher"):
        found = plan(deployment, NODES, LIMITS)
    assert found.placement == place_sized(deployment, NODES, LIMITS)
    assert found.programs == programs(deployment)
    assert found.envoy_configs == configurations(found.placement)
    assert set(found.envoy_configs) == {envoy.config for envoy in found.placement.envoys}
    assert "Envoy on n1, servers on n2 n3" in caplog.messages
