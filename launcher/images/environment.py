"""Builds the image of any OpenEnv environment, with our server in it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.errors import UsageError
from launcher.images import context, host
from launcher.images.apptainer import BuildFailed
from launcher.images.build import Base, Builder, Built, working_folder
from launcher.images.causes import Cause
from launcher.images.definition import define, Definition
from launcher.images.dockerfile import read, stages
from launcher.images.dockerfile.ignore import copy_context
from launcher.images.dockerfile.instructions import CannotConvert
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.stages import Stage
from launcher.images.project import find_project, located, Project, read_text

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
MARKS = ("openenv.yaml", "pyproject.toml")


@dataclass(frozen=True)
class Environment:
    """`generated` is the text of a Dockerfile that its author did not write."""

    dockerfile: Path
    name: str | None = None
    context: Path | None = None
    app: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    generated: str | None = None

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


def in_folder(folder: Path, **options: Any) -> Environment:
    """The environment of a folder: its Dockerfile, or one for its openenv.yaml and its packages. Raises
    `UsageError`."""
    project = find_project(folder)
    options["context"] = options.get("context") or project.folder
    if project.dockerfile is not None:
        return Environment(project.dockerfile, **options)
    app = options.get("app") or project.app
    text = dockerfile_for(project, app)
    return Environment(project.folder / "Dockerfile", **options, generated=text)


def dockerfile_for(project: Project, app: str) -> str:
    """Raises `UsageError` when the folder does not say which packages it needs."""
    folder = f"/app/{project.folder.name}"
    files = ("pyproject.toml", "server/requirements.txt", "requirements.txt")
    found = next((name for name in files if (project.folder / name).is_file()), None)
    if found is None:
        raise UsageError(
            f"{project.folder} does not say which packages it needs; add a pyproject.toml or a "
            "requirements.txt"
        )
    if found == "pyproject.toml":
        locked = " --frozen" if (project.folder / "uv.lock").is_file() else ""
        install = [
            f"RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-editable{locked}",
            f"ENV PATH={json.dumps(folder + '/.venv/bin')}:$PATH",
        ]
    else:
        install = [f"RUN uv pip install --no-cache --system -r {found}"]
    lines = [
        "FROM openenv-base",
        f"WORKDIR {folder}",
        f"COPY {json.dumps(['.', folder])}",
        *install,
        f"ENV PYTHONPATH={json.dumps(folder)}:/app",
        f"CMD {json.dumps(['uvicorn', app])}",
    ]
    return "\n".join(lines) + "\n"


def build_environment(environment: Environment, builder: Builder) -> tuple[Built, tuple[str, ...]]:
    """Builds NAME.sif; also returns notes about what was not converted. Raises `UsageError` and
    `BuildFailed`."""
    with working_folder() as folder:
        runtime, inside = folder / "runtime", folder / "context"
        context.fill_runtime(runtime)
        copy_context(environment.folder, inside, environment.dockerfile)
        bundle = host.find_bundle(host.pip_settings({}, host.pip_config()))
        found, definition = _converted(environment, Sources(inside, runtime / "added", bundle))
        file = folder / f"{environment.image}.def"
        file.write_text(definition.text)
        base = builder.environment_base(found[-1].image)
        try:
            built = builder.definition(
                environment.image,
                file,
                folder,
                base,
                {"VERSION": __version__},
                shared=("context", "runtime"),
            )
        except BuildFailed as failure:
            raise _explained(failure, environment, found, base) from None
    notes = definition.notes
    if base.reference != found[-1].image and not builder.base:
        own = Path(base.reference).name
        notes = (f"{found[-1].image} is replaced by {own}, which was built here", *notes)
    if definition.app is None:
        notes += (
            "no app was found in its command, so the image was not tested; name it with --app",
        )
    return built, notes


def _explained(
    failure: BuildFailed, environment: Environment, stages: Sequence[Stage], base: Base
) -> BuildFailed:
    """Names the images that the build needs when a registry cannot be reached."""
    if failure.cause is not Cause.REGISTRY:
        return failure
    others = {stage.image for stage in stages} - {stages[-1].image}
    images = ", ".join(dict.fromkeys([base.reference, *sorted(others)]))
    explained = BuildFailed(
        f"{environment.dockerfile} needs {images}, and a registry cannot be reached from here; build on "
        "a machine that reaches it, or choose a base with --base PATH or REFERENCE, such as --base "
        f"openenv-base, which is built from Debian: {str(failure).splitlines()[-1].strip()}"
    )
    explained.cause = failure.cause
    return explained


def _converted(environment: Environment, sources: Sources) -> tuple[list[Stage], Definition]:
    try:
        text = environment.generated or read_text(environment.dockerfile)
        found = stages(read(text), environment.arguments)
        return found, _define(found, environment, sources)
    except CannotConvert as failure:
        raise located(environment.dockerfile, failure) from None


def _define(found: list[Stage], environment: Environment, sources: Sources) -> Definition:
    definition = define(found, environment.app, sources)
    if definition.app is None and definition.started.app is not None:
        # Its command starts the app in a way that our server replaces; a note says so.
        definition = define(found, definition.started.app, sources)
    return definition
