"""The image of any OpenEnv environment, from its Dockerfile: built with our server in it."""

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
    """An OpenEnv environment: its Dockerfile, and what cannot be read from it."""

    dockerfile: Path
    name: str | None = None
    context: Path | None = None
    app: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """What the Dockerfile copies from. OpenEnv keeps it in server/ of the environment."""
        beside = self.dockerfile.absolute().parent
        marked = any((beside.parent / mark).is_file() for mark in MARKS)
        return self.context or (beside.parent if beside.name == "server" and marked else beside)

    @property
    def image(self) -> str:
        name = self.name or self.folder.absolute().name.lower()
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} names no image; give one like my-env with --name NAME")
        return name


def build_environment(wanted: Environment, builder: Builder) -> tuple[Built, tuple[str, ...]]:
    """Builds NAME.sif; also what was left out of the Dockerfile."""
    try:
        text = wanted.dockerfile.read_text()
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not a text"
        raise UsageError(f"{wanted.dockerfile} cannot be read: {reason}") from None
    found = stages(read(text), wanted.arguments)
    definition = define(found, wanted.app)
    with working_folder() as folder:
        file = folder / f"{wanted.image}.def"
        file.write_text(definition.text)
        (folder / "runtime").mkdir()
        context.fill_runtime(folder / "runtime")
        copy_context(wanted.folder, folder / "context", wanted.dockerfile)
        built = builder.definition(
            wanted.image,
            file,
            folder,
            Base(builder.base or found[-1].image),
            {"VERSION": __version__},
            shared=("context", "runtime"),
        )
    notes = definition.notes
    if definition.app is None:
        notes += ("its CMD starts no uvicorn, so it was not tested; name its app with --app",)
    return built, notes


def copy_context(source: Path, target: Path, dockerfile: Path) -> None:
    """A copy of the folder without what .dockerignore leaves out."""
    if not source.is_dir():
        raise UsageError(
            f"{source} is not a folder; name what the Dockerfile copies from: --context"
        )
    beside = dockerfile.with_name(dockerfile.name + ".dockerignore")
    file = beside if beside.is_file() else source / ".dockerignore"
    ignored = ignores(file.read_text() if file.is_file() else "")

    def leave_out(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(source)
        return [name for name in names if ignored((inside / name).as_posix())]

    shutil.copytree(source, target, symlinks=True, ignore=leave_out)


def ignores(text: str) -> Callable[[str], bool]:
    """The rules of a .dockerignore: the last that matches a path decides, ! takes it back."""
    rules = []
    for line in text.splitlines():
        rule = line.strip()
        if rule and not rule.startswith("#"):
            pattern = rule.lstrip("!").strip("/").removeprefix("./")
            rules.append((re.compile(_expression(pattern)), not rule.startswith("!")))

    def ignored(path: str) -> bool:
        verdict = False
        for expression, leaves_out in rules:
            if expression.fullmatch(path):
                verdict = leaves_out
        return verdict

    return ignored


def _expression(pattern: str) -> str:
    """A pattern as a regular expression: ** any folders, * and ? within one name."""
    parts = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        parts.append(
            {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
        )
    return "".join(parts) + "(?:/.*)?"
