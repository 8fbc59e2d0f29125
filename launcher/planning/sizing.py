"""How many of what a wanted number of sessions needs: what the user left open is chosen. Pure."""

from collections.abc import Mapping, Sequence
from itertools import islice
from math import ceil
from typing import Any

from benchmark.server.settings import DEFAULT_MAX_CONCURRENT_ENVS
from launcher.deployment.placement import Node
from launcher.deployment.spec import Deployment
from launcher.envoy.capacity import envoy_processes
from launcher.envoy.config import max_checked
from launcher.system.machine import Limits

PLACES_SLACK, PLACES_SPARE = 1.1, 8
"""Envoy deals sessions out evenly, but a worker that has just ended holds none for a while."""

ALONE_SLACK = 1.5
"""Without Envoy the kernel deals connections out to the workers of a server, unevenly."""

PORTS_SHARE = 0.45
"""Of the ephemeral ports of an address. The kernel gives out every second one; when those are taken, it
looks through all of them for each connection more, before it tries the others: 100,000 sessions from
four addresses opened at a tenth of the pace from the 57,000th on."""

MIN_LOAD_WORKERS = 2
FIRST_SOURCE = (127, 1, 0, 1)


def sized(deployment: Deployment, nodes: Sequence[Node], limits: Limits) -> Deployment:
    """The deployment with room for `sessions`, where it says how many; `limits` are those of each
    node. What the user gave stays, also where it is too little."""
    wanted = deployment.sessions
    if wanted is None:
        return deployment
    split = len(nodes) - deployment.client_nodes
    servers = nodes[1:split] if split > 1 else nodes[:split]
    chosen: dict[str, Any] = {}
    if deployment.envoy_processes is None and split > 1:
        chosen["envoy_processes"] = _envoys(wanted, limits)
    envoys = deployment.envoy_processes or chosen.get("envoy_processes", 1)
    workers = [deployment.workers_per_node or node.cores for node in servers]
    if deployment.workers_per_node is None:
        needed = ceil(workers_needed(deployment, wanted, limits) / len(servers))
        checked = max_checked(envoys) if split > 1 else max(workers)
        if sum(workers) < needed * len(servers) or max(workers) > checked:
            each = max(needed, min(checked, max(workers)))
            chosen["workers_per_node"], workers = each, [each] * len(servers)
    if "max_concurrent_envs" not in deployment.model_fields_set:
        slack = PLACES_SLACK if split > 1 else ALONE_SLACK
        places = ceil(wanted / sum(workers) * slack) + PLACES_SPARE
        held = max(1, limits.sessions_per_worker)
        chosen["max_concurrent_envs"] = min(max(places, DEFAULT_MAX_CONCURRENT_ENVS), held)
    return deployment.model_copy(update=chosen)


def workers_needed(deployment: Deployment, sessions: int, limits: Limits) -> int:
    """Of all servers together: a worker has so many descriptors and places, and Envoy's node has so
    many ports to each."""
    each = max(1, limits.sessions_per_worker)
    if "max_concurrent_envs" in deployment.model_fields_set:
        each = min(each, deployment.max_concurrent_envs)
    return ceil(sessions / min(each, max(1, int(limits.ports * PORTS_SHARE))))


def _envoys(sessions: int, limits: Limits) -> int:
    try:
        return envoy_processes(sessions, limits.descriptors)
    except ValueError:
        return 1


def load_workers(sessions: int, machines: Mapping[str, int], limits: Limits) -> int:
    """How many load workers open so many sessions, from machines with so many cores each: one a core,
    more when their descriptors are too few."""
    usual = sum(machines.values())
    return max(usual, ceil(sessions / max(1, limits.sessions_per_worker)))


def load_machines(sessions: int, limits: Limits) -> int:
    """How many addresses have the ephemeral ports for so many sessions to one URL."""
    return max(1, ceil(sessions / max(1, int(limits.ports * PORTS_SHARE))))


def source_addresses(sessions: int, limits: Limits) -> tuple[str, ...]:
    """Loopback addresses for so many sessions to one URL of this machine; none when one does."""
    count = load_machines(sessions, limits)
    return tuple(islice(_loopback(), count)) if count > 1 else ()


def _loopback() -> Sequence[str]:
    first, second, third, fourth = FIRST_SOURCE
    return [f"{first}.{second}.{third + n // 250}.{fourth + n % 250}" for n in range(60_000)]
