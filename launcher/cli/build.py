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
    option("--name", "With --dockerfile: the name of the image.", metavar="NAME",
           default_text="the name of the environment's folder"),
    option("--context", "With --dockerfile: the folder that the Dockerfile copies from.", FOLDER,
           default_text="as the environment's files suggest"),
    option("--app", "With --dockerfile: the environment's ASGI app.", metavar="MODULE:ATTRIBUTE",
           default_text="the app that its CMD starts"),
    option("--build-arg", "With --dockerfile: the value of an ARG; repeatable.", KeyValue(),
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


@click.command()
@click.argument("images", nargs=-1, type=click.Choice([*IMAGES, "all"]))
@build_options
def build(
    images: Sequence[str],
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

    Without IMAGES, builds all of them: server, envoy and locust. With --dockerfile, builds the image
    of one OpenEnv environment.
    """
    from launcher.images.environment import build_environment, Environment

    with interruptible(), closing(_Display()) as display:
        builder = Builder(folder or images_folder(), display.line, base, mirror, force, not no_test)
        if dockerfile is not None:
            if images:
                raise UsageError("--dockerfile builds one image; name it with --name NAME")
            environment = Environment(dockerfile, **of_environment, arguments=dict(build_arg))
            display.done(*build_environment(environment, builder))
            return
        for name, given in of_environment.items():
            if given is not None:
                raise UsageError(f"--{name} requires --dockerfile PATH")
        for image in IMAGES if not images or "all" in images else dict.fromkeys(images):
            display.done(builder.image(image))


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
