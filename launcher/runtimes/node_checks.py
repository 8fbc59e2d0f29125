"""Whether nodes can run a deployment: as Slurm reports them, and as `probe` finds them. Pure.

`up` refuses to start on the first failure; `doctor` and `preflight` print every finding, together with
those of launcher/checks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from launcher.deployment.placement import Process
from launcher.errors import PortTaken, UsageError
from launcher.images.apptainer import PROGRAM as APPTAINER
from launcher.runtimes.findings import Check, everywhere, fail, Finding, listed, ok, Verdict, Views
from launcher.runtimes.surroundings import surroundings

# Of the states that sinfo(1) prints, those whose nodes run Slurm steps.
UP = {
    *("idle", "mixed", "allocated", "completing", "draining", "drained", "reserved", "planned"),
    "maint",
}


def is_up(state: str) -> bool:
    """Whether a node in this state, as sinfo(1) prints it, runs Slurm steps; `*` marks a node that
    does not respond."""
    return not state.endswith("*") and state.lower().rstrip("~#!%$@^-+") in UP


def start_checks(
    views: Views, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
) -> Iterator[Finding]:
    if folder is not None:
        yield shared_folder(views, folder)
    yield from programs(views)
    yield from surroundings(views, processes)
    yield ports(views, processes)
    for file in files:
        yield image(str(file), {node: view["files"][str(file)] for node, view in views.items()})


def refuse_failures(findings: Iterable[Finding]) -> None:
    """Raises `PortTaken` or `UsageError` for the first failure."""
    for finding in findings:
        if finding.verdict is Verdict.FAIL:
            error = PortTaken if finding.check is Check.PORTS else UsageError
            raise error(f"{finding.detail}; {finding.advice}")


def shared_folder(views: Views, path: Path) -> Finding:
    blind = [node for node, view in views.items() if not view["shared"]]
    if not blind:
        return ok(Check.FOLDER, f"{path} can be written and read {everywhere(views)}")
    return fail(
        Check.FOLDER,
        blind,
        f"{path} is not shared: a file written here does not appear on {listed(blind)}",
        "choose a folder on a shared file system (--dir, or run from there)",
    )


def programs(views: Views) -> Iterator[Finding]:
    for name in dict.fromkeys(name for view in views.values() for name in view.get("missing", ())):
        nodes = [node for node, view in views.items() if name in view.get("missing", ())]
        if name == APPTAINER:
            yield no_apptainer(nodes)
            continue
        yield fail(
            Check.PROGRAMS,
            nodes,
            f"{name} cannot be run on {listed(nodes)}",
            "keep the environment in a folder that all nodes share, or use --runtime apptainer",
        )


def no_apptainer(nodes: Sequence[str]) -> Finding:
    return fail(
        Check.APPTAINER,
        nodes,
        f"{APPTAINER} is not on PATH on {listed(nodes)}",
        "load its module, leave the node out with --exclude, or use --runtime venv",
    )


def ports(views: Views, processes: Sequence[Process] = ()) -> Finding:
    taken = {node: view["taken"] for node, view in views.items() if view["taken"]}
    if not taken:
        return ok(Check.PORTS, "all ports of the deployment are free")
    owners = {node: [p.name for p in processes if p.node == node] for node in taken}
    return fail(
        Check.PORTS,
        taken,
        "; ".join(
            f"{', '.join(names)} on {node}: {taken[node]}" if names else f"{node}: {taken[node]}"
            for node, names in owners.items()
        ),
        "choose other ports (--server-port, --envoy-port, --admin-port), stop the process that holds "
        "them, or use another node (--exclude, --local-address)",
    )


def image(path: str, views: Mapping[str, Mapping[str, str]]) -> Finding:
    """`views` has the "digest" of the image on each node, or the "problem" with it."""
    problems = {node: view["problem"] for node, view in views.items() if "problem" in view}
    if problems:
        return fail(
            Check.IMAGE,
            problems,
            f"{path} on {listed(problems)}: {'; '.join(dict.fromkeys(problems.values()))}",
            f"build it with `launcher build {Path(path).stem}` in a folder that all nodes share "
            "(--images), or use --runtime venv",
        )
    digests = [view["digest"] for view in views.values()]
    usual = max(dict.fromkeys(digests), key=digests.count)
    others = [node for node, view in views.items() if view["digest"] != usual]
    if others:
        return fail(
            Check.IMAGE,
            others,
            f"{path} differs: {views[others[0]]['digest'][:12]} on {listed(others)}, {usual[:12]} "
            "elsewhere",
            "copy the same image to every node, or keep it in a folder that all nodes share",
        )
    return ok(Check.IMAGE, f"{path} ({usual[:12]}) {everywhere(views)}")


def listening_ports(processes: Iterable[Process]) -> dict[str, list[int]]:
    ports: dict[str, dict[int, None]] = {}
    for process in processes:  # several Envoy processes share the port that sessions connect to
        ports.setdefault(process.node, {}).update(dict.fromkeys(process.ports))
    return {node: list(distinct) for node, distinct in ports.items()}


def requested_ports(processes: Iterable[Process]) -> list[tuple[list[str], list[int]]]:
    """Groups nodes with the same ports, so that a request to all of them stays small."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for node, ports in listening_ports(processes).items():
        groups.setdefault(tuple(ports), []).append(node)
    return [(nodes, list(ports)) for ports, nodes in groups.items()]
