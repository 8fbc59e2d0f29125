"""Probes Apptainer on this node: whether it is installed, and whether it runs an image."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.images.apptainer import exec_argv, PROGRAM
from launcher.system.command import capture, CommandFailed

# The sum of all timeouts stays below the time after which a silent node counts as lost.
QUICK_SECONDS, RUN_SECONDS = 1.5, 5.0
FUSE = Path("/dev/fuse")


def probe_apptainer(image: str | None) -> dict[str, Any]:
    """ "version" is None without Apptainer; "ran" is None without an image to try, "" when the image
    ran, and otherwise the error message. "fuse" and "namespaces" are booleans."""
    program = shutil.which(PROGRAM)
    if program is None:
        return {"version": None}
    version, problem = _output((program, "version"))
    view: dict[str, Any] = {"version": version or "unknown", "ran": problem or None}
    view["fuse"] = os.access(FUSE, os.R_OK | os.W_OK)
    view["namespaces"] = not _output(("unshare", "--user", "--map-root-user", "true"))[1]
    if not problem and image is not None and os.access(image, os.R_OK):
        view["ran"] = _output(exec_argv(Path(image), ("true",)), RUN_SECONDS)[1]
    return view


def _output(argv: Sequence[str], seconds: float = QUICK_SECONDS) -> tuple[str, str]:
    """The standard output of a command, and why it failed: "" when it did not."""
    try:
        return capture(argv, seconds).strip(), ""
    except CommandFailed as failure:
        return "", failure.reason
