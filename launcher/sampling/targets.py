"""What is to be sampled on which node: from a deployment's state and a run's placement. Pure."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from benchmark.server.settings import ports_from
from launcher.deployment.placement import Role
from launcher.deployment.state import DeploymentState

LOAD_MASTER = "load-master"
LOAD_HERE = "127.0.0.1"
"""How a run names the launcher's own machine as the place of its load."""

Targets = dict[str, dict[str, Any]]
"""By node: {"processes": {name: pid, or null for a load master that is to be found}, "places":
{server: URL of its control port}, "envoy": {"port", "pages": {admin URL: admin socket}}}; what is not there
is left out."""


def deployment_targets(state: DeploymentState) -> Targets:
    found: Targets = {}
    servers = iter(state.servers)
    for process in state.processes:
        target = found.setdefault(process.node, {})
        if process.pid is not None:
            target.setdefault("processes", {})[process.name] = process.pid
        if process.role is Role.SERVER:
            server = next(servers)
            url = f"http://{server.address}:{server.control_port}/ready"
            target.setdefault("places", {})[process.name] = url
        else:
            target["envoy"] = _envoys(state)
    return found


def _envoys(state: DeploymentState) -> dict[str, Any]:
    """All processes together: sessions go to any of them."""
    return {
        "port": state.deployment.envoy_port,
        "pages": {envoy.admin_url: envoy.admin_socket for envoy in state.envoys},
    }


def load_targets(run: Mapping[str, Any], *, here: bool) -> Targets:
    """Of run.json: the load on the launcher's machine, or that on other nodes, where the pid of the
    load master is not known: run.json has its srun's."""
    placement = run.get("placement", {})
    nodes = placement.get("load_nodes") or []
    found: Targets = {}
    for name, pid in placement.get("load", {}).items():
        number = name.removeprefix("load-")
        index = int(number) - 1 if number.isdecimal() else 0
        if pid is None or index >= len(nodes) or here != (nodes[index] == LOAD_HERE):
            continue
        node = os.uname().nodename if here else nodes[index]
        known = pid if here or name != LOAD_MASTER else None
        found.setdefault(node, {}).setdefault("processes", {})[name] = known
    return found


def server_target(url: str) -> Targets:
    """One server of ours without a launcher, if that is what is behind the URL: its control port is
    the next one."""
    parts = urlsplit(url)
    if not parts.hostname or not parts.port or parts.port >= 65_535:
        return {}
    control = f"http://{parts.netloc.rpartition(':')[0]}:{ports_from(parts.port).control}/ready"
    return {parts.hostname: {"places": {"server-1": control}}}


def joined(*several: Targets) -> Targets:
    found: Targets = {}
    for targets in several:
        for node, target in targets.items():
            into = found.setdefault(node, {})
            for key, content in target.items():
                into[key] = {**into.get(key, {}), **content}
    return found
