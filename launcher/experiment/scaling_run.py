"""The runbook's experiment: a deployment for each number of servers, and its ceiling."""

import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

from analysis.results.file_names import EXPERIMENT
from launcher.checks import preflight
from launcher.deployment.spec import Deployment
from launcher.errors import PreflightFailed, RecordingFailed, UsageError
from launcher.experiment.target import caps, deployment_at
from launcher.lifecycle import batch_client as job
from launcher.lifecycle import registry
from launcher.lifecycle.holder import detach
from launcher.lifecycle.stop import stop
from launcher.planning.plan import plan
from launcher.slurm.allocation import allocation, to_come
from launcher.system.files import check_writable, read_json, write_atomically
from launcher.system.signals import Interrupted, raised, Signals

LOCK = "experiment.lock"
NAME = "experiment"
SAME = ("max_concurrent_envs", "workers_per_node")
"""Caps that must be the same in all phases: ceilings of different caps are not compared."""

Report = Callable[[str], None]
Answers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Phase:
    servers: int
    deployment: Deployment
    folder: Path
    """Of its results."""


def phases(
    deployment: Deployment, servers: Sequence[int], baseline: str, folder: Path
) -> list[Phase]:
    """In ascending order. One server stands without Envoy when the baseline is `direct`."""
    found = []
    for count in sorted(servers):
        results = folder.absolute() / f"nodes-{count}"
        nodes = 1 if count == 1 and baseline == "direct" else count + 1
        values = {"nodes": nodes, "dir": results / "deployment"}
        if "name" not in deployment.model_fields_set:
            values["name"] = NAME
        found.append(Phase(count, deployment.model_copy(update=values), results))
    return found


def check(wanted: Sequence[Phase]) -> None:
    """Raises `UsageError` for what cannot be brought up, or not be compared, before anything is."""
    first: dict[str, Any] = {}
    for phase in wanted:
        deployment = phase.deployment
        allocated = to_come(deployment) if _by_job(deployment) else None
        placement = plan(deployment.absolute(), allocated).placement
        planned = (deployment.max_concurrent_envs, placement.workers_per_node)
        compare(first, dict(zip(SAME, planned, strict=True)), phase.servers)


def compare(first: dict[str, Any], found: Mapping[str, Any], servers: int) -> None:
    """Raises `UsageError` when the caps are not those of the `first` phase, which it keeps."""
    if not first:
        first |= {"servers": servers} | {name: found[name] for name in SAME}
    for name in SAME:
        if found[name] != first[name]:
            flag = name.replace("_", "-")
            raise UsageError(
                f"{name} is {first[name]} with {first['servers']} server(s) and {found[name]} with "
                f"{servers}: their ceilings cannot be compared; give --{flag} N"
            )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Against other launchers, also on other nodes, until the block ends or the launcher does. Raises
    `UsageError`."""
    check_writable(folder)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            known = read_json(folder / EXPERIMENT) or {}
            where = f" in process {known['pid']} on {known['host']}" if "host" in known else ""
            raise UsageError(f"the experiment in {folder} goes on{where}; let it end") from None
        except OSError:
            pass  # a file system without locks
        yield


class Journal:
    """experiment.json."""

    def __init__(self, folder: Path, wanted: Mapping[str, Any], *, resume: bool) -> None:
        """Raises `UsageError` when the folder holds another experiment, or this one goes on."""
        self.folder, self._file = folder, folder / EXPERIMENT
        check_writable(folder)
        before = read_json(self._file)
        if before is None and self._file.exists():
            raise UsageError(f"{self._file} cannot be read; choose a new --output-dir")
        if before is not None:
            _check_before(folder, before, resume=resume)
        began = {"started": _now(), "phases": {}} if before is None else before
        self.content: dict[str, Any] = {**began, **wanted, **registry.identity()}
        self.save(status="running", error=None, ended=None)

    def save(self, **changes: Any) -> None:
        self.content |= changes
        try:
            write_atomically(self._file, json.dumps(self.content, indent=1, default=str))
        except OSError as failure:
            raise RecordingFailed(f"cannot write {self._file}: {failure.strerror}") from None

    def phase(self, phase: Phase, **changes: Any) -> None:
        known = self.content["phases"].setdefault(str(phase.servers), {"servers": phase.servers})
        known |= {"folder": phase.folder.name, "nodes": phase.deployment.nodes, **changes}
        self.save()

    def complete(self, phase: Phase) -> bool:
        known = self.content["phases"].get(str(phase.servers), {})
        return bool(known.get("status") == "complete")

    @property
    def folders(self) -> list[Path]:
        """Of the results of the phases that were begun."""
        return [self.folder / known["folder"] for known in self.content["phases"].values()]

    @property
    def caveats(self) -> list[str]:
        """What a reader of the ceilings should know of the phases."""
        told = []
        for servers, known in self.content["phases"].items():
            if known["status"] != "complete":
                told.append(
                    f"{servers} server(s): {known['status']}, so that the ceiling is not known yet"
                )
            if known["nodes"] == 1 and len(self.content["phases"]) > 1:
                told.append(
                    "1 server was measured without Envoy; --baseline envoy puts one before it"
                )
        return told

    @property
    def caps(self) -> dict[str, Any]:
        """Of the first phase that is complete; empty without one."""
        for known in self.content["phases"].values():
            if known.get("status") == "complete":
                return {"servers": known["servers"]} | {name: known["caps"][name] for name in SAME}
        return {}


def _check_before(folder: Path, before: Mapping[str, Any], *, resume: bool) -> None:
    if not resume:
        raise UsageError(
            f"{folder} already holds an experiment ({before.get('status')}); go on with it with "
            "--resume, or choose a new --output-dir"
        )
    if before.get("status") == "running" and registry.holder_alive(dict(before)):
        raise UsageError(f"the experiment in {folder} goes on in process {before['pid']}")


def run(
    wanted: Sequence[Phase],
    journal: Journal,
    say: Report,
    measure: Callable[[Phase, Mapping[str, str]], Answers],
) -> None:
    """Runs the phases that are not complete, each beside a deployment of its own, which is taken
    down whatever happens. A phase that fails is the last.

    Raises what ended it, and `Interrupted`."""
    try:
        with raised():
            for phase in wanted:
                if journal.complete(phase):
                    say(f"{phase.servers} server(s): complete already")
                else:
                    _run(phase, journal, say, measure)
    except BaseException as failure:
        journal.save(status=_how(failure), error=str(failure), ended=_now())
        raise
    journal.save(status="complete", ended=_now())


def _how(failure: BaseException) -> str:
    return "interrupted" if isinstance(failure, Interrupted) else "failed"


def _run(
    phase: Phase,
    journal: Journal,
    say: Report,
    measure: Callable[[Phase, Mapping[str, str]], Answers],
) -> None:
    say(f"{phase.servers} server(s) on {phase.deployment.nodes} node(s)")
    journal.phase(phase, status="running", started=_now(), ended=None, error=None)
    try:
        with standing(phase.deployment, say) as connection:
            url = connection["OPENENV_URL"]
            state = deployment_at(url)
            behind = caps(url, state)
            journal.phase(phase, url=url, caps=behind)
            compare(journal.caps, behind, phase.servers)
            _check_hosts(phase, connection, registry.admin_urls(state or {}))
            answers = measure(phase, connection)
    except BaseException as failure:
        journal.phase(phase, status=_how(failure), error=str(failure), ended=_now())
        raise
    journal.phase(phase, status="complete", ended=_now(), ceilings=list(answers))


def _check_hosts(phase: Phase, connection: Mapping[str, str], admin_urls: Sequence[str]) -> None:
    port = phase.deployment.server_port
    for finding in preflight.serving_checks(connection, port, admin_urls):
        if not finding.passed:
            raise PreflightFailed(
                f"{phase.servers} server(s): {finding.check}: {finding.detail}; {finding.advice}"
            )


@contextmanager
def standing(deployment: Deployment, say: Report) -> Iterator[dict[str, str]]:
    """A deployment from up to down, with its connection. One that an experiment which was killed has
    left in the same folder is ended first."""
    take_down(deployment, say)
    try:
        yield bring_up(deployment, say)
    finally:
        with undisturbed():
            take_down(deployment, say)


def _by_job(deployment: Deployment) -> bool:
    return not deployment.local and allocation() is None


def bring_up(deployment: Deployment, say: Report) -> dict[str, str]:
    """Here, in the allocation, or by a Slurm job of its own; the connection once it is ready."""
    if not _by_job(deployment):
        return dict(detach(deployment, say)["connection"])
    connection: dict[str, str] = {}
    code = job.run(deployment, say, connection.update, detach=True)
    if code:
        raise Interrupted(code - 128)
    return connection


def take_down(deployment: Deployment, say: Report) -> None:
    """Ends the deployment of this name in this folder, if there is one; another's it leaves alone."""
    found = registry.known(deployment.name)
    if found is not None and found.rundir.folder == deployment.folder.absolute():
        say(stop(found))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that stop a launcher strike after the block, not within."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in Signals.NUMBERS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        os.kill(os.getpid(), caught[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
