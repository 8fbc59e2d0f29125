"""The runbook's experiment: for each number of servers, a deployment and its ceiling."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.checks import app, preflight
from launcher.deployment.spec import Deployment
from launcher.errors import PreflightFailed
from launcher.experiment.journal import check_same_caps, Journal, Phase, SAME_CAPS
from launcher.experiment.recorder import now, outcome, RunStatus
from launcher.experiment.target import resolve, Target
from launcher.lifecycle import batch_client as job
from launcher.lifecycle import registry
from launcher.lifecycle.detached import detach
from launcher.lifecycle.stop import stop
from launcher.planning.plan import place_sized
from launcher.runtimes.nodes import nodes_for
from launcher.slurm.allocation import allocation, expected_allocation
from launcher.system.machine import limits
from launcher.system.signals import Interrupted, interruptible, signals_deferred

NAME = "experiment"

Report = Callable[[str], None]
Measure = Callable[[Phase, Target], Sequence[Mapping[str, Any]]]


def phases(
    deployment: Deployment, servers: Sequence[int], baseline: str, folder: Path
) -> list[Phase]:
    """In ascending order. With the baseline `direct`, one server runs without Envoy."""
    ascending = []
    for count in sorted(servers):
        results = folder.absolute() / f"nodes-{count}"
        nodes = 1 if count == 1 and baseline == "direct" else count + 1
        values = {"nodes": nodes, "dir": results / "deployment"}
        if "name" not in deployment.model_fields_set:
            values["name"] = NAME
        ascending.append(Phase(count, deployment.model_copy(update=values), results))
    return ascending


def check(phases: Sequence[Phase], report: Report) -> None:
    """Raises `UsageError` when a phase cannot be deployed or compared, before anything starts."""
    first: dict[str, Any] = {}
    app_sessions = app.sessions(phases[0].deployment, report)
    for phase in phases:
        deployment = phase.deployment
        allocated = expected_allocation(deployment) if _needs_job(deployment) else allocation()
        nodes = nodes_for(deployment, allocated)
        placement = place_sized(deployment, nodes, limits(), app_sessions)
        planned = (deployment.max_concurrent_envs, placement.workers_per_node)
        caps = dict(zip(SAME_CAPS, planned, strict=True))
        check_same_caps(first, caps, phase.servers)
        first = first or caps | {"servers": phase.servers}


def run(phases: Sequence[Phase], journal: Journal, report: Report, measure: Measure) -> None:
    """Runs the phases that are not complete, each with a deployment of its own, which is always
    taken down. Ends with the first phase that fails.

    Raises what ended it, and `Interrupted`."""
    try:
        with interruptible():
            for phase in phases:
                if journal.is_complete(phase):
                    report(f"{phase.servers} server(s): already complete")
                else:
                    _run(phase, journal, report, measure)
    except BaseException as failure:
        journal.save(**outcome(failure))
        raise
    journal.save(**outcome(None))


def _run(phase: Phase, journal: Journal, report: Report, measure: Measure) -> None:
    report(f"{phase.servers} server(s) on {phase.deployment.nodes} node(s)")
    journal.save_phase(phase, status=RunStatus.RUNNING, started=now(), ended=None, error=None)
    try:
        with deployed(phase.deployment, report) as connection:
            target = resolve(connection["OPENENV_URL"])
            caps = target.caps()
            journal.save_phase(phase, url=target.url, caps=caps)
            check_same_caps(journal.caps, caps, phase.servers)
            _check_hosts(phase, connection, target.state.admin_urls if target.state else [])
            ceilings = measure(phase, target)
    except BaseException as failure:
        journal.save_phase(phase, **outcome(failure))
        raise
    journal.save_phase(phase, **outcome(None), ceilings=list(ceilings))


def _check_hosts(phase: Phase, connection: Mapping[str, str], admin_urls: Sequence[str]) -> None:
    port = phase.deployment.server_port
    for finding in preflight.serving_checks(connection, port, admin_urls):
        if not finding.passed:
            raise PreflightFailed(
                f"{phase.servers} server(s): {finding.check}: {finding.detail}; {finding.advice}"
            )


@contextmanager
def deployed(deployment: Deployment, report: Report) -> Iterator[dict[str, str]]:
    """Runs the deployment within the block; yields its connection. A deployment that a killed
    experiment left in the same folder is stopped first."""
    take_down(deployment, report)
    try:
        yield bring_up(deployment, report)
    finally:
        with signals_deferred():
            take_down(deployment, report)


def _needs_job(deployment: Deployment) -> bool:
    return not deployment.local and allocation() is None


def bring_up(deployment: Deployment, report: Report) -> dict[str, str]:
    """Starts the deployment here, in the allocation, or in a Slurm job of its own. Returns its
    connection once it is ready."""
    if not _needs_job(deployment):
        return detach(deployment, report)
    connection: dict[str, str] = {}
    code = job.run(deployment, report, connection.update, detach=True)
    if code:
        raise Interrupted(code - 128)
    return connection


def take_down(deployment: Deployment, report: Report) -> None:
    """Stops the deployment with this name if it is in this folder."""
    known = registry.known(deployment.name)
    if known is not None and known.rundir.folder == deployment.folder.absolute():
        report(stop(known))
