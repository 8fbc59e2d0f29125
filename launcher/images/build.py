"""Makes images: finds a base, skips what is up to date, builds into a draft, puts it in place."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher import __version__
from launcher.errors import UsageError
from launcher.images import apptainer, context, host, mirror, sif
from launcher.images.apptainer import BuildFailed
from launcher.images.assets import asset
from launcher.images.paths import image_path

SOURCES_LABEL = "openenv-slurm.sources"
Watch = Callable[[str, str], None]
"""Told the image and a line of its build."""


@dataclass(frozen=True)
class Base:
    """What an image begins as: a reference of a registry, or an image of this machine."""

    reference: str

    @property
    def file(self) -> Path | None:
        path = Path(self.reference).absolute()
        return path if self.reference.endswith(".sif") or path.exists() else None

    @property
    def identity(self) -> str:
        return sif.digest(self.file) if self.file else self.reference

    def arguments(self, folder: Path) -> dict[str, str]:
        """Build arguments. An image is named by a link in the build's folder, so that no path of
        this machine stands in what is made from it."""
        if self.file is None:
            return {"BOOTSTRAP": "docker", "BASE": self.reference.removeprefix("docker://")}
        (folder / "base.sif").unlink(missing_ok=True)
        (folder / "base.sif").symlink_to(self.file)
        return {"BOOTSTRAP": "localimage", "BASE": "base.sif"}


@dataclass(frozen=True)
class Built:
    image: Path
    base: str
    seconds: float
    """0 when the image was up to date."""


@dataclass(frozen=True)
class Builder:
    """How images are built: where they go, from which base, and who watches."""

    folder: Path
    watch: Watch
    base: str | None = None
    mirror: str | None = None
    force: bool = False
    test: bool = True

    def image(self, name: str) -> Built:
        """Builds server, envoy or locust; from Docker Hub, or where that cannot be reached from a
        base that is made here."""
        given = Base(self.base) if self.base else self._kept_base()
        try:
            return self._image(name, given or Base(hub_reference(name)))
        except BuildFailed as failure:
            if given or not failure.unreachable:
                raise
            self.watch(name, "Docker Hub cannot be reached from here: making a base of Debian")
            return self._image(name, self._made_base())

    def _image(self, name: str, base: Base) -> Built:
        with working_folder() as folder:
            definition = context.fill(name, folder)
            labels = {"VERSION": __version__, "COMMIT": context.commit()}
            return self.definition(name, definition, folder, base, labels)

    def definition(
        self,
        name: str,
        definition: Path,
        folder: Path,
        base: Base,
        arguments: Mapping[str, str],
        shared: Sequence[str] = (),
    ) -> Built:
        """Builds a definition in the folder of its files, unless its image is up to date. What is
        `shared` of that folder is at /mnt within the build."""
        image = image_path(name, self.folder)
        sources = context.sources_digest(folder, base.identity)
        if not self.force and made_from(image, sources):
            return Built(image, base.reference, 0)
        began = time.monotonic()
        given = {**base.arguments(folder), **arguments, "SOURCES": sources}
        self._build(image, definition, folder, given, shared)
        return Built(image, base.reference, time.monotonic() - began)

    def _build(
        self,
        image: Path,
        definition: Path,
        folder: Path,
        arguments: Mapping[str, str],
        shared: Sequence[str] = (),
    ) -> None:
        apptainer.check_installed()
        with working_folder() as private, draft(image) as unfinished:
            settings = host.read(private)
            for name in shared:
                settings.bind(folder / name, name)
            argv = apptainer.build_argv(
                unfinished,
                definition,
                arguments,
                settings.binds,
                fakeroot=os.geteuid() != 0,
                test=self.test,
            )
            apptainer.run(
                argv, folder, settings.environment, lambda line: self.watch(image.stem, line)
            )

    def _kept_base(self) -> Base | None:
        """The base that an earlier build made here, as long as its definition is the same."""
        kept = image_path("base", self.folder)
        with working_folder() as folder:
            context.fill("base", folder)
            sources = context.sources_digest(folder, "")
        return Base(str(kept)) if made_from(kept, sources) else None

    def _made_base(self) -> Base:
        source = self.mirror or mirror.find_mirror()
        image = image_path("base", self.folder)
        with working_folder() as folder:
            definition = context.fill("base", folder)
            sources = context.sources_digest(folder, "")
            self._build(image, definition, folder, {"MIRROR": source, "SOURCES": sources})
        return Base(str(image))


def hub_reference(name: str) -> str:
    """The base that a definition names by default."""
    found = re.search(r"^ *BASE=(\S+)$", asset("containers", f"{name}.def").read_text(), re.M)
    assert found is not None
    return found[1]


def made_from(image: Path, sources: str) -> bool:
    try:
        return sif.labels(image).get(SOURCES_LABEL) == sources
    except sif.NotAnImage:
        return False


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder for a while, that only the caller can read."""
    try:
        with tempfile.TemporaryDirectory(prefix="openenv-build-") as folder:
            yield Path(folder)
    except OSError as failure:
        where = failure.filename or tempfile.gettempdir()
        raise BuildFailed(
            f"{where}: {failure.strerror}; name a folder with room in TMPDIR, or see to this one"
        ) from None


@contextmanager
def draft(image: Path) -> Iterator[Path]:
    """A file beside the image that takes its place when all went well."""
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".draft", f".{image.stem}-", image.parent)
    except OSError as failure:
        raise UsageError(
            f"no image can be written to {image.parent}: {failure.strerror}; "
            "choose another folder with --images DIR"
        ) from None
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.rename(image)
    finally:
        unfinished.unlink(missing_ok=True)
