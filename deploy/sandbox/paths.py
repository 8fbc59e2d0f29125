"""The paths of the sandbox on this machine and on its nodes."""

import os
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Folder:
    """The folder of one running sandbox."""

    name: str

    @property
    def path(self) -> Path:
        return STATE / self.name

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def holder(self) -> Path:
        """The file that identifies the process that holds the sandbox."""
        return self.path / "holder"

    @property
    def layer(self) -> Path:
        """The overlay of this sandbox over the cached root file system, the same on every node."""
        return self.path / "layer"

    @property
    def home(self) -> Path:
        """The shared file system."""
        return self.path / "home"

    @property
    def nodes(self) -> Path:
        return self.path / "nodes"

    def node(self, node: str) -> Path:
        return self.nodes / node

    def init(self, node: str) -> Path:
        """The file that identifies the init process of the node."""
        return self.node(node) / "init"

    def logs(self, node: str) -> Path:
        return self.node(node) / "upper/var/log/slurm"

    def boot_log(self, node: str) -> Path:
        return self.node(node) / "boot.log"

    def shared(self, inside: Path) -> Path:
        """The path on this machine of a path below /home on the nodes."""
        return self.home / inside.relative_to("/home")
