"""Where images are stored."""

import os
from pathlib import Path

IMAGES = ("server", "envoy", "locust")


def images_folder() -> Path:
    if chosen := os.environ.get("OPENENV_IMAGES"):
        return Path(chosen).absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data, "openenv-slurm", "images")


def image_path(name: str, folder: Path | None = None) -> Path:
    return (folder or images_folder()).absolute() / f"{name}.sif"
