"""The allocation that this process runs in, from Slurm's environment variables (srun(1), sbatch(1))."""

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from launcher.deployment.placement import Node
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.slurm import commands

JOB_ID = "SLURM_JOB_ID"


@dataclass(frozen=True)
class Component:
    """The nodes of a job. Only the components of a heterogeneous job have a `job_id` of their own."""

    nodes: tuple[str, ...]
    cores: tuple[int, ...]
    job_id: str | None = None


@dataclass(frozen=True)
class Allocation:
    job_id: str
    components: tuple[Component, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Allocation":
        return TypeAdapter(cls).validate_python(values)

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(node for component in self.components for node in component.nodes)

    def cores(self, node: str) -> int:
        for component in self.components:
            if node in component.nodes:
                return component.cores[component.nodes.index(node)]
        return 1

    def group(self, node: str) -> int:
        return next(n for n, component in enumerate(self.components) if node in component.nodes)

    def job_of(self, node: str) -> str:
        """The id of the job that a Slurm step on the node belongs to."""
        return self.components[self.group(node)].job_id or self.job_id

    def by_component(self, nodes: Sequence[str]) -> list[list[str]]:
        parts = [[n for n in nodes if n in component.nodes] for component in self.components]
        return [part for part in parts if part]


def allocation(
    environment: Mapping[str, str] = os.environ,
    hostnames: Callable[[str], list[str]] = commands.hostnames,
) -> Allocation | None:
    job_id = environment.get(JOB_ID)
    if not job_id:
        return None
    size = int(environment.get("SLURM_HET_SIZE", "0"))
    suffixes = [f"_HET_GROUP_{number}" for number in range(size)] or [""]
    components = tuple(_component(environment, suffix, hostnames) for suffix in suffixes)
    job_id = environment.get("SLURM_JOB_ID_HET_GROUP_0", job_id)
    return Allocation(job_id, components) if all(c.nodes for c in components) else None


def ignored_partition(environment: Mapping[str, str] = os.environ) -> str | None:
    """A warning if the user set PARTITION, which sbatch ignores, and the job runs elsewhere."""
    requested, partition = environment.get("PARTITION"), environment.get("SLURM_JOB_PARTITION")
    if not requested or not partition or requested == partition:
        return None
    return (
        f"sbatch ignored PARTITION={requested}: this job runs in {partition}; submit it with "
        f"SBATCH_PARTITION={requested} or sbatch --partition={requested}"
    )


def expected_allocation(deployment: Deployment, cores: int | None = None) -> Allocation:
    """The allocation of the deployment's future job, with placeholders for the names of its nodes."""
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
    """Expands "48(x3),16" to [48, 48, 48, 16]."""
    expanded: list[int] = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        expanded += [int(number)] * int(times or 1)
    return expanded


def choose_nodes(allocated: Allocation, deployment: Deployment) -> list[str]:
    """The nodes of the allocation that the deployment uses, clients last. Raises `UsageError`."""
    nodes, clients = allocated.nodes, deployment.client_nodes
    have = len(nodes)
    if "nodes" not in deployment.model_fields_set:
        if have - clients < 2:
            raise UsageError(
                f"allocation {allocated.job_id} has {have} node(s)"
                + (f", of which {clients} for clients" if clients else "")
                + "; Envoy and a server need two: allocate more (salloc --nodes=3 for two servers), "
                "or use --nodes 1 to serve from one node without Envoy"
            )
        return list(nodes)
    count = deployment.nodes + clients
    if count > have:
        raise UsageError(
            f"--nodes {deployment.nodes}{f' --client-nodes {clients}' if clients else ''} is more than "
            f"the {have} node(s) of allocation {allocated.job_id}: {' '.join(nodes)}"
        )
    return list(nodes[:count])


def describe(allocated: Allocation, names: Sequence[str]) -> list[Node]:
    return [Node(name, address_of(name), allocated.cores(name)) for name in names]


def address_of(name: str) -> str:
    """The IPv4 address of a node, or its name if this machine resolves it to a loopback address, as
    many do for their own name, or not at all."""
    try:
        address = str(socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0])
    except OSError:
        return name
    return name if address.startswith("127.") else address
