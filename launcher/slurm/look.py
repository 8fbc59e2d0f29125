"""What an agent sees on its node: whether a deployment can start there. Plain values in and out."""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def look(wanted: Mapping[str, Any], node: str) -> dict[str, Any]:
    """`wanted` may ask for

    ports     {node: [port, ...]}: the first that is taken, and by whom
    token     [path, text]: whether the file is there with this text, so the folder is shared
    files     [path, ...]: the digest of each image
    programs  [name, ...]: those that are not to be found
    limits    true: descriptors and ephemeral ports
    free_port true: one that nobody uses now
    """
    seen: dict[str, Any] = {"time": time.time()}
    if "ports" in wanted:
        from launcher.ports import first_taken

        seen["taken"] = first_taken("0.0.0.0", wanted["ports"].get(node, []))
    if "free_port" in wanted:
        from launcher.runtimes.local import free_port

        seen["free_port"] = free_port("0.0.0.0")
    if "limits" in wanted:
        from launcher.limits import limits

        seen["limits"] = limits().as_dict()
    if "token" in wanted:
        path, text = wanted["token"]
        seen["shared"] = _holds(Path(path), text)
    if "files" in wanted:
        seen["files"] = {path: digest_of(Path(path)) for path in wanted["files"]}
    if "programs" in wanted:
        seen["missing"] = [name for name in wanted["programs"] if not shutil.which(name)]
    return seen


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False


def digest_of(path: Path) -> dict[str, str]:
    """{"digest": ...} of an image, or {"problem": ...}."""
    from launcher import sif

    try:
        if not os.access(path, os.R_OK):
            return {"problem": "is not readable" if path.exists() else "is not there"}
        return {"digest": sif.digest(path)}
    except (OSError, ValueError) as failure:
        return {"problem": str(failure)}
