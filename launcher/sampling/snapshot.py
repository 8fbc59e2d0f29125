"""The present state of a deployment, from the last sample of each source. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from launcher.deployment.state import DeploymentState
from launcher.envoy.admin import PROMETHEUS_PAGE
from launcher.sampling.sample import Sample, SampleKind

OMITTED = ("time", "cell", "kind", "seconds")
PLACES = ("used", "free", "limit", "refused", "most", "workers")


def snapshot(samples: Iterable[Sample], state: DeploymentState) -> dict[str, Any]:
    """{"processes": [...], "nodes": [...], "envoy": {...} or None}, with the processes in the
    order of the deployment's state. A process without samples has only its name and node."""
    by_kind: dict[str, dict[tuple[str, str], Sample]] = {}
    for sample in samples:
        by_kind.setdefault(sample["kind"], {})[sample["node"], sample.get("name", "")] = sample
    measured, places = by_kind.get(SampleKind.PROCESS, {}), by_kind.get(SampleKind.PLACES, {})
    processes = []
    for process in state.processes:
        key = process.node, process.name
        row = {"name": process.name, "node": process.node} | _plain(measured.get(key, {}))
        if key in places:
            row["places"] = {part: places[key][part] for part in PLACES if part in places[key]}
        processes.append(row)
    nodes = [_plain(sample) for _, sample in sorted(by_kind.get(SampleKind.NODE, {}).items())]
    envoys = [_plain(sample) for sample in by_kind.get(SampleKind.ENVOY, {}).values()]
    return {"processes": processes, "nodes": nodes, "envoy": envoys[0] if envoys else None}


def _plain(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sample.items() if key not in OMITTED}


def prometheus_targets(state: DeploymentState) -> list[dict[str, Any]]:
    """The control port of every server and the admin page of every Envoy process.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
    """
    shared = {"deployment": state.name}
    targets = [
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
        targets.append({"targets": [address], "labels": labels})
    return targets
