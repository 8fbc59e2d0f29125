"""What the options of a deployment put around its servers: binds, GPUs, working folder, scratch layer."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.images import labels, sif
from launcher.images.apptainer import bind_option
from launcher.system.debug_log import redacted

if TYPE_CHECKING:
    from launcher.deployment.spec import Deployment

# Options that have no effect on servers outside of containers.
CONTAINER_ONLY = ("bind", "nv", "writable", "container_option")


@dataclass(frozen=True)
class Required:
    """What the node of a process must have: `paths`, a number of `gpus`, and a `python` that can run a
    server."""

    paths: tuple[str, ...] = ()
    gpus: int = 0
    python: str | None = None


def parse_bind(text: str) -> tuple[Path, str, str]:
    """Source, destination and mode of SRC:DST[:ro]. Raises `ValueError`."""
    source, *rest = text.split(":")
    if not source or len(rest) not in (1, 2) or (rest[1:] and rest[1] not in ("ro", "rw")):
        raise ValueError(f"write {text!r} as SRC:DST or SRC:DST:ro")
    if not posixpath.isabs(rest[0]):
        raise ValueError(f"the destination {rest[0]!r} of {text!r} must start with /")
    return Path(source).expanduser().absolute(), rest[0], rest[1] if rest[1:] else "rw"


def check_surroundings(deployment: "Deployment") -> None:
    """Raises `ValueError` for options that do not fit the runtime."""
    if deployment.image is not None and not deployment.in_containers:
        raise ValueError("--image is for containers; omit it, or omit --runtime venv")
    given = [name for name in CONTAINER_ONLY if getattr(deployment, name)]
    if given and not deployment.in_containers:
        flag = f"--{given[0].replace('_', '-')}"
        raise ValueError(
            f"{flag} is for containers, and these servers run without: they see the files and devices of "
            f"their node; omit {flag}, or add --runtime apptainer"
        )
    if deployment.python is not None and deployment.in_containers:
        raise ValueError(
            "--python is for servers without containers, and an image has its own Python; omit it, or "
            "add --runtime venv"
        )
    folder = deployment.workdir
    if folder is not None and deployment.in_containers and not posixpath.isabs(folder):
        raise ValueError(f"--workdir {folder} is a folder in the image; write it with a leading /")


def check_container_options(options: tuple[str, ...]) -> tuple[str, ...]:
    """Raises `ValueError`, without the value of a variable."""
    for option in options:
        if not option.startswith("-"):
            raise ValueError(
                f"{redacted([option])[0]!r} is not an option; write it like --container-option=--rocm"
            )
        if re.match(r"--env(-file)?\b", option):
            raise ValueError("give variables with --env or --env-file, which keep values secret")
    return options


def required(deployment: "Deployment") -> Required:
    """What the nodes of the servers must have."""
    paths = [str(parse_bind(bind)[0]) for bind in deployment.bind]
    if folder := node_folder(deployment):
        paths.append(str(folder))
    python = chosen_python(deployment)
    return Required(tuple(paths), deployment.gpus or 0, str(python) if python else None)


def chosen_python(deployment: "Deployment") -> Path | None:
    """Not resolved: the link in a virtual environment is what makes it one."""
    return deployment.python and deployment.python.expanduser().absolute()


def node_folder(deployment: "Deployment") -> Path | None:
    """The working folder of servers that run without containers, if it was chosen."""
    if deployment.workdir is None or deployment.in_containers:
        return None
    return Path(deployment.workdir).expanduser().absolute()


def container_options(deployment: "Deployment", image: Path) -> Iterator[str]:
    for bind in deployment.bind:
        source, destination, mode = parse_bind(bind)
        yield bind_option(f"{source}:{destination}:{mode}")
    if deployment.nv or deployment.gpus:
        yield "--nv"
    if folder := deployment.workdir or _working_folder(image):
        yield f"--pwd={folder}"
    yield from deployment.container_option


def scratch_options(scratch: Path) -> tuple[str, ...]:
    """Changes to the image, /tmp and the home folder go to the disk of the node."""
    return f"--overlay={scratch}/layer", f"--workdir={scratch}/work"


def _working_folder(image: Path) -> str | None:
    """The image's WORKDIR. Where the image is not readable, the nodes will say so."""
    try:
        return sif.labels(image).get(labels.FOLDER)
    except sif.NotAnImage:
        return None
