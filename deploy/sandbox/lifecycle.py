"""Starts and stops sandboxes and their nodes."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox import paths, project
from sandbox.errors import NotRunning, UsageError
from sandbox.machine import root
from sandbox.machine.root import Report
from sandbox.nodes import network, node, overlay, quota
from sandbox.readiness import registrations, wait_ready
from sandbox.system import files, processes


@dataclass(frozen=True)
class Settings:
    nodes: int = 5
    cpu_quota: float | None = None
    no_quota: tuple[str, ...] = ()
    venv: bool = True
    root: str = ""

    @property
    def node_names(self) -> list[str]:
        return network.node_names(self.nodes)

    @property
    def all_names(self) -> list[str]:
        return [network.LOGIN, *self.node_names]


def settings_of(folder: paths.Folder) -> Settings:
    try:
        return Settings(**json.loads(folder.settings.read_text()))
    except FileNotFoundError:
        raise NotRunning(f"no sandbox named {folder.name!r} is up; start it with `up`") from None


def up(folder: paths.Folder, settings: Settings, report: Report) -> None:
    """Returns when every node is idle. Removes everything on failure."""
    root_folder = root.provide(report)
    settings = Settings(**asdict(settings) | {"root": str(root_folder)})
    with _state():
        if processes.load(folder.holder):
            raise UsageError(
                f"the sandbox {folder.name!r} is already up; use it, or stop it first with `down`"
            )
        _clear(folder)
        folder.nodes.mkdir(parents=True)
        folder.settings.write_text(json.dumps(asdict(settings)))
        holder = node.hold(folder, root_folder)
        holder.save(folder.holder)
    try:
        _prepare(folder, settings)
        for name in settings.all_names:
            _start(folder, settings, name, holder)
        project.copy_checkout(folder)
        project.give_to_user(folder.shared(paths.PROJECT))
        if settings.venv:
            project.provide_venv(folder, report)
        wait_ready(folder, settings.node_names, {})
    except BaseException:
        down(folder)
        raise


def down(folder: paths.Folder) -> bool:
    if not folder.path.exists():
        return False
    with _state():
        if holder := processes.load(folder.holder):
            holder.kill()
        _clear(folder)
    with contextlib.suppress(OSError):
        paths.STATE.rmdir()
    return True


def kill(folder: paths.Folder, name: str) -> None:
    _known(folder, name)
    init = processes.load(folder.init(name))
    if not init:
        raise NotRunning(f"{name} is not up")
    init.kill()


def start(folder: paths.Folder, name: str) -> None:
    settings = _known(folder, name)
    holder = processes.load(folder.holder)
    if not holder:
        raise NotRunning(f"the sandbox {folder.name!r} has died; restart it with `down` and `up`")
    if processes.load(folder.init(name)):
        raise UsageError(f"{name} is already up")
    before = registrations(folder) or {}
    _start(folder, settings, name, holder)
    wait_ready(folder, [] if name == network.LOGIN else [name], before)


def states(folder: paths.Folder) -> dict[str, bool]:
    names = settings_of(folder).all_names
    return {name: processes.load(folder.init(name)) is not None for name in names}


def all_folders() -> list[paths.Folder]:
    return [paths.Folder(path.name) for path in sorted(paths.STATE.glob("*/"))]


def _start(folder: paths.Folder, settings: Settings, name: str, holder: processes.Process) -> None:
    unlimited = name == network.LOGIN or name in settings.no_quota
    cores = None if unlimited else settings.cpu_quota
    init = node.start(folder, name, Path(settings.root), holder, cores)
    init.save(folder.init(name))


def _prepare(folder: paths.Folder, settings: Settings) -> None:
    overlay.create(folder, settings.node_names)
    shutil.copytree(Path(settings.root) / "home", folder.home, symlinks=True)
    folder.shared(paths.IMAGES).mkdir(parents=True)
    project.give_to_user(folder.shared(paths.USER_HOME))
    paths.images().mkdir(parents=True, exist_ok=True)
    project.give_to_user(paths.images())


@contextlib.contextmanager
def _state() -> Iterator[None]:
    common = paths.cache() / "sandbox"
    common.mkdir(parents=True, exist_ok=True)
    with files.locked(common):
        yield


def _clear(folder: paths.Folder) -> None:
    quota.remove(folder.name)
    files.remove(folder.path)


def _known(folder: paths.Folder, name: str) -> Settings:
    settings = settings_of(folder)
    if name not in settings.all_names:
        known = ", ".join(settings.all_names)
        raise UsageError(f"no node {name!r} in the sandbox {folder.name!r}; its nodes are {known}")
    return settings
