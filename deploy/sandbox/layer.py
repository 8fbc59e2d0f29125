"""What one sandbox puts over the cached root: its names, Slurm's configuration, this machine's
certificates and pip settings."""

import shutil
from pathlib import Path

from sandbox import host, network, paths

CLAIMED = "CPUs=64 RealMemory=256000 State=UNKNOWN"


def lay(folder: paths.Folder, nodes: list[str]) -> None:
    layer = folder.layer
    shutil.copytree(paths.HERE / "files", layer)
    listed = f"node[1-{len(nodes)}]" if len(nodes) > 1 else nodes[0]
    (layer / "etc/slurm/nodes.conf").write_text(f"NodeName={listed} {CLAIMED}\n")
    (layer / "etc/hosts").write_text(network.hosts(nodes))
    for name in ("resolv.conf", "localtime"):
        _copy(Path("/etc") / name, layer)
    for certificate in host.certificates():
        _copy(certificate, layer)
    with (layer / "etc/pip.conf").open("w") as file:
        host.pip_settings().write(file)
    _open_to_all(layer)


def _open_to_all(layer: Path) -> None:
    """Whoever cloned the checkout with whichever umask, nobody is locked out of /etc."""
    for path in [layer, *layer.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)


def _copy(file: Path, layer: Path) -> None:
    """To the same place, as a plain file."""
    if file.is_file():
        target = layer / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
