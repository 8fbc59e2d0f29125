"""The name of every folder of the sandbox on this machine."""

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
    """What `down` leaves: roots, virtual environments, images."""
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
        """Which process holds the sandbox."""
        return self.path / "holder"

    @property
    def layer(self) -> Path:
        """What this sandbox puts over the cached root, the same on every node."""
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
        """Which process is the first of that node."""
        return self.node(node) / "init"

    def logs(self, node: str) -> Path:
        return self.node(node) / "upper/var/log/slurm"

    def boot_log(self, node: str) -> Path:
        return self.node(node) / "boot.log"

    def shared(self, inside: Path) -> Path:
        """Where a path of the shared file system is on this machine."""
        return self.home / inside.relative_to("/home")
