"""Images (being written)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

IMAGES = ("server", "envoy", "locust")


def image_path(name: str, folder: Path | None = None) -> Path:
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return (folder or Path(home) / "openenv-slurm" / "images") / f"{name}.sif"


def exec_argv(
    image: Path,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    binds: Sequence[str] = (),
) -> tuple[str, ...]:
    return (str(image), *argv)
