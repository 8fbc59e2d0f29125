"""Whether nodes can be used: as Slurm counts them, and as their agents see them. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Process
from launcher.errors import PortTaken, UsageError

UP = {
    *("idle", "mixed", "allocated", "completing", "draining", "drained", "reserved", "planned"),
    "maint",
}


def is_up(state: str) -> bool:
    """Of a node's state as sinfo prints it; `*` means that it does not answer."""
    return not state.endswith("*") and state.lower().rstrip("~#!%$@^-+") in UP


def judge(
    seen: Mapping[str, Mapping[str, Any]],
    processes: Sequence[Process],
    files: Sequence[Path],
    folder: Path | None,
) -> None:
    """Raises what keeps the processes from running on the nodes that were looked at."""
    blind = [node for node, sees in sorted(seen.items()) if not sees.get("shared", True)]
    if blind:
        raise UsageError(
            f"{folder} is not shared: {', '.join(blind)} do not see what is written there; choose a "
            "folder on a shared file system (--dir, or run from there)"
        )
    for node, sees in sorted(seen.items()):
        if sees.get("missing"):
            raise UsageError(
                f"{', '.join(sees['missing'])} is not on PATH on {node}; load its module, leave the "
                "node out with --exclude, or use --runtime venv"
            )
        if sees["taken"]:
            names = ", ".join(p.name for p in processes if p.node == node)
            raise PortTaken(
                f"{names} on {node}: {sees['taken']}; choose other ports (--server-port, --envoy-port, "
                "--admin-port) or leave the node out"
            )
    for file in files:
        _judge_image(file, {node: sees["files"][str(file)] for node, sees in sorted(seen.items())})


def _judge_image(file: Path, views: Mapping[str, Mapping[str, str]]) -> None:
    for node, view in views.items():
        if "problem" in view:
            raise UsageError(
                f"image {file} on {node}: {view['problem']}; build it with `launcher build "
                f"{file.stem}`, in a folder that all nodes share, or use --runtime venv"
            )
    digests = {view["digest"]: node for node, view in views.items()}
    if len(digests) > 1:
        (one, here), (other, there) = list(digests.items())[:2]
        raise UsageError(
            f"image {file} differs: {one[:12]} on {here}, {other[:12]} on {there}; copy the same one "
            "to every node, or keep it in a shared folder"
        )


def same_together(ports: Mapping[str, Sequence[int]]) -> list[tuple[list[str], list[int]]]:
    """Nodes with the same ports need them said once."""
    found: dict[tuple[int, ...], list[str]] = {}
    for node, wanted in ports.items():
        found.setdefault(tuple(dict.fromkeys(wanted)), []).append(node)  # Envoys share the URL's
    return [(nodes, list(wanted)) for wanted, nodes in found.items()]
