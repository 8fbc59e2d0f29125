"""What an agent sees on its node: whether a deployment can start there. Plain values in and out."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAMES_SECONDS = 4.0
QUICK_SECONDS, RUN_SECONDS = 1.5, 5.0
FUSE = Path("/dev/fuse")


def look(wanted: Mapping[str, Any], node: str) -> dict[str, Any]:
    """`wanted` may ask for

    ports     [[[node, ...], [port, ...]], ...]: the first that is taken, and by whom
    token     [path, text]: whether the file is there with this text, so the folder is shared
    files     [path, ...]: the digest of each image
    programs  [name, ...]: those that are not to be found
    limits    true: descriptors and ephemeral ports
    free_port true: one that nobody uses now
    machine   true: what it allows
    names     [name, ...]: the address that each is resolved to, or what is wrong with it
    apptainer an image or null: its version, and whether it can run the image

    It takes less than the time after which a node counts as lost.
    """
    seen: dict[str, Any] = {"time": time.time()}
    if "ports" in wanted:
        from launcher.system.ports import first_taken

        seen["taken"] = first_taken("0.0.0.0", _ports(wanted["ports"], node))
    if "free_port" in wanted:
        from launcher.system.process import free_port

        seen["free_port"] = free_port("0.0.0.0")
    if "limits" in wanted:
        from launcher.system.limits import limits

        seen["limits"] = limits().as_dict()
    if "token" in wanted:
        path, text = wanted["token"]
        seen["shared"] = _holds(Path(path), text)
    if "files" in wanted:
        seen["files"] = {path: digest_of(Path(path)) for path in wanted["files"]}
    if "programs" in wanted:
        seen["missing"] = [name for name in wanted["programs"] if not shutil.which(name)]
    if "machine" in wanted:
        from launcher.system.machine import machine

        seen["machine"] = machine().as_dict()
    if "names" in wanted:
        seen["names"] = addresses(wanted["names"])
    if "apptainer" in wanted:
        seen["apptainer"] = apptainer(wanted["apptainer"])
    return seen


def _ports(wanted: Sequence[tuple[Sequence[str], Sequence[int]]], node: str) -> list[int]:
    return [port for nodes, ports in wanted if node in nodes for port in ports]


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False


def digest_of(path: Path) -> dict[str, str]:
    """{"digest": ...} of an image, or {"problem": ...}."""
    from launcher.images import sif

    try:
        if not os.access(path, os.R_OK):
            return {"problem": "is not readable" if path.exists() else "is not there"}
        return {"digest": sif.digest(path)}
    except sif.NotAnImage as failure:
        what, _, _ = str(failure).partition(";")
        return {"problem": what.removeprefix(f"{path} ")}
    except (OSError, ValueError) as failure:
        return {"problem": str(failure)}


def addresses(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """{name: {"address": ...} or {"problem": ...}}. A resolver may take its time: not all of ours."""
    found: dict[str, dict[str, str]] = {}

    def resolve() -> None:
        for name in names:
            try:
                known = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
                found[name] = {"address": str(known[0][4][0])}
            except OSError as failure:
                found[name] = {"problem": failure.strerror or str(failure)}

    resolver = threading.Thread(target=resolve, daemon=True)
    resolver.start()
    resolver.join(NAMES_SECONDS)
    slow = {"problem": f"no answer within {NAMES_SECONDS:.0f} s"}
    return {name: found.get(name, slow) for name in names}


def apptainer(image: str | None) -> dict[str, Any]:
    """`version` is None where there is no Apptainer; `ran` is None where there is no image to try,
    and else "" or what went wrong."""
    program = shutil.which("apptainer")
    if program is None:
        return {"version": None}
    version, problem = _output((program, "version"))
    seen = {"version": version or "unknown", "ran": problem or None, "fuse": _usable(FUSE)}
    seen["namespaces"] = not _output(("unshare", "--user", "--map-root-user", "true"))[1]
    if not problem and image is not None and os.access(image, os.R_OK):
        from launcher.images import exec_argv

        seen["ran"] = _output(exec_argv(Path(image), ("true",)), RUN_SECONDS)[1]
    return seen


def _usable(device: Path) -> bool:
    return os.access(device, os.R_OK | os.W_OK)


def _output(argv: Sequence[str], seconds: float = QUICK_SECONDS) -> tuple[str, str]:
    """What a command prints, and what is wrong with it: "" for nothing."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"it takes longer than {seconds:g} s"
    except OSError as failure:
        return "", f"cannot run {argv[0]}: {failure.strerror}"
    if not done.returncode:
        return done.stdout.strip(), ""
    said = done.stderr.strip().splitlines()
    return "", said[-1] if said else f"exited with {done.returncode}"
