"""The paths of the sandbox on this machine and on its nodes."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
STATE = Path("/var/lib/openenv-sandbox")

USER = "alice"
USER_ID = 1000
USER_HOME = Path("/home") / USER
PROJECT = USER_HOME / "openenv-slurm"
IMAGES = USER_HOME / ".local/share/openenv-slurm/images"


def cache() -> Path:
    """Root file systems, virtual environments and images, which `down` keeps."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "openenv-slurm"


def images() -> Path:
    return cache() / "images"


class Folder:
    """The folder of one running sandbox. `holder` is the file that identifies its process, `layer` the
    overlay over the cached root file system, `home` the shared file system."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = STATE / name
        self.settings = self.path / "settings.json"
        self.holder = self.path / "holder"
        self.layer = self.path / "layer"
        self.home = self.path / "home"
        self.nodes = self.path / "nodes"

    def node(self, node: str) -> Path:
        return self.nodes / node

    def init(self, node: str) -> Path:
        return self.node(node) / "init"

    def logs(self, node: str) -> Path:
        return self.node(node) / "upper/var/log/slurm"

    def boot_log(self, node: str) -> Path:
        return self.node(node) / "boot.log"

    def shared(self, inside: Path) -> Path:
        """The path on this machine of a path below /home on the nodes."""
        return self.home / inside.relative_to("/home")
