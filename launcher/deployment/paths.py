"""The path of every file that a deployment writes."""

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.system.files import private_folder

CONNECTION_FILE = "openenv-connection.env"


class RunDir:
    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.connection = folder / CONNECTION_FILE
        self.state = folder / "openenv-deployment.json"
        self.job_script = folder / "openenv-job.sh"
        self.request = folder / "openenv-request.json"
        # The values of the user's variables, between the submission of the Slurm job and its start.
        self.variables = folder / ".openenv-variables.json"
        # Touched by the launcher that submitted the Slurm job; the deployment stops without it.
        self.heartbeat = folder / ".openenv-attached"
        self.batch_log, self.launcher_log = self.log("job"), self.log("launcher")
        self.entry = deployments_folder() / f"{name}.json"
        self.lock = self.entry.with_suffix(".lock")

    def envoy_config(self, process: str = "envoy") -> Path:
        return self.folder / f"{process.replace('envoy', 'envoy-config-generated', 1)}.yaml"

    def log(self, process: str) -> Path:
        return self.folder / f"benchmark-env-{process}.log"

    def admin_socket(self, process: str = "envoy") -> Path:
        # On the node's own disk: shared file systems support no sockets, and paths of sockets are
        # limited to 107 bytes (unix(7)).
        number = process.removeprefix("envoy")
        unique = str((self.folder / self.name).absolute()).encode()
        return private_folder() / f"{hashlib.sha256(unique).hexdigest()[:12]}{number}.sock"

    def scratch(self, process: str) -> Path:
        """The scratch layer of a container, on the node's own disk."""
        unique = str((self.folder / self.name).absolute()).encode()
        return private_folder() / f"scratch-{hashlib.sha256(unique).hexdigest()[:12]}-{process}"

    @property
    def admin_sockets(self) -> list[Path]:
        first = self.admin_socket()
        return [first, *first.parent.glob(f"{first.stem}-*.sock")]

    def leftovers(self) -> Iterator[Path]:
        """Files that an earlier deployment left, and that a new one does not overwrite."""
        yield from (self.connection, self.variables, *self.admin_sockets)
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
