"""The project inside the sandbox: a copy of this checkout, and a virtual environment."""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sandbox import enter, paths, root
from sandbox.errors import BuildFailed
from sandbox.root import Report

NOT_COPIED = {".git", ".venv", "__pycache__", "build", "dist"}
NOT_COPIED_ENDINGS = (".egg-info", "_cache")
WANTED = ".[analysis]"


def copy_checkout(folder: paths.Folder) -> None:
    target = folder.shared(paths.PROJECT)
    target.mkdir()
    for name in _files(paths.CHECKOUT):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(paths.CHECKOUT / name, target / name, follow_symlinks=False)


def _files(checkout: Path) -> Iterator[Path]:
    # the checkout may be another user's than root's
    argv = ["git", "-c", "safe.directory=*", "-C", str(checkout), "ls-files", "-z"]
    argv += ["--cached", "--others", "--exclude-standard"]
    if shutil.which("git") and (checkout / ".git").exists():
        listed = subprocess.run(argv, capture_output=True, check=True).stdout.split(b"\0")
        names = (Path(os.fsdecode(name)) for name in listed if name)
        yield from (name for name in names if _is_file(checkout / name))
        return
    for top, folders, files in os.walk(checkout):
        folders[:] = [name for name in folders if not _left_out(name)]
        yield from ((Path(top) / name).relative_to(checkout) for name in files)


def _is_file(path: Path) -> bool:
    """Git lists what was just deleted, and submodules."""
    return path.is_symlink() or path.is_file()


def _left_out(name: str) -> bool:
    return name in NOT_COPIED or name.endswith(NOT_COPIED_ENDINGS)


def give_to_user(tree: Path) -> None:
    os.chown(tree, paths.USER_ID, paths.USER_ID)
    for top, folders, files in os.walk(tree):
        for name in (*folders, *files):
            os.chown(Path(top) / name, paths.USER_ID, paths.USER_ID, follow_symlinks=False)


def provide_venv(folder: paths.Folder, report: Report) -> None:
    """Copies the cached virtual environment in; makes it on the login node when there is none."""
    mine = folder.shared(paths.PROJECT) / ".venv"
    store = root.folder() / "venv"
    cached = store / _venv_key()
    store.mkdir(exist_ok=True)
    with root.locked(store):
        if cached.exists():
            _link_tree(cached, mine)
            return
        report("installing the project in a virtual environment, once (half a minute)")
        _install(folder)
        for outdated in store.iterdir():
            root.remove(outdated)
        draft = store / "draft"
        _link_tree(mine, draft)
        draft.rename(cached)


def _venv_key() -> str:
    """Changes whenever pip would install something else."""
    settings = tomllib.loads((paths.CHECKOUT / "pyproject.toml").read_text())
    parts = [settings.get("build-system"), settings.get("project"), WANTED]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _link_tree(source: Path, target: Path) -> None:
    """As hard links where that is possible: pip replaces files and never writes into one."""
    same = source.stat().st_dev == target.parent.stat().st_dev
    how = "--link" if same else "--reflink=auto"
    subprocess.run(["cp", "--archive", how, str(source), str(target)], check=True)


def _install(folder: paths.Folder) -> None:
    pip = f".venv/bin/python -m pip install --no-cache-dir -e '{WANTED}'"
    script = f"python3 -m venv .venv && exec {pip}"
    code, text = enter.output(folder, enter.Command(["sh", "-c", script], online=True))
    if code:
        end = "\n".join(text.splitlines()[-15:])
        raise BuildFailed(f"pip could not install the project (up --no-venv goes without):\n{end}")
