"""Files and folders: atomic writes, private folders."""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launcher.errors import UsageError


def check_writable(folder: Path) -> None:
    """Makes the folder. Raises `UsageError` when files cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        raise UsageError(
            f"cannot write to {folder.absolute()}: {failure.strerror}; choose another folder"
        ) from None


def private_folder() -> Path:
    """In /tmp and not in TMPDIR, which differs from node to node and from job to job."""
    return Path("/tmp") / f"openenv-slurm-{os.getuid()}"


def make_private_folder() -> None:
    """Raises `UsageError` when somebody else has taken its name."""
    folder = private_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise UsageError(f"{folder} belongs to another user; it must be removed")


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the whole new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """None for a file that is not there or not whole."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
