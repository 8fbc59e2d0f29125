"""The folder of an OpenEnv environment, as its author publishes it: openenv.yaml, a Dockerfile, or both."""

import ast
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from launcher.errors import UsageError
from launcher.images.dockerfile import command, read, stages
from launcher.images.dockerfile.conversion import draft
from launcher.images.dockerfile.instructions import CannotConvert
from launcher.images.dockerfile.sources import Sources

YAML = "openenv.yaml"
DOCKERFILES = (Path("server", "Dockerfile"), Path("Dockerfile"))
APP = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Project:
    """`values` are those of openenv.yaml."""

    folder: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: Path | None = None

    @property
    def name(self) -> str:
        """The name of its image."""
        return self.folder.name.lower()

    @property
    def port(self) -> int | None:
        """Raises `UsageError`."""
        port = self.values.get("port")
        if port is None or (type(port) is int and 0 < port < 65_536):
            return port
        raise UsageError(f"{self.folder / YAML}: port: {port!r} is not a port")

    @cached_property
    def app(self) -> str:
        """The app that openenv.yaml names, or that the Dockerfile starts. Raises `UsageError`."""
        app = self.values.get("app")
        if app is None:
            return self._started()
        if not isinstance(app, str) or not APP.fullmatch(app):
            raise UsageError(
                f"{self.folder / YAML}: app: {app!r} is not of the form module:attribute"
            )
        if not self._roots(app):
            module = app.partition(":")[0]
            raise UsageError(
                f"{self.folder / YAML} names the app {app}, but neither {self.folder} nor a folder "
                f"above it contains the module {module}, and it is not installed"
            )
        return f"{self.folder.name}.{app}" if self._reaches_above(app) else app

    def _reaches_above(self, app: str) -> bool:
        """Whether the app's package imports from the folder as its own parent package, as three apps of the
        catalogue do: from ..models, in server/."""
        package = app.partition(":")[0].split(".")[:-1]
        if not package or not self.folder.name.isidentifier() or self._roots(app)[0] != self.folder:
            return False
        files = self.folder.joinpath(*package).glob("*.py")
        return any(_relative_level(file) > len(package) for file in files)

    def import_path(self, app: str) -> list[Path]:
        """Where the app and its imports are found: the folder, its parent, as apps of OpenEnv's catalogue
        expect, and whichever folder above contains the app's module."""
        return list(dict.fromkeys([self.folder, self.folder.parent, *self._roots(app)[:1]]))

    def _roots(self, app: str) -> list[Path]:
        """The folders that contain the app's module; the environment's own when it is installed."""
        names = app.partition(":")[0].split(".")
        above = [self.folder, *self.folder.parents[:3]]
        found = [root for root in above if _is_module(root.joinpath(*names))]
        if not found and importlib.util.find_spec(names[0]) is not None:
            return [self.folder]
        return found

    def _started(self) -> str:
        if self.dockerfile is None:
            raise UsageError(
                f"{self.folder / YAML} names no app, and there is no Dockerfile that starts one; add "
                "the line app: server.app:app, or choose it with --app MODULE:ATTRIBUTE"
            )
        app = self._command_app(self.dockerfile)
        if app is None or not self._roots(app):
            what = f"starts {app}, which is not in {self.folder}" if app else "starts no app"
            raise UsageError(
                f"the command of {self.dockerfile} {what}; choose it with --app MODULE:ATTRIBUTE"
            )
        return app

    def _command_app(self, dockerfile: Path) -> str | None:
        """Raises `UsageError`."""
        try:
            last = stages(read(read_text(dockerfile)), {})[-1]
            made = draft(last, Sources())
        except CannotConvert as failure:
            raise located(dockerfile, failure) from None
        argv = command.argv(made.entrypoint, made.command)
        return command.find(argv, made.folder, command.scripts(last, self.folder)).app


def _relative_level(file: Path) -> int:
    """How far up the imports reach that a module needs: those within try have a replacement."""
    try:
        body = ast.parse(file.read_bytes()).body
    except SyntaxError:
        return 0
    return max((node.level for node in body if isinstance(node, ast.ImportFrom)), default=0)


def _is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def find_project(folder: Path) -> Project:
    """Raises `UsageError`."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}; choose the folder of an OpenEnv environment")
    folder = folder.resolve()
    file = folder / YAML
    dockerfile = next((folder / name for name in DOCKERFILES if (folder / name).is_file()), None)
    if not file.is_file() and dockerfile is None:
        raise UsageError(
            f"{folder} is no OpenEnv environment: it contains neither {YAML} nor a Dockerfile"
            + _hint(folder)
        )
    return Project(folder, _values(file) if file.is_file() else {}, dockerfile)


def _hint(folder: Path) -> str:
    """Names the environments in a folder of environments."""
    names = sorted(path.parent.name for path in folder.glob(f"*/{YAML}"))
    return f"; it contains those of {', '.join(names[:5])}" if names else ""


def _values(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        problem = getattr(failure, "problem", None) or "it cannot be read"
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise UsageError(f"{where} is not valid YAML: {problem}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file} must contain 'key: value' lines, such as app: server.app:app")
    return {str(key): value for key, value in content.items()}


def read_text(file: Path) -> str:
    """Raises `UsageError`."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not a text file"
        raise UsageError(f"cannot read {file}: {reason}") from None


def located(dockerfile: Path, failure: CannotConvert) -> UsageError:
    """The same with the file's name."""
    return UsageError(f"{dockerfile}:{failure.line}: cannot be converted: {failure.what}")
