import fcntl
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, IO

from launcher.errors import UsageError


def check_writable(folder: Path) -> None:
    """Creates the folder. Raises `UsageError` if files cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        raise UsageError(
            f"cannot write to {folder.absolute()}: {failure.strerror}; choose another folder"
        ) from None


def private_folder() -> Path:
    # Not in TMPDIR, which differs between nodes and between jobs.
    return Path("/tmp") / f"openenv-slurm-{os.getuid()}"


def make_private_folder() -> None:
    """Raises `UsageError` if the folder belongs to another user."""
    folder = private_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise UsageError(f"{folder} belongs to another user; it must be removed")


def lock(file: IO[Any], refusal: str) -> None:
    """Locks the file until it is closed. Raises `UsageError` with the text `refusal` if another process
    holds the lock. Does nothing on a file system that does not support locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(refusal) from None
    except OSError:
        pass


def write_atomically(path: Path, text: str) -> None:
    """Readers see either the old file or the complete new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """A new file that only this user can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """None if the file is missing, or is not a complete JSON object."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
