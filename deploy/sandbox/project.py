"""The project inside the sandbox: a copy of this checkout and a virtual environment."""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sandbox import paths
from sandbox.errors import BuildFailed
from sandbox.machine import root
from sandbox.machine.root import Report
from sandbox.nodes import enter
from sandbox.system import files

NOT_COPIED = {".git", ".venv", "__pycache__", "build", "dist"}
NOT_COPIED_ENDINGS = (".egg-info", "_cache")
REQUIREMENT = ".[analysis]"


def copy_checkout(folder: paths.Folder) -> None:
    target = folder.shared(paths.PROJECT)
    target.mkdir()
    for name in _files(paths.CHECKOUT):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(paths.CHECKOUT / name, target / name, follow_symlinks=False)


def _files(checkout: Path) -> Iterator[Path]:
    # The checkout may belong to another user than root.
    argv = ["git", "-c", "safe.directory=*", "-C", str(checkout), "ls-files", "-z"]
    argv += ["--cached", "--others", "--exclude-standard"]
    if shutil.which("git") and (checkout / ".git").exists():
        listed = subprocess.run(argv, capture_output=True, check=True).stdout.split(b"\0")
        for name in filter(None, listed):
            path = checkout / os.fsdecode(name)
            if path.is_symlink() or path.is_file():  # git also lists deleted files and submodules
                yield path.relative_to(checkout)
        return
    for top, folders, file_names in os.walk(checkout):
        copied = set(folders) - NOT_COPIED
        folders[:] = [name for name in copied if not name.endswith(NOT_COPIED_ENDINGS)]
        yield from ((Path(top) / name).relative_to(checkout) for name in file_names)


def give_to_user(tree: Path) -> None:
    os.chown(tree, paths.USER_ID, paths.USER_ID)
    for top, folders, names in os.walk(tree):
        for name in (*folders, *names):
            os.chown(Path(top) / name, paths.USER_ID, paths.USER_ID, follow_symlinks=False)


def provide_venv(folder: paths.Folder, report: Report) -> None:
    venv = folder.shared(paths.PROJECT) / ".venv"
    store = root.folder() / "venv"
    cached = store / _venv_key()
    store.mkdir(exist_ok=True)
    with files.locked(store):
        if cached.exists():
            _link_tree(cached, venv)
            return
        report("installing the project in a virtual environment, once (half a minute)")
        _install(folder)
        for outdated in store.iterdir():
            files.remove(outdated)
        draft = store / "draft"
        _link_tree(venv, draft)
        draft.rename(cached)


def _venv_key() -> str:
    settings = tomllib.loads((paths.CHECKOUT / "pyproject.toml").read_text())
    parts = [settings.get("build-system"), settings.get("project"), REQUIREMENT]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _link_tree(source: Path, target: Path) -> None:
    """Copies with hard links on one file system: pip replaces files and never writes into them."""
    same = source.stat().st_dev == target.parent.stat().st_dev
    how = "--link" if same else "--reflink=auto"
    subprocess.run(["cp", "--archive", how, str(source), str(target)], check=True)


def _install(folder: paths.Folder) -> None:
    pip = f".venv/bin/python -m pip install --no-cache-dir -e '{REQUIREMENT}'"
    script = f"python3 -m venv .venv && exec {pip}"
    code, text = enter.output(folder, enter.Command(["sh", "-c", script], online=True))
    if code:
        end = "\n".join(text.splitlines()[-15:])
        raise BuildFailed(f"pip could not install the project; `up --no-venv` skips this:\n{end}")
