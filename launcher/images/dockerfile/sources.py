"""What COPY and ADD copy from the build context, as paths within the build.

ADD's archives and URLs are unpacked and downloaded on this machine, because images often lack the programs.
"""

import hashlib
import os
import posixpath
import re
import shutil
import ssl
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from launcher.images.dockerfile.instructions import CannotConvert, Instruction

CONTEXT = "/mnt/context"
ADDED = "/mnt/runtime/added"
URL_SECONDS = 60


class Sources:
    """`context` is the folder without what .dockerignore excludes; `added` receives what ADD unpacks and
    downloads. Without a context, as when a definition is only looked at, nothing is checked."""

    def __init__(
        self, context: Path | None = None, added: Path | None = None, bundle: Path | None = None
    ) -> None:
        self.context, self._added, self._bundle = context, added, bundle

    def copied(self, instruction: Instruction, source: str) -> list[str]:
        inside = posixpath.normpath("/" + source).lstrip("/")
        names = self._names(instruction, inside)
        return [f"{CONTEXT}/{name}".rstrip("/") for name in names]

    def added(self, instruction: Instruction, source: str) -> list[str]:
        if re.match(r"git@|git://|https?://\S+\.git(#|\?|$)|ssh://", source):
            raise CannotConvert(
                instruction.line, f"ADD {source}, a repository; clone it with RUN git clone"
            )
        if re.match(r"https?://", source):
            return [self._download(instruction, source)]
        return [self._unpacked(instruction, place) for place in self.copied(instruction, source)]

    def _names(self, instruction: Instruction, inside: str) -> Iterator[str]:
        is_pattern = re.search(r"[*?\[]", inside) is not None
        if self.context is None:
            yield from [] if is_pattern else [inside]
        elif is_pattern:
            expression = re.compile(pattern(inside, instruction.line))
            depth = inside.count("/")
            yield from (name for name in self._walk(depth) if expression.fullmatch(name))
        elif os.path.lexists(self.context / inside):
            yield inside
        else:
            raise CannotConvert(
                instruction.line,
                f"{instruction.keyword} {inside}: the build context, without what .dockerignore "
                "excludes, does not contain it",
            )

    def _walk(self, depth: int) -> list[str]:
        """The names with `depth` slashes, sorted."""
        assert self.context is not None
        found = self.context.glob("/".join(["*"] * (depth + 1)))
        return sorted(path.relative_to(self.context).as_posix() for path in found)

    def _folder(self) -> tuple[Path, str]:
        assert self._added is not None
        number = len(list(self._added.iterdir())) if self._added.is_dir() else 0
        folder = self._added / str(number)
        folder.mkdir(parents=True)
        return folder, f"{ADDED}/{number}"

    def _unpacked(self, instruction: Instruction, place: str) -> str:
        if self.context is None or self._added is None:
            return place
        file = self.context / posixpath.relpath(place, CONTEXT)
        if not file.is_file() or not tarfile.is_tarfile(file):
            return place
        folder, inside = self._folder()
        try:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="tar")
        except (tarfile.TarError, OSError) as failure:
            raise CannotConvert(instruction.line, f"ADD {file.name}: {failure}") from None
        return inside

    def _download(self, instruction: Instruction, url: str) -> str:
        name = posixpath.basename(unquote(urlsplit(url).path))
        if not name:
            raise CannotConvert(instruction.line, f"ADD {url}, whose path names no file")
        if self._added is None:
            return f"{ADDED}/0/{name}"
        folder, inside = self._folder()
        tls = ssl.create_default_context(cafile=self._bundle) if self._bundle else None
        try:
            with (
                urllib.request.urlopen(url, timeout=URL_SECONDS, context=tls) as page,
                (folder / name).open("wb") as file,
            ):
                shutil.copyfileobj(page, file)
        except OSError as failure:
            raise CannotConvert(
                instruction.line, f"ADD {url}, which cannot be downloaded: {failure}"
            ) from None
        self._check(instruction, folder / name)
        return f"{inside}/{name}"

    def _check(self, instruction: Instruction, file: Path) -> None:
        wanted = instruction.flag("checksum")
        with file.open("rb") as data:
            found = f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
        if wanted not in (None, found):
            raise CannotConvert(instruction.line, f"ADD --checksum={wanted}; the file has {found}")


def pattern(text: str, line: int) -> str:
    """Go's filepath.Match as a regular expression: * and ? stay within a name, and names may begin with
    a dot."""
    pieces = re.findall(r"\[\^?(?:\\.|[^\]\\])+\]|\\.|.", text, re.DOTALL)
    if "[" in pieces:
        raise CannotConvert(line, f"the pattern {text}: a [ is not closed")
    return "".join(_expression(piece) for piece in pieces)


def _expression(piece: str) -> str:
    if piece.startswith("[") and len(piece) > 1:
        return piece
    return {"*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece[-1]))
