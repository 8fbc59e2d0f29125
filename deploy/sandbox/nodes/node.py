"""The holder of a sandbox, and its nodes: namespaces on an overlay of the cached root file system."""

import os
import socket
import stat
from pathlib import Path

from sandbox import paths
from sandbox.machine.host import pip_folders, pip_settings
from sandbox.nodes import network, quota
from sandbox.system import kernel
from sandbox.system.first_process import first_of_namespace
from sandbox.system.processes import Process

INIT = ["/usr/bin/tini", "--"]  # reaps orphans
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "fuse": (10, 229),
}
LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "fd/0",
    "stdout": "fd/1",
    "stderr": "fd/2",
}


def hold(folder: paths.Folder, root: Path) -> Process:
    """Starts the holder, which owns the bridge and the PID namespace in which all nodes are nested.
    When it dies, the kernel kills all nodes."""

    def become() -> None:
        kernel.unshare(kernel.NEWNET)
        network.make_bridge(root)
        os.chroot(root)
        os.chdir("/")
        os.execve(INIT[0], [*INIT, "sleep", "infinity"], ENVIRONMENT)

    log = folder.path / "holder.log"
    return first_of_namespace("the holder", lambda: None, become, log)


def start(
    folder: paths.Folder, node: str, root: Path, holder: Process, cores: float | None
) -> Process:
    for part in ("upper", "work", "root", "tmp"):
        (folder.node(node) / part).mkdir(parents=True, exist_ok=True)
    (folder.node(node) / "tmp").chmod(0o1777)
    if cores:
        quota.limit(folder.name, node, cores)
    join = quota.joiner(folder.name, node)
    pip_sources = pip_folders(pip_settings())

    with kernel.namespaces(holder.pid, {"pid": kernel.NEWPID, "net": kernel.NEWNET}) as enter:

        def prepare() -> None:
            join()
            enter()

        def become() -> None:
            kernel.unshare(kernel.NEWUTS | kernel.NEWIPC)
            socket.sethostname(node)
            bridge = network.unshare()
            kernel.private_mounts()
            node_root = _mount_root(folder, node, root, pip_sources)
            network.connect(node, node_root, bridge)
            kernel.pivot_root(node_root)
            network.set_address(node)
            os.execve(INIT[0], [*INIT, "/usr/local/sbin/daemons", "boot"], ENVIRONMENT)

        return first_of_namespace(node, prepare, become, folder.boot_log(node))


def _mount_root(folder: paths.Folder, node: str, lower: Path, pip_sources: list[Path]) -> Path:
    home = folder.node(node)
    root = home / "root"
    layers = f"lowerdir={folder.layer}:{lower},upperdir={home / 'upper'},workdir={home / 'work'}"
    kernel.mount("overlay", root, "overlay", 0, layers)
    kernel.mount("proc", root / "proc", "proc")
    kernel.mount("sysfs", root / "sys", "sysfs", kernel.MS_RDONLY)
    kernel.mount("tmpfs", root / "run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    _mount_devices(root / "dev")
    kernel.bind(home / "tmp", root / "tmp")
    kernel.bind(folder.home, root / "home")
    kernel.bind(paths.images(), root / paths.IMAGES.relative_to("/"))
    for path in pip_sources:
        target = root / path.relative_to("/")
        target.mkdir(parents=True, exist_ok=True)
        kernel.bind(path, target, read_only=True)
    return root


def _mount_devices(dev: Path) -> None:
    kernel.mount("tmpfs", dev, "tmpfs", kernel.MS_NOSUID, "mode=755")
    for name, (major, minor) in DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR, os.makedev(major, minor))
        (dev / name).chmod(0o666)
    for name, target in LINKS.items():
        (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    kernel.mount("devpts", dev / "pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
    kernel.mount("tmpfs", dev / "shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
