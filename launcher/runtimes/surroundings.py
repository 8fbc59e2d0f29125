"""Whether nodes have what the servers need around them. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from launcher.deployment.placement import Process
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
    needs = {process.node: process.required for process in processes if process.required}
    absent: dict[str, list[str]] = {}
    for node, required in needs.items():
        for path in required.paths:
            if path in views[node].get("absent", ()):
                absent.setdefault(path, []).append(node)
    for path, nodes in absent.items():
        yield fail(
            Check.PATHS,
            nodes,
            f"{path} does not exist on {listed(nodes)}",
            "choose a path that all nodes of the servers have (--bind, --workdir), or leave the node "
            "out with --exclude",
        )
    problems: dict[str, list[str]] = {}
    for node, required in needs.items():
        if required.python and (problem := views[node]["python"]):
            problems.setdefault(f"{required.python}: {problem}", []).append(node)
    for problem, nodes in problems.items():
        yield fail(Check.PYTHON, nodes, f"--python {problem}", f"it was tried on {listed(nodes)}")
    for node, required in needs.items():
        found = views[node].get("gpus", 0)
        if found < required.gpus:
            yield fail(
                Check.GPUS,
                [node],
                f"--gpus {required.gpus}: {node} has {found} GPU(s) for this deployment",
                "choose nodes with GPUs (--partition, --constraint), or omit --gpus",
            )
