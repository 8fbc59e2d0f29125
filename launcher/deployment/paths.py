"""The path of every file that a deployment writes."""

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.system.files import private_folder

CONNECTION_FILE = "openenv-connection.env"


@dataclass(frozen=True)
class RunDir:
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
        return self.folder / "openenv-request.json"

    @property
    def heartbeat(self) -> Path:
        """Touched by the launcher that submitted the Slurm job; the deployment stops without it."""
        return self.folder / ".openenv-attached"

    @property
    def batch_log(self) -> Path:
        return self.log("job")

    @property
    def launcher_log(self) -> Path:
        return self.log("launcher")

    def admin_socket(self, process: str = "envoy") -> Path:
        # On the node's own disk: shared file systems support no sockets, and paths of sockets are
        # limited to 107 bytes (unix(7)).
        number = process.removeprefix("envoy")
        unique = str((self.folder / self.name).absolute()).encode()
        return private_folder() / f"{hashlib.sha256(unique).hexdigest()[:12]}{number}.sock"

    @property
    def admin_sockets(self) -> list[Path]:
        """The admin sockets of all Envoy processes that exist on this machine."""
        first = self.admin_socket()
        return [first, *first.parent.glob(f"{first.stem}-*.sock")]

    @property
    def entry(self) -> Path:
        return deployments_folder() / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        return self.entry.with_suffix(".lock")

    def leftovers(self) -> Iterator[Path]:
        """Files that an earlier deployment left, and that a new one does not overwrite."""
        yield from (self.connection, *self.admin_sockets)
        for pattern in ("server-*", "envoy*"):
            yield from self.folder.glob(self.log(pattern).name)
        yield from self.folder.glob(self.envoy_config("envoy*").name)


def deployments_folder() -> Path:
    """The user's list of deployments: in the home folder, which the nodes of a cluster share."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "openenv-slurm"


def to_env_file(values: Mapping[str, str]) -> str:
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items())


def from_env_file(text: str) -> dict[str, str]:
    """Reads the output of `to_env_file`; ignores other lines."""
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
