"""Builds the image of any OpenEnv environment from its Dockerfile, with our server in it."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher import __version__
from launcher.errors import UsageError
from launcher.images import context
from launcher.images.build import Base, Builder, Built, working_folder
from launcher.images.definition import define
from launcher.images.dockerfile import read, stages

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
    try:
        text = environment.dockerfile.read_text()
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not a text file"
        raise UsageError(f"cannot read {environment.dockerfile}: {reason}") from None
    parsed = stages(read(text), environment.arguments)
    definition = define(parsed, environment.app)
    with working_folder() as folder:
        file = folder / f"{environment.image}.def"
        file.write_text(definition.text)
        (folder / "runtime").mkdir()
        context.fill_runtime(folder / "runtime")
        copy_context(environment.folder, folder / "context", environment.dockerfile)
        built = builder.definition(
            environment.image,
            file,
            folder,
            Base(builder.base or parsed[-1].image),
            {"VERSION": __version__},
            shared=("context", "runtime"),
        )
    notes = definition.notes
    if definition.app is None:
        notes += (
            "its CMD does not start uvicorn, so the image was not tested; name its app with --app",
        )
    return built, notes


def copy_context(source: Path, target: Path, dockerfile: Path) -> None:
    """Copies the folder, except for what .dockerignore excludes. Raises `UsageError`."""
    if not source.is_dir():
        raise UsageError(
            f"{source} is not a folder; choose the folder that the Dockerfile copies from with --context"
        )
    # https://docs.docker.com/build/concepts/context/#filename-and-location
    own = dockerfile.with_name(dockerfile.name + ".dockerignore")
    file = own if own.is_file() else source / ".dockerignore"
    ignored = ignores(file.read_text() if file.is_file() else "")

    def exclude(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(source)
        return [name for name in names if ignored((inside / name).as_posix())]

    shutil.copytree(source, target, symlinks=True, ignore=exclude)


def ignores(text: str) -> Callable[[str], bool]:
    """Whether the rules of a .dockerignore exclude a path: the last rule that matches decides, and `!`
    includes."""
    rules = []
    for line in text.splitlines():
        rule = line.strip()
        if rule and not rule.startswith("#"):
            pattern = rule.lstrip("!").strip("/").removeprefix("./")
            rules.append((re.compile(_expression(pattern)), not rule.startswith("!")))

    def ignored(path: str) -> bool:
        matching = [excludes for expression, excludes in rules if expression.fullmatch(path)]
        return bool(matching) and matching[-1]

    return ignored


def _expression(pattern: str) -> str:
    """Converts a pattern to a regular expression: ** matches any folders, * and ? within one name."""
    parts = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        parts.append(
            {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
        )
    return "".join(parts) + "(?:/.*)?"
