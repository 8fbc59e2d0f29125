"""The build context: a folder without what its .dockerignore excludes.

https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

import os
import posixpath
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import UsageError


@dataclass(frozen=True)
class Rules:
    """The rules of a .dockerignore, in order: an expression, and whether it excludes."""

    rules: tuple[tuple[re.Pattern[str], bool], ...]

    @property
    def has_exceptions(self) -> bool:
        return any(not excludes for _, excludes in self.rules)

    def excludes(self, path: str) -> bool:
        """The last rule that matches the path or a folder above it decides."""
        parts = path.split("/")
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        found = False
        for expression, excludes in self.rules:
            if any(expression.fullmatch(each) for each in paths):
                found = excludes
        return found


def ignores(text: str) -> Callable[[str], bool]:
    return read_rules(text).excludes


def read_rules(text: str, name: str = ".dockerignore") -> Rules:
    """Raises `UsageError`."""
    rules = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        rule = line.strip()
        if line.startswith("#") or not rule:
            continue
        pattern = posixpath.normpath(rule.removeprefix("!").strip()).lstrip("/")
        try:
            expression = re.compile(_expression(pattern), re.DOTALL)
        except re.error:
            raise UsageError(f"line {number} of {name} is not a pattern: {rule}") from None
        if pattern not in ("", "."):
            rules.append((expression, not rule.startswith("!")))
    return Rules(tuple(rules))


def _expression(pattern: str) -> str:
    """** matches any number of folders, * and ? stay within a name, [a-z] is one character."""
    pieces = re.findall(r"\*\*/?|\\.|\[\^?(?:\\.|[^\]\\])+\]|.", pattern, re.DOTALL)
    found = []
    for place, piece in enumerate(pieces):
        if piece.startswith("**"):
            found.append(".*" if place == len(pieces) - 1 else "(?:.*/)?")
        elif piece.startswith("[") and len(piece) > 1:
            found.append(piece)
        else:
            found.append({"*": "[^/]*", "?": "[^/]", "[": "["}.get(piece, re.escape(piece[-1])))
    return "".join(found)


def copy_context(source: Path, target: Path, dockerfile: Path) -> None:
    """Copies the folder, except for what .dockerignore excludes. Raises `UsageError`."""
    if not source.is_dir():
        raise UsageError(
            f"{source} is not a folder; choose the folder that the Dockerfile copies from with --context"
        )
    # https://docs.docker.com/build/concepts/context/#filename-and-location
    own = dockerfile.with_name(dockerfile.name + ".dockerignore")
    file = own if own.is_file() else source / ".dockerignore"
    rules = read_rules(file.read_text(errors="replace") if file.is_file() else "", str(file))
    target.mkdir(parents=True, exist_ok=True)
    for folder, folders, files in os.walk(source):
        inside = Path(folder).relative_to(source)
        for name in sorted(folders):
            path = (inside / name).as_posix()
            if (Path(folder) / name).is_symlink():
                folders.remove(name)
                files.append(name)
            elif not rules.excludes(path):
                (target / path).mkdir(parents=True, exist_ok=True)
            elif not rules.has_exceptions:
                folders.remove(name)
        for name in files:
            path = (inside / name).as_posix()
            ordinary = (source / path).is_symlink() or (source / path).is_file()
            if ordinary and not rules.excludes(path):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / path, target / path, follow_symlinks=False)
    _copy_modes(source, target)


def _copy_modes(source: Path, target: Path) -> None:
    for folder, _, _ in os.walk(target):
        shutil.copystat(source / Path(folder).relative_to(target), folder)
