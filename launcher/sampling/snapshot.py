"""A deployment at one moment, from the last sample of each source. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from launcher.deployment.state import DeploymentState
from launcher.envoy.admin import PROMETHEUS_PAGE
from launcher.sampling.collector import Sample

LEFT_OUT = ("time", "cell", "kind", "seconds")
PLACES = ("used", "free", "limit", "refused", "most", "workers")


def view(samples: Iterable[Sample], state: DeploymentState) -> dict[str, Any]:
    """{"processes": [...], "nodes": [...], "envoy": {...} or None}, in the order of the deployment's
    state. A process without samples has its name and node alone."""
    by_kind: dict[str, dict[tuple[str, str], Sample]] = {}
    for sample in samples:
        by_kind.setdefault(sample["kind"], {})[sample["node"], sample.get("name", "")] = sample
    measured, places = by_kind.get("process", {}), by_kind.get("places", {})
    processes = []
    for process in state.processes:
        key = process.node, process.name
        row = {"name": process.name, "node": process.node} | _plain(measured.get(key, {}))
        if key in places:
            row["places"] = {part: places[key][part] for part in PLACES if part in places[key]}
        processes.append(row)
    nodes = [_plain(sample) for _, sample in sorted(by_kind.get("node", {}).items())]
    envoys = [_plain(sample) for sample in by_kind.get("envoy", {}).values()]
    return {"processes": processes, "nodes": nodes, "envoy": envoys[0] if envoys else None}


def _plain(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sample.items() if key not in LEFT_OUT}


def prometheus_targets(state: DeploymentState) -> list[dict[str, Any]]:
    """For Prometheus's file_sd_configs: the control port of every server, and the page of every
    Envoy process."""
    shared = {"deployment": state.name}
    found = [
        {
            "targets": [f"{server.address}:{server.control_port}"],
            "labels": {"job": "openenv-server", **shared, "node": server.name, "server": name},
        }
        for name, server in zip(state.server_names, state.servers, strict=True)
    ]
    for envoy in state.envoys:
        address = envoy.admin_url.removeprefix("http://")
        labels = {"job": "openenv-envoy", **shared, "node": address.rpartition(":")[0]}
        labels |= {"envoy": envoy.name, "__metrics_path__": PROMETHEUS_PAGE}
        found.append({"targets": [address], "labels": labels})
    return found
