"""Probes this node: whether a deployment can start here. JSON values in and out."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.server import boot
from launcher.images import sif
from launcher.system.command import capture, CommandFailed
from launcher.system.gpus import count_gpus
from launcher.system.machine import machine
from launcher.system.ports import first_taken, free_port

# Together with the timeouts of launcher/images/probe.py, this stays below the time after which a silent
# node counts as lost.
NAMES_SECONDS = 4.0
PYTHON_SECONDS = 8.0


def probe(request: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Answers the keys of the request, and always "time" (seconds since the epoch):

    ports     [[[node, ...], [port, ...]], ...] -> "taken": the first port in use and by whom, or None
    token     [path, text] -> "shared": whether the file holds this text, so that the folder is shared
    files     [path, ...] -> {path: {"digest"} or {"problem"}} for each image
    paths     [path, ...] -> "absent": those that do not exist
    gpus      true -> the number of GPUs that this deployment may use
    python    path -> why this Python cannot run a server, "" if it can
    programs  [name, ...] -> "missing": those that are not on PATH
    free_port true -> a port that is free now
    machine   true -> `launcher.system.machine.Machine`
    names     [name, ...] -> {name: {"address"} or {"problem"}}
    apptainer image or null -> its "version", and whether it "ran" the image; see `probe_apptainer`
    """
    view: dict[str, Any] = {"time": time.time()}
    if "ports" in request:
        ports = [port for nodes, ports in request["ports"] if node in nodes for port in ports]
        view["taken"] = first_taken("0.0.0.0", ports)
    if "free_port" in request:
        view["free_port"] = free_port("0.0.0.0")
    if "token" in request:
        path, text = request["token"]
        view["shared"] = _holds(Path(path), text)
    if "files" in request:
        view["files"] = {path: digest_of(Path(path)) for path in request["files"]}
    if "paths" in request:
        view["absent"] = [path for path in request["paths"] if not os.path.exists(path)]  # noqa: PTH110
    if "python" in request:
        view["python"] = problem_of_python(Path(request["python"]))
    if "gpus" in request:
        view["gpus"] = count_gpus()
    if "programs" in request:
        view["missing"] = [name for name in request["programs"] if not shutil.which(name)]
    if "machine" in request:
        view["machine"] = asdict(machine())
    if "names" in request:
        view["names"] = addresses(request["names"])
    if "apptainer" in request:
        from launcher.images.probe import probe_apptainer

        view["apptainer"] = probe_apptainer(request["apptainer"])
    return view


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False


def digest_of(path: Path) -> dict[str, str]:
    try:
        if not os.access(path, os.R_OK):
            return {"problem": "is not readable" if path.exists() else "does not exist"}
        return {"digest": sif.digest(path)}
    except sif.NotAnImage as failure:
        what, _, _ = str(failure).partition(";")
        return {"problem": what.removeprefix(f"{path} ")}
    except (OSError, ValueError) as failure:
        return {"problem": str(failure)}


def problem_of_python(python: Path) -> str:
    if python.is_dir():
        return "it is a folder; give the program in it, such as bin/python"
    if not os.access(python, os.X_OK):
        return "it cannot be run" if python.exists() else "it does not exist"
    try:
        # Without -P, which older versions of Python do not know.
        return capture((str(python), str(boot.FILE), "--check"), PYTHON_SECONDS)
    except CommandFailed as failure:
        return f"it cannot run {boot.FILE.name} --check: {failure.reason}"


def addresses(names: Sequence[str]) -> dict[str, dict[str, str]]:
    # A resolver may block for long: it runs in a thread of its own, with a deadline.
    answers: dict[str, dict[str, str]] = {}

    def resolve() -> None:
        for name in names:
            try:
                resolved = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
                answers[name] = {"address": str(resolved[0][4][0])}
            except OSError as failure:
                answers[name] = {"problem": failure.strerror or str(failure)}

    resolver = threading.Thread(target=resolve, daemon=True)
    resolver.start()
    resolver.join(NAMES_SECONDS)
    slow = {"problem": f"no answer within {NAMES_SECONDS:.0f} s"}
    return {name: answers.get(name, slow) for name in names}
