"""Builds images: chooses a base, skips images that are up to date, replaces an image only when its build
succeeded."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import __version__
from launcher.errors import UsageError
from launcher.images import apptainer, context, host, labels, mirror, sif
from launcher.images.apptainer import BuildFailed
from launcher.images.assets import asset
from launcher.images.causes import Cause
from launcher.images.dockerfile.draft import PUBLISHED_BASE
from launcher.images.paths import image_path

OPENENV_BASE = "openenv-base"
# Receives the name of an image and a line of its build's output.
Watch = Callable[[str, str], None]


@dataclass(frozen=True)
class Base:
    """The image that a build starts from: a reference in a registry, or a file on this machine."""

    reference: str

    @property
    def file(self) -> Path | None:
        path = Path(self.reference).absolute()
        return path if self.reference.endswith(".sif") or path.exists() else None

    @property
    def identity(self) -> str:
        return sif.digest(self.file) if self.file else self.reference

    def arguments(self, folder: Path) -> dict[str, str]:
        """The build arguments. A file is linked into the build's folder, so that no path of this machine
        ends up in the new image."""
        if self.file is None:
            return {"BOOTSTRAP": "docker", "BASE": self.reference.removeprefix("docker://")}
        (folder / "base.sif").unlink(missing_ok=True)
        (folder / "base.sif").symlink_to(self.file)
        return {"BOOTSTRAP": "localimage", "BASE": "base.sif"}


@dataclass(frozen=True)
class Built:
    """`seconds` is 0 when the image was up to date."""

    image: Path
    base: str
    seconds: float


@dataclass(frozen=True)
class Builder:
    folder: Path
    watch: Watch
    base: str | None = None
    mirror: str | None = None
    force: bool = False
    test: bool = True

    def image(self, name: str) -> Built:
        """Builds server, envoy or locust. Its base is the chosen one, one that was built here before,
        the one on Docker Hub, or, when that cannot be reached, one that is built here."""
        base = Base(self.base) if self.base else self._own_base()
        try:
            return self._image(name, base or Base(hub_reference(name)))
        except BuildFailed as failure:
            if base or failure.cause is not Cause.REGISTRY:
                raise
            self.watch(name, "Docker Hub cannot be reached from here; building a Debian base")
            base = self._own_base(build=True)
            assert base is not None
            return self._image(name, base)

    def _image(self, name: str, base: Base) -> Built:
        with working_folder() as folder:
            definition = context.fill(name, folder)
            stamps = {"VERSION": __version__, "COMMIT": context.commit()}
            return self.definition(name, definition, folder, base, stamps)

    def definition(
        self,
        name: str,
        definition: Path,
        folder: Path,
        base: Base,
        arguments: Mapping[str, str],
        shared: Sequence[str] = (),
    ) -> Built:
        """Builds a definition in the folder of its files, unless its image is up to date. The build
        sees the `shared` subfolders at /mnt."""
        image = image_path(name, self.folder)
        sources = context.sources_digest(folder, base.identity)
        if not self.force and built_from(image, sources):
            return Built(image, base.reference, 0)
        started = time.monotonic()
        arguments = {**base.arguments(folder), **arguments, "SOURCES": sources}
        self._build(image, definition, folder, arguments, shared)
        return Built(image, base.reference, time.monotonic() - started)

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
            settings = host.read(private, self._mirror())
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

    def environment_base(self, reference: str) -> Base:
        """The base of an environment whose Dockerfile starts from `reference`: the chosen one, or that; the
        published base of OpenEnv's environments is built here."""
        chosen = self.base or reference
        if not PUBLISHED_BASE.search(chosen):
            return Base(chosen)
        return Base(str(replace(self, base=None, force=False).image(OPENENV_BASE).image))

    def _mirror(self) -> str | None:
        with suppress(UsageError):
            return self.mirror or mirror.find_mirror()
        return None

    def _own_base(self, *, build: bool = False) -> Base | None:
        """The base that is built here; None if it is out of date and `build` is false."""
        image = image_path("base", self.folder)
        with working_folder() as folder:
            definition = context.fill("base", folder)
            sources = context.sources_digest(folder, "")
            if build:
                source = self.mirror or mirror.find_mirror()
                self._build(image, definition, folder, {"MIRROR": source, "SOURCES": sources})
        return Base(str(image)) if build or built_from(image, sources) else None


def hub_reference(name: str) -> str:
    default = re.search(r"^ *BASE=(\S+)$", asset("containers", f"{name}.def").read_text(), re.M)
    assert default is not None
    return default[1]


def built_from(image: Path, sources: str) -> bool:
    try:
        return sif.labels(image).get(labels.SOURCES) == sources
    except sif.NotAnImage:
        return False


@contextmanager
def working_folder() -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory(prefix="openenv-build-") as folder:
            yield Path(folder)
    except OSError as failure:
        where = failure.filename or tempfile.gettempdir()
        raise BuildFailed(
            f"{where}: {failure.strerror}; set TMPDIR to a folder with enough space"
        ) from None


@contextmanager
def draft(image: Path) -> Iterator[Path]:
    """A file next to the image that replaces it if no exception occurs."""
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".draft", f".{image.stem}-", image.parent)
    except OSError as failure:
        raise UsageError(
            f"cannot write images to {image.parent}: {failure.strerror}; choose another folder "
            "with --images DIR"
        ) from None
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.rename(image)
    finally:
        unfinished.unlink(missing_ok=True)
