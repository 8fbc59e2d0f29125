"""Apptainer images: their names and places, how a command runs in one, and how they are made.

`apptainer` its argv, and what its failures mean · `host` what a build needs of this machine ·
`context` what our images are made from · `dockerfile` and `definition` from the Dockerfile of an
environment to a definition · `build` makes them.
"""

import os
from pathlib import Path

from launcher.images.apptainer import BuildFailed, exec_argv, why_not_run
from launcher.images.sif import digest

__all__ = [
    "IMAGES",
    "BuildFailed",
    "digest",
    "exec_argv",
    "image_path",
    "images_folder",
    "why_not_run",
]

IMAGES = ("server", "envoy", "locust")


def images_folder() -> Path:
    if chosen := os.environ.get("OPENENV_IMAGES"):
        return Path(chosen).absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data, "openenv-slurm", "images")


def image_path(name: str, folder: Path | None = None) -> Path:
    return (folder or images_folder()).absolute() / f"{name}.sif"
