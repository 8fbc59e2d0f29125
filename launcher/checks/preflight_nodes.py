from collections.abc import Iterator, Mapping

from launcher.checks import kernel, network
from launcher.checks.survey import agents, clock_skews
from launcher.deployment.programs import programs
from launcher.deployment.state import DeploymentState
from launcher.errors import LauncherError
from launcher.planning.capacity import load_bounds
from launcher.runtimes.findings import Check, fail, Finding, ok, Views, warn
from launcher.runtimes.node_checks import image
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import Allocation


def node_checks(state: DeploymentState) -> Iterator[Finding]:
    """The findings of one Slurm step on the nodes of a deployment, given its state; none without
    Slurm."""
    if state.job is None:
        return
    connection, clients = state.connection, state.client_nodes
    names = [connection["ENVOY_NODE"], *connection["WORKER_NODES"].split(), *clients]
    deployment = state.deployment
    runtime = SlurmRuntime(
        Allocation.from_dict(state.slurm["allocation"]),
        [name for name in names if name],
        "openenv-preflight",
        deployment.silence_timeout,
    )
    try:
        with agents(runtime):
            files = [str(file) for file in programs(deployment).files]
            views = runtime.probe({"machine": True, "files": files})
            skews = clock_skews(runtime.probe)
    except LauncherError as failure:
        detail = str(failure).partition("\n")[0]
        yield fail(Check.NODES, (), detail, "check the state of the nodes: sinfo --Node")
        return
    yield network.clocks(skews)
    if files:
        yield images(views)
    if clients:
        yield from load(views, clients, state.capacity)


def images(views: Views) -> Finding:
    paths = list(next(iter(views.values()))["files"])
    findings = [
        image(path, {node: view["files"][path] for node, view in views.items()}) for path in paths
    ]
    same = ok(Check.IMAGE, f"the same {len(paths)} on {len(views)} node(s)")
    return next((finding for finding in findings if not finding.passed), same)


def load(views: Views, clients: Mapping[str, int], capacity: int) -> Iterator[Finding]:
    """Whether the client nodes can fill the deployment; `clients` has the load workers of each."""
    machines = kernel.machines_of({node: views[node] for node in clients})
    yield kernel.descriptors(machines)
    first = min(load_bounds(clients, machines, capacity), key=lambda bound: bound.sessions)
    detail = f"the {first.limit} allow {first.sessions:,} sessions; there are {capacity:,} places"
    if first.sessions >= capacity:
        yield ok(Check.LOAD, detail)
    else:
        report = warn if first.sessions > 0 else fail
        yield report(Check.LOAD, (), detail, first.change)
