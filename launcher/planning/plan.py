"""From a deployment and its nodes to a plan: which process runs where, and how. Pure."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import Programs, programs
from launcher.deployment.spec import Deployment
from launcher.envoy.config import configurations
from launcher.planning.sizing import sized
from launcher.system.machine import Limits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    placement: Placement
    programs: Programs
    envoy_configs: Mapping[Path, str]


def plan(
    deployment: Deployment, nodes: Sequence[Node], limits: Limits, app_sessions: int | None = None
) -> Plan:
    """`limits` are those of every node, and `app_sessions` is how many sessions the app allows in a
    worker. Raises `UsageError`."""
    placement = place_sized(deployment, nodes, limits, app_sessions)
    servers = " ".join(server.name for server in placement.servers)
    logger.debug("Envoy on %s, servers on %s", placement.envoy_node, servers)
    return Plan(placement, programs(deployment), configurations(placement))


def place_sized(
    deployment: Deployment, nodes: Sequence[Node], limits: Limits, app_sessions: int | None = None
) -> Placement:
    chosen = sized(deployment, nodes, limits, app_sessions)
    return place(chosen, nodes, deployment.rundir, programs(deployment), app_sessions)
