"""Whether nodes have the same programs and files. Pure."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from launcher.checks.findings import everywhere, Finding, listed, ok, Verdict, Views
from launcher.system.machine import Machine


def python(seen: Mapping[str, Machine], here: Machine) -> Finding:
    ours = (here.python, here.launcher)
    other = {n: m for n, m in seen.items() if (m.python, m.launcher) != ours}
    if not other:
        return ok("python", f"Python {here.python}, launcher {here.launcher} {everywhere(seen)}")
    machine = next(iter(other.values()))
    return Finding(
        "python",
        Verdict.FAIL,
        tuple(other),
        f"Python {machine.python}, launcher {machine.launcher} on {listed(other)}; here Python "
        f"{here.python}, launcher {here.launcher}",
        "keep the environment in a folder that all nodes share",
    )


def programs(views: Views) -> Iterable[Finding]:
    """Of this Python environment, those that nodes do not find."""
    for name in dict.fromkeys(name for view in views.values() for name in view["missing"]):
        lacking = tuple(node for node, view in views.items() if name in view["missing"])
        yield Finding(
            "programs",
            Verdict.FAIL,
            lacking,
            f"{name} cannot be run on {listed(lacking)}",
            "keep the environment in a folder that all nodes share, or use --runtime apptainer",
        )


def folder(views: Views, path: Path) -> Finding:
    blind = tuple(node for node, view in views.items() if not view["shared"])
    if not blind:
        return ok("folder", f"{path} can be written and seen {everywhere(views)}")
    return Finding(
        "folder",
        Verdict.FAIL,
        blind,
        f"{path} is not shared: what is written here is not seen on {listed(blind)}",
        "choose a folder on a shared file system (--dir, or run from there)",
    )


def images(views: Views) -> Iterable[Finding]:
    """One finding for each image."""
    for path in next(iter(views.values()))["files"]:
        yield image(path, {node: view["files"][path] for node, view in views.items()})


def image(path: str, views: Mapping[str, Mapping[str, str]]) -> Finding:
    check = "image"
    problems = {node: view["problem"] for node, view in views.items() if "problem" in view}
    if problems:
        told = dict.fromkeys(problems.values())
        return Finding(
            check,
            Verdict.FAIL,
            tuple(problems),
            f"{path} on {listed(problems)}: {'; '.join(told)}",
            "make it with `launcher build` in a folder that all nodes share (--images), or use "
            "--runtime venv",
        )
    digests = [view["digest"] for view in views.values()]
    usual = max(dict.fromkeys(digests), key=digests.count)
    other = tuple(node for node, view in views.items() if view["digest"] != usual)
    if other:
        return Finding(
            check,
            Verdict.FAIL,
            other,
            f"{path} on {listed(other)} is not the one that other nodes have ({usual[:12]})",
            "copy the same one to every node, or keep it in a folder that all nodes share",
        )
    return ok(check, f"{path} ({usual[:12]}) {everywhere(views)}")


def apptainer(views: Views) -> Finding:
    seen = {node: view["apptainer"] for node, view in views.items()}
    check = "apptainer"
    if absent := tuple(node for node, sees in seen.items() if sees["version"] is None):
        return Finding(
            check,
            Verdict.FAIL,
            absent,
            f"apptainer is not on PATH on {listed(absent)}",
            "load its module, leave the node out with --exclude, or use --runtime venv",
        )
    if broken := {node: sees["ran"] for node, sees in seen.items() if sees["ran"]}:
        no_namespaces = [node for node in broken if not seen[node]["namespaces"]]
        why = "; users may make no user namespaces there" if no_namespaces else ""
        return Finding(
            check,
            Verdict.FAIL,
            tuple(broken),
            f"it cannot run an image on {listed(broken)}: {'; '.join(dict.fromkeys(broken.values()))}"
            + why,
            "ask for user.max_user_namespaces > 0 and /etc/subuid, or a setuid Apptainer; or use "
            "--runtime venv",
        )
    return _apptainer_doubts(seen) or ok(check, _versions(seen))


def _apptainer_doubts(seen: Mapping[str, Mapping[str, Any]]) -> Finding | None:
    untried = tuple(n for n, s in seen.items() if s["ran"] is None and not s["namespaces"])
    if untried:
        return Finding(
            "apptainer",
            Verdict.WARN,
            untried,
            f"users may make no user namespaces on {listed(untried)}: only a setuid Apptainer runs "
            "images there; there was no image to try it with",
            "make the images with `launcher build`, then look again",
        )
    fuseless = tuple(n for n, s in seen.items() if not s["fuse"] and s["namespaces"])
    if fuseless:
        return Finding(
            "apptainer",
            Verdict.WARN,
            fuseless,
            f"/dev/fuse cannot be used on {listed(fuseless)}: Apptainer may have to unpack an image "
            "at every start",
            "have /dev/fuse made readable and writable for all there",
        )
    if len({s["version"] for s in seen.values()}) > 1:
        return Finding(
            "apptainer", Verdict.WARN, tuple(seen), _versions(seen), "use nodes that are alike"
        )
    return None


def _versions(seen: Mapping[str, Mapping[str, Any]]) -> str:
    versions = sorted({sees["version"] for sees in seen.values()})
    if len(versions) > 1:
        return "versions differ: " + "; ".join(
            f"{version} on {listed(n for n, s in seen.items() if s['version'] == version)}"
            for version in versions
        )
    tried = all(sees["ran"] == "" for sees in seen.values())
    return f"{versions[0]} {'runs images' if tried else '(no image to try)'} {everywhere(seen)}"
