"""How many workers, places, Envoy processes and addresses a number of sessions needs. Pure."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from benchmark.server.settings import DEFAULT_MAX_CONCURRENT_ENVS
from launcher.deployment.placement import Node
from launcher.deployment.spec import Deployment
from launcher.envoy.capacity import envoy_processes
from launcher.envoy.config import max_checked
from launcher.system.machine import Limits

# Envoy distributes sessions evenly, but a worker that has just been replaced holds none for a while.
PLACES_SLACK, PLACES_SPARE = 1.1, 8
# Without Envoy the kernel distributes connections unevenly over the workers of a server.
ALONE_SLACK = 1.5
# The share of an address's ephemeral ports to use. The kernel hands out every second port; once those are
# taken, connect() searches all of them before it tries the others: of 100,000 sessions from four
# addresses, those after the first 57,000 opened at a tenth of the pace.
PORTS_SHARE = 0.45
MIN_LOAD_WORKERS = 2
ADDRESSES_PER_SUBNET = 250


def sized(
    deployment: Deployment, nodes: Sequence[Node], limits: Limits, app_sessions: int | None = None
) -> Deployment:
    """The deployment with the workers, places and Envoy processes that its sessions need; options
    that the user gave stay, even when they are too small. `limits` are those of every node, and
    `app_sessions` is how many sessions the app allows in a worker."""
    sessions = deployment.sessions
    if sessions is None:
        return deployment
    split = len(nodes) - deployment.client_nodes
    servers = nodes[1:split] if split > 1 else nodes[:split]
    chosen: dict[str, Any] = {}
    envoys = deployment.envoy_processes
    if envoys is None and split > 1:
        envoys = chosen["envoy_processes"] = _envoys(sessions, limits)
    workers = [deployment.workers_per_node or node.cores for node in servers]
    if deployment.workers_per_node is None:
        total = workers_needed(deployment, sessions, limits, app_sessions)
        needed = ceil(total / len(servers))
        checked = max_checked(envoys) if envoys and split > 1 else max(workers)
        if sum(workers) < needed * len(servers) or max(workers) > checked:
            each = max(needed, min(checked, max(workers)))
            chosen["workers_per_node"], workers = each, [each] * len(servers)
    if "max_concurrent_envs" not in deployment.model_fields_set:
        slack = PLACES_SLACK if split > 1 else ALONE_SLACK
        places = ceil(sessions / sum(workers) * slack) + PLACES_SPARE
        held = max(1, limits.sessions_per_worker)
        chosen["max_concurrent_envs"] = min(max(places, DEFAULT_MAX_CONCURRENT_ENVS), held)
    return deployment.model_copy(update=chosen)


def workers_needed(
    deployment: Deployment, sessions: int, limits: Limits, app_sessions: int | None = None
) -> int:
    """How many workers all servers need together: a worker is limited by its descriptors, by its
    places, by its app, and by the ephemeral ports that Envoy's node has to each worker."""
    each = min(max(1, limits.sessions_per_worker), app_sessions or sessions)
    if "max_concurrent_envs" in deployment.model_fields_set:
        each = min(each, deployment.max_concurrent_envs)
    return ceil(sessions / min(each, _usable_ports(limits)))


def _envoys(sessions: int, limits: Limits) -> int:
    try:
        return envoy_processes(sessions, limits.descriptors)
    except ValueError:
        return 1


def load_workers(sessions: int, machines: Mapping[str, int], limits: Limits) -> int:
    """How many load workers open the sessions: one per core, or more when a worker has too few
    descriptors. `machines` has the cores of each machine."""
    return max(sum(machines.values()), ceil(sessions / max(1, limits.sessions_per_worker)))


def load_by_machine(sessions: int, cores: Mapping[str, int], limits: Limits) -> dict[str, int]:
    """The load workers of each machine, by its cores: one per core, or the same number everywhere if
    those have too few descriptors."""
    if load_workers(sessions, cores, limits) == sum(cores.values()):
        return dict(cores)
    return dict.fromkeys(cores, ceil(load_workers(sessions, cores, limits) / len(cores)))


def load_machines(sessions: int, limits: Limits) -> int:
    """How many source addresses have enough ephemeral ports for the sessions to one URL."""
    return max(1, ceil(sessions / _usable_ports(limits)))


def _usable_ports(limits: Limits) -> int:
    return max(1, int(limits.ports * PORTS_SHARE))


def source_addresses(sessions: int, limits: Limits) -> tuple[str, ...]:
    """Loopback addresses for the sessions to a URL of this machine; none when one is enough."""
    count = load_machines(sessions, limits)
    pairs = (divmod(number, ADDRESSES_PER_SUBNET) for number in range(count))
    return tuple(f"127.1.{subnet}.{host + 1}" for subnet, host in pairs) if count > 1 else ()
