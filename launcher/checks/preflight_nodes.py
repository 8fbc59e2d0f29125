"""Of the checks before an experiment, those of the nodes of a deployment on Slurm: clocks, images or
limits that would make it invalid."""

from collections.abc import Iterator, Mapping
from typing import Any

from launcher.checks import kernel, network, software
from launcher.checks.findings import Finding, Verdict, Views
from launcher.checks.preflight import Check
from launcher.checks.survey import agents, clock_skews
from launcher.deployment.programs import programs
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError
from launcher.planning.capacity import load_bounds
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import Allocation


def on_nodes(state: Mapping[str, Any]) -> Iterator[Check]:
    """What one Slurm step sees of a deployment's nodes, by the deployment's state."""
    if state.get("job") is None:
        return
    connection, clients = state["connection"], state["client_nodes"]
    names = [connection["ENVOY_NODE"], *connection["WORKER_NODES"].split(), *clients]
    deployment = Deployment.model_validate(state["deployment"])
    runtime = SlurmRuntime(
        Allocation.from_dict(state["slurm"]["allocation"]),
        [name for name in names if name],
        "openenv-preflight",
        deployment.silence_timeout,
    )
    try:
        with agents(runtime):
            files = [str(file) for file in programs(deployment).files]
            views = runtime.look({"machine": True, "files": files})
            skews = clock_skews(runtime.look)
    except LauncherError as failure:
        yield Check("nodes", False, str(failure).partition("\n")[0], "look at them: sinfo --Node")
        return
    yield as_check(network.clocks(skews))
    if files:
        yield images(views)
    if clients:
        yield from load(views, clients, state["capacity"])


def as_check(finding: Finding) -> Check:
    passed = finding.verdict is not Verdict.FAIL
    return Check(finding.check, passed, finding.detail, finding.advice)


def images(views: Views) -> Check:
    """The first that is wrong, or all of them."""
    found = [as_check(finding) for finding in software.images(views)]
    wrong = [check for check in found if not check.ok]
    same = f"the same {len(found)} on {len(views)} node(s)"
    return wrong[0] if wrong else Check("image", True, same)


def load(views: Views, clients: Mapping[str, int], capacity: int) -> Iterator[Check]:
    """`clients` has the load workers of each client node."""
    machines = kernel.machines({node: views[node] for node in clients})
    yield as_check(kernel.descriptors(machines))
    first = min(load_bounds(clients, machines, capacity), key=lambda bound: bound.sessions)
    detail = f"the {first.limit} allow {first.sessions:,} sessions; there are {capacity:,} places"
    enough = first.sessions >= capacity
    yield Check("load", first.sessions > 0, detail, "" if enough else first.change)
