"""Whether nodes have what the servers need around them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.deployment.placement import Process
from launcher.deployment.surroundings import Required
from launcher.runtimes.findings import Check, fail, Finding, listed, Views


def surroundings_request(processes: Sequence[Process]) -> dict[str, Any]:
    """For `probe`."""
    paths = [path for process in processes for path in process.required.paths]
    request: dict[str, Any] = {"paths": list(dict.fromkeys(paths))} if paths else {}
    if any(process.required.gpus for process in processes):
        request["gpus"] = True
    if python := next((p.required.python for p in processes if p.required.python), None):
        request["python"] = python
    return request


def surroundings(views: Views, processes: Sequence[Process]) -> Iterator[Finding]:
    """Failures only."""
    here = next(iter(views), "")  # local nodes are one machine, which may have one view
    needs = {p.node if p.node in views else here: p.required for p in processes}
    yield from _paths(views, needs)
    yield from _python(views, needs)
    yield from _gpus(views, needs)


def _paths(views: Views, needs: Mapping[str, Required]) -> Iterator[Finding]:
    for path in dict.fromkeys(path for required in needs.values() for path in required.paths):
        nodes = [node for node in needs if path in needs[node].paths]
        if absent := [node for node in nodes if path in views[node]["absent"]]:
            yield fail(
                Check.PATHS,
                absent,
                f"{path} does not exist on {listed(absent)}",
                "choose a path that all nodes of the servers have (--bind, --workdir), or leave the "
                "node out with --exclude",
            )


def _python(views: Views, needs: Mapping[str, Required]) -> Iterator[Finding]:
    problems: dict[str, list[str]] = {}
    for node, required in needs.items():
        if required.python and (problem := views[node]["python"]):
            problems.setdefault(f"{required.python}: {problem}", []).append(node)
    for problem, nodes in problems.items():
        yield fail(Check.PYTHON, nodes, f"--python {problem}", f"it was tried on {listed(nodes)}")


def _gpus(views: Views, needs: Mapping[str, Required]) -> Iterator[Finding]:
    for node, required in needs.items():
        if required.gpus and (found := views[node]["gpus"]) < required.gpus:
            yield fail(
                Check.GPUS,
                [node],
                f"--gpus {required.gpus}: {node} has {found} GPU(s) for this deployment",
                "choose nodes with GPUs (--partition, --constraint), or omit --gpus",
            )
