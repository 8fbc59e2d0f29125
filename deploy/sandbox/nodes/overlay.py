"""The overlay of one sandbox over the cached root file system: host names, the configuration of Slurm,
and certificates and pip settings of this machine."""

import shutil
from pathlib import Path

from sandbox import paths
from sandbox.machine import host
from sandbox.nodes import network

RESOURCES = "CPUs=64 RealMemory=256000 State=UNKNOWN"


def create(folder: paths.Folder, nodes: list[str]) -> None:
    layer = folder.layer
    shutil.copytree(paths.HERE / "files", layer)
    listed = f"node[1-{len(nodes)}]" if len(nodes) > 1 else nodes[0]
    (layer / "etc/slurm/nodes.conf").write_text(f"NodeName={listed} {RESOURCES}\n")
    (layer / "etc/hosts").write_text(network.hosts(nodes))
    for name in ("resolv.conf", "localtime"):
        _copy(Path("/etc") / name, layer)
    for certificate in host.certificates():
        _copy(certificate, layer)
    with (layer / "etc/pip.conf").open("w") as file:
        host.pip_settings().write(file)
    _open_to_all(layer)


def _open_to_all(layer: Path) -> None:
    """Files of the checkout have modes that depend on its owner's umask; /etc must be readable."""
    for path in [layer, *layer.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)


def _copy(file: Path, layer: Path) -> None:
    if file.is_file():
        target = layer / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
