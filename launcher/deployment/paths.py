"""RunDir: the name of every file that a deployment writes."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.system.files import check_writable, private_folder

CONNECTION_FILE = "openenv-connection.env"


@dataclass(frozen=True)
class RunDir:
    """The folder of one deployment, and its entry in the user's list of deployments."""

    folder: Path
    name: str

    @property
    def connection(self) -> Path:
        return self.folder / CONNECTION_FILE

    def envoy_config(self, process: str = "envoy") -> Path:
        return self.folder / f"{process.replace('envoy', 'envoy-config-generated', 1)}.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "openenv-deployment.json"

    def log(self, process: str) -> Path:
        return self.folder / f"benchmark-env-{process}.log"

    @property
    def job_script(self) -> Path:
        return self.folder / "openenv-job.sh"

    @property
    def request(self) -> Path:
        """What a Slurm job that is to hold the deployment was asked for."""
        return self.folder / "openenv-request.json"

    @property
    def beat(self) -> Path:
        """Touched for as long as somebody waits beside a deployment that must not outlive them."""
        return self.folder / ".openenv-attached"

    @property
    def batch_log(self) -> Path:
        return self.log("job")

    @property
    def launcher_log(self) -> Path:
        return self.log("launcher")

    def admin_socket(self, process: str = "envoy") -> Path:
        """On the node's own disk: shared file systems hold no sockets, and their paths are long."""
        number = process.removeprefix("envoy")
        return private_folder() / f"{_digest(self.folder / self.name)}{number}.sock"

    @property
    def admin_sockets(self) -> list[Path]:
        """Of all its Envoy processes, as far as they are there on this machine."""
        first = self.admin_socket()
        return [first, *first.parent.glob(f"{first.stem}-*.sock")]

    @property
    def entry(self) -> Path:
        return deployments_folder() / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """Held while the deployment is; the kernel frees it however its launcher ends."""
        return self.entry.with_suffix(".lock")

    def create(self) -> None:
        """Raises `UsageError` when the folder cannot be written."""
        check_writable(self.folder)


def deployments_folder() -> Path:
    """Where this user's deployments are listed: in the home folder, which clusters share."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "openenv-slurm"


def to_env_file(values: Mapping[str, str]) -> str:
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items())


def from_env_file(text: str) -> dict[str, str]:
    """Reads what `to_env_file` writes; other lines are passed over."""
    values = {}
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words[:1] == ["export"]:
            words = words[1:]
        if len(words) == 1 and "=" in words[0]:
            key, _, value = words[0].partition("=")
            values[key] = value
    return values


def _digest(folder: Path) -> str:
    import hashlib

    return hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
