"""The command that builds images: build."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.status import Status

from launcher.cli.display.console import err, out, say
from launcher.cli.options import flag, FOLDER, option, options
from launcher.cli.parameters import KeyValue
from launcher.errors import UsageError
from launcher.images.build import Builder, Built
from launcher.images.paths import IMAGES, images_folder
from launcher.system.signals import interruptible

build_options = options(
    option("--dockerfile", "Build the image of an OpenEnv environment from this Dockerfile, with "
           "this package's server.", FOLDER),
    option("--name", "Of an environment: the name of the image.", metavar="NAME",
           default_text="the name of the environment's folder"),
    option("--context", "Of an environment: the folder that the Dockerfile copies from.", FOLDER,
           default_text="as the environment's files suggest"),
    option("--app", "Of an environment: the environment's ASGI app.", metavar="MODULE:ATTRIBUTE",
           default_text="the app that its CMD starts"),
    option("--build-arg", "Of an environment: the value of an ARG; repeatable.", KeyValue(),
           multiple=True),
    option("--base", "The image to start from: a Docker Hub reference or a file.",
           metavar="REFERENCE|PATH",
           default_text="from Docker Hub, or built here if it cannot be reached"),
    option("--mirror", "The Debian mirror for a base that is built here.", metavar="URL",
           default_text="the mirror that apt uses on this machine"),
    option("--images folder", "The folder of the images.", FOLDER,
           default_text="~/.local/share/openenv-slurm/images", variables=["OPENENV_IMAGES"]),
    flag("--force", "Rebuild images that are up to date."),
    flag("--no-test", "Keep an image without running its test."),
)  # fmt: skip


class ImageOrFolder(click.Choice[str]):
    """One of our images, or the folder of an environment."""

    name = "image"

    def __init__(self) -> None:
        super().__init__([*IMAGES, "all"])

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> Any:
        if value in self.choices:
            return value
        if not Path(value).is_dir():
            known = ", ".join(map(str, self.choices))
            raise UsageError(f"{value!r} is neither a folder nor one of the images {known}")
        return Path(value)


@click.command()
@click.argument("images", nargs=-1, type=ImageOrFolder(), metavar="[FOLDER | IMAGES...]")
@build_options
def build(
    images: Sequence[str | Path],
    dockerfile: Path | None,
    build_arg: Sequence[tuple[str, str]],
    base: str | None,
    mirror: str | None,
    folder: Path | None,
    force: bool,
    no_test: bool,
    **of_environment: Any,
) -> None:
    """Build the Apptainer images that nodes run.

    IMAGES are server, envoy and locust, or all of them, which is the default. With FOLDER, builds the
    image of an OpenEnv environment: from its Dockerfile, or from its openenv.yaml and pyproject.toml.
    """
    from launcher.images.environment import build_environment, Environment, in_folder

    with interruptible(), closing(_Display()) as display:
        builder = Builder(folder or images_folder(), display.line, base, mirror, force, not no_test)
        folders = [image for image in images if isinstance(image, Path)]
        if dockerfile is not None or folders:
            if len(images) + (dockerfile is not None) > 1:
                raise UsageError("a build makes the image of one environment; name it with --name")
            options = {**of_environment, "arguments": dict(build_arg)}
            environment = (
                Environment(dockerfile, **options) if dockerfile else in_folder(*folders, **options)
            )
            display.done(*build_environment(environment, builder))
            return
        for name, given in of_environment.items():
            if given is not None:
                raise UsageError(f"--{name} requires FOLDER or --dockerfile PATH")
        for image in IMAGES if not images or "all" in images else dict.fromkeys(images):
            display.done(builder.image(str(image)))


class _Display:
    """On a terminal, one line with the progress of a build; elsewhere, a line when a build starts."""

    def __init__(self) -> None:
        self._status = Status("", console=err) if err.is_terminal else None
        self._started: dict[str, float] = {}

    def close(self) -> None:
        if self._status:
            self._status.stop()

    def line(self, image: str, text: str) -> None:
        if image not in self._started:
            self._started[image] = time.monotonic()
            if self._status is None:
                say(f"{image}: building")
        if self._status is not None:
            seconds = time.monotonic() - self._started[image]
            shown = text.strip()[: max(20, err.width - 30)]
            self._status.update(f"{image} {seconds:3.0f} s  [dim]{escape(shown)}[/dim]")
            self._status.start()

    def done(self, built: Built, notes: Sequence[str] = ()) -> None:
        self.close()
        for note in notes:
            say(f"{built.image.stem}: {note}")
        size = f"{built.image.stat().st_size / 1e6:.0f} MB"
        how = f"built in {built.seconds:.0f} s" if built.seconds else "up to date"
        out.print(f"{built.image}: {size}, {how}, from {built.base}")
        sys.stdout.flush()
