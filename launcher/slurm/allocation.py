"""The allocation that this process runs in, as Slurm's variables describe it."""

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launcher.deployment.placement import Node
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.slurm import commands

JOB_ID = "SLURM_JOB_ID"


@dataclass(frozen=True)
class Component:
    """Nodes that were asked for together; a plain allocation has one component."""

    nodes: tuple[str, ...]
    cores: tuple[int, ...]
    job_id: str | None = None
    """Its own, within a heterogeneous job."""


@dataclass(frozen=True)
class Allocation:
    job_id: str
    components: tuple[Component, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Allocation":
        components = (
            Component(tuple(each["nodes"]), tuple(each["cores"]), each["job_id"])
            for each in values["components"]
        )
        return cls(str(values["job_id"]), tuple(components))

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(node for component in self.components for node in component.nodes)

    def cores(self, node: str) -> int:
        for component in self.components:
            if node in component.nodes:
                return component.cores[component.nodes.index(node)]
        return 1

    def group(self, node: str) -> int:
        """The number of the component that the node is in."""
        return next(n for n, component in enumerate(self.components) if node in component.nodes)

    def job_of(self, node: str) -> str:
        """The job that Slurm counts a step on the node to."""
        return self.components[self.group(node)].job_id or self.job_id

    def by_component(self, nodes: Sequence[str]) -> list[list[str]]:
        parts = [[n for n in nodes if n in component.nodes] for component in self.components]
        return [part for part in parts if part]


def allocation(
    environment: Mapping[str, str] = os.environ,
    hostnames: Callable[[str], list[str]] = commands.hostnames,
) -> Allocation | None:
    """None outside of an allocation."""
    job_id = environment.get(JOB_ID)
    if not job_id:
        return None
    size = int(environment.get("SLURM_HET_SIZE", "0"))
    suffixes = [f"_HET_GROUP_{number}" for number in range(size)] or [""]
    components = tuple(_component(environment, suffix, hostnames) for suffix in suffixes)
    job_id = environment.get("SLURM_JOB_ID_HET_GROUP_0", job_id)
    return Allocation(job_id, components) if all(c.nodes for c in components) else None


def unread(environment: Mapping[str, str] = os.environ) -> str | None:
    """What was meant for sbatch, which has variables of its own; None when nothing was lost."""
    wanted, partition = environment.get("PARTITION"), environment.get("SLURM_JOB_PARTITION")
    if not wanted or not partition or wanted == partition:
        return None
    return (
        f"PARTITION={wanted} is not read by sbatch: this job runs in {partition}; submit it with "
        f"SBATCH_PARTITION={wanted} or sbatch --partition={wanted}"
    )


def to_come(deployment: Deployment, cores: int | None = None) -> Allocation:
    """What a job of the deployment's own will be, with names in the place of its nodes, which may
    have so many cores."""
    count = deployment.nodes + deployment.client_nodes
    names = tuple(f"NODE_{number}" for number in range(1, count + 1))
    return Allocation("JOB", (Component(names, (deployment.cpus_per_task or cores or 1,) * count),))


def _component(
    environment: Mapping[str, str], suffix: str, hostnames: Callable[[str], list[str]]
) -> Component:
    def value(name: str) -> str:
        return environment.get(name + suffix, "")

    nodelist = value("SLURM_JOB_NODELIST") or value("SLURM_NODELIST")
    nodes = tuple(hostnames(nodelist)) if nodelist else ()
    per_task = value("SLURM_CPUS_PER_TASK")
    cores = [int(per_task)] * len(nodes) if per_task else expand(value("SLURM_JOB_CPUS_PER_NODE"))
    job_id = value("SLURM_JOB_ID") if suffix else None
    return Component(nodes, tuple(cores) + (1,) * (len(nodes) - len(cores)), job_id)


def expand(counts: str) -> list[int]:
    """Slurm's "48(x3),16" as [48, 48, 48, 16]."""
    found: list[int] = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        found += [int(number)] * int(times or 1)
    return found


def chosen(allocated: Allocation, deployment: Deployment) -> list[str]:
    """The nodes that a deployment uses of an allocation, clients last. Raises `UsageError`."""
    nodes, clients = allocated.nodes, deployment.client_nodes
    have = len(nodes)
    if "nodes" not in deployment.model_fields_set:
        if have - clients < 2:
            raise UsageError(
                f"allocation {allocated.job_id} has {have} node(s)"
                + (f", of which {clients} for clients" if clients else "")
                + "; Envoy and a server need two: allocate more (salloc --nodes=3 for two servers), "
                "or serve from one node without Envoy with --nodes 1"
            )
        return list(nodes)
    wanted = deployment.nodes + clients
    if wanted > have:
        raise UsageError(
            f"--nodes {deployment.nodes}{f' --client-nodes {clients}' if clients else ''} is more than "
            f"the {have} node(s) of allocation {allocated.job_id}: {' '.join(nodes)}"
        )
    return list(nodes[:wanted])


def describe(allocated: Allocation, names: Sequence[str]) -> list[Node]:
    return [Node(name, address_of(name), allocated.cores(name)) for name in names]


def address_of(name: str) -> str:
    """The IPv4 address of a node, or its name where it cannot be told here: many a machine knows
    itself by a loopback address."""
    try:
        address = str(socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0])
    except OSError:
        return name
    return name if address.startswith("127.") else address
