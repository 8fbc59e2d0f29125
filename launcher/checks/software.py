from collections.abc import Mapping
from typing import Any

from launcher.runtimes.findings import Check, everywhere, fail, Finding, listed, ok, Views, warn
from launcher.runtimes.node_checks import no_apptainer
from launcher.system.machine import Machine


def python(machines: Mapping[str, Machine], here: Machine) -> Finding:
    ours = (here.python, here.launcher)
    others = {n: m for n, m in machines.items() if (m.python, m.launcher) != ours}
    if not others:
        versions = f"Python {here.python}, launcher {here.launcher}"
        return ok(Check.PYTHON, f"{versions} {everywhere(machines)}")
    machine = next(iter(others.values()))
    return fail(
        Check.PYTHON,
        others,
        f"Python {machine.python}, launcher {machine.launcher} on {listed(others)}; here Python "
        f"{here.python}, launcher {here.launcher}",
        "keep the environment in a folder that all nodes share",
    )


def apptainer(views: Views) -> Finding:
    installed = {node: view["apptainer"] for node, view in views.items()}
    if absent := [node for node, view in installed.items() if view["version"] is None]:
        return no_apptainer(absent)
    if broken := {node: view["ran"] for node, view in installed.items() if view["ran"]}:
        no_namespaces = any(not installed[node]["namespaces"] for node in broken)
        why = "; users may not create user namespaces there" if no_namespaces else ""
        return fail(
            Check.APPTAINER,
            broken,
            f"it cannot run an image on {listed(broken)}: {'; '.join(dict.fromkeys(broken.values()))}"
            + why,
            "ask for user.max_user_namespaces > 0 and /etc/subuid, or a setuid Apptainer; or use "
            "--runtime venv",
        )
    return _apptainer_warning(installed) or ok(Check.APPTAINER, _versions(installed))


def _apptainer_warning(installed: Mapping[str, Mapping[str, Any]]) -> Finding | None:
    untried = [n for n, view in installed.items() if view["ran"] is None]
    if untried := [n for n in untried if not installed[n]["namespaces"]]:
        return warn(
            Check.APPTAINER,
            untried,
            f"users may not create user namespaces on {listed(untried)}: only a setuid Apptainer runs "
            "images there, and there was no image to try",
            "build the images with `launcher build`, then run this again",
        )
    if fuseless := [n for n, view in installed.items() if not view["fuse"] and view["namespaces"]]:
        return warn(
            Check.APPTAINER,
            fuseless,
            f"/dev/fuse is not accessible on {listed(fuseless)}: Apptainer may have to unpack an image "
            "at every start",
            "make /dev/fuse readable and writable for all users there",
        )
    if len({view["version"] for view in installed.values()}) > 1:
        advice = "use nodes with the same version"
        return warn(Check.APPTAINER, installed, _versions(installed), advice)
    return None


def _versions(installed: Mapping[str, Mapping[str, Any]]) -> str:
    versions = sorted({view["version"] for view in installed.values()})
    if len(versions) > 1:
        return "versions differ: " + "; ".join(
            f"{version} on {listed(n for n, s in installed.items() if s['version'] == version)}"
            for version in versions
        )
    tried = all(view["ran"] is not None for view in installed.values())
    return (
        f"{versions[0]} {'runs images' if tried else '(no image to try)'} {everywhere(installed)}"
    )
