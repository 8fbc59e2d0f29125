"""Builds the image of any OpenEnv environment, with our server in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher import __version__
from launcher.errors import UsageError
from launcher.images import context, host
from launcher.images.build import Base, Builder, Built, working_folder
from launcher.images.definition import define, Definition
from launcher.images.dockerfile import read, stages
from launcher.images.dockerfile.ignore import copy_context
from launcher.images.dockerfile.instructions import CannotConvert
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.stages import Stage
from launcher.images.project import located, read_text

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
MARKS = ("openenv.yaml", "pyproject.toml")


@dataclass(frozen=True)
class Environment:
    dockerfile: Path
    name: str | None = None
    context: Path | None = None
    app: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The build context. OpenEnv keeps the Dockerfile of an environment in its folder server/."""
        folder = self.dockerfile.absolute().parent
        marked = any((folder.parent / mark).is_file() for mark in MARKS)
        return self.context or (folder.parent if folder.name == "server" and marked else folder)

    @property
    def image(self) -> str:
        name = self.name or self.folder.absolute().name.lower()
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is not a valid image name; choose one like my-env with --name NAME"
            )
        return name


def build_environment(environment: Environment, builder: Builder) -> tuple[Built, tuple[str, ...]]:
    """Builds NAME.sif; also returns notes about what was not converted. Raises `UsageError` and
    `BuildFailed`."""
    with working_folder() as folder:
        runtime, inside = folder / "runtime", folder / "context"
        context.fill_runtime(runtime)
        copy_context(environment.folder, inside, environment.dockerfile)
        bundle = host.find_bundle(host.pip_settings({}, host.pip_config()))
        sources = Sources(inside, runtime / "added", bundle)
        base, definition = _converted(environment, sources)
        file = folder / f"{environment.image}.def"
        file.write_text(definition.text)
        built = builder.definition(
            environment.image,
            file,
            folder,
            Base(builder.base or base),
            {"VERSION": __version__},
            shared=("context", "runtime"),
        )
    notes = definition.notes
    if definition.app is None:
        notes += (
            "no app was found in its command, so the image was not tested; name it with --app",
        )
    return built, notes


def _converted(environment: Environment, sources: Sources) -> tuple[str, Definition]:
    """The base and the definition."""
    try:
        found = stages(read(read_text(environment.dockerfile)), environment.arguments)
        return found[-1].image, _define(found, environment, sources)
    except CannotConvert as failure:
        raise located(environment.dockerfile, failure) from None


def _define(found: list[Stage], environment: Environment, sources: Sources) -> Definition:
    definition = define(found, environment.app, sources)
    if definition.app is None and definition.started.app is not None:
        # Its command starts the app in a way that our server replaces; a note says so.
        definition = define(found, definition.started.app, sources)
    return definition
