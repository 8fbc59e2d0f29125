"""The command that makes images: build."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from launcher.errors import UsageError
from launcher.images.paths import IMAGES, images_folder
from launcher.system.signals import interruptible

if TYPE_CHECKING:
    from launcher.images.build import Built

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.argument("images", nargs=-1, metavar="[server|envoy|locust|all]...")
@click.option(
    "--dockerfile",
    type=click.Path(path_type=Path),
    help="make the image of an OpenEnv environment from its Dockerfile, with our server in it",
)
@click.option("--name", help="what to call that image [default: the folder of the environment]")
@click.option("--context", type=click.Path(path_type=Path), help="folder that it copies from")
@click.option("--app", help="its ASGI app, as module:attribute [default: what its CMD starts]")
@click.option("--build-arg", multiple=True, metavar="KEY=VALUE", help="an ARG of the Dockerfile")
@click.option(
    "--base",
    metavar="REF|PATH",
    help="image to begin with, of Docker Hub or a file [default: of Docker Hub, else made here]",
)
@click.option("--mirror", metavar="URL", help="mirror of Debian [default: of this machine's apt]")
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    help="folder of the images [env: OPENENV_IMAGES; default: ~/.local/share/openenv-slurm/images]",
)
@click.option("--force", is_flag=True, help="build also what is up to date")
@click.option("--no-test", is_flag=True, help="do not run an image before it is kept")
def build(
    images: Sequence[str],
    dockerfile: Path | None,
    name: str | None,
    context: Path | None,
    app: str | None,
    build_arg: Sequence[str],
    base: str | None,
    mirror: str | None,
    folder: Path | None,
    force: bool,
    no_test: bool,
) -> None:
    """Make the Apptainer images that nodes run: server, envoy, locust, or all of them; or the image
    of an environment from its Dockerfile."""
    from launcher.images.build import Builder
    from launcher.images.environment import build_environment, Environment

    with interruptible(), _Display() as display:
        builder = Builder(folder or images_folder(), display.line, base, mirror, force, not no_test)
        if dockerfile is not None:
            if images:
                raise UsageError("--dockerfile makes one image: name it with --name NAME")
            arguments = dict(_pair(text) for text in build_arg)
            wanted = Environment(dockerfile, name, context, app, arguments)
            display.done(*build_environment(wanted, builder))
            return
        for option, given in (("--name", name), ("--context", context), ("--app", app)):
            if given is not None:
                raise UsageError(f"{option} goes with --dockerfile PATH")
        for image in _chosen(images):
            display.done(builder.image(image))


def _chosen(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in (*IMAGES, "all"):
            raise UsageError(f"there is no image {name!r}; there are: {', '.join(IMAGES)}, all")
    return IMAGES if not names or "all" in names else list(dict.fromkeys(names))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--build-arg {text!r} is not KEY=VALUE")
    return key, value


class _Display:
    """On a terminal one line that tells how far a build is; elsewhere a line where each begins."""

    def __init__(self) -> None:
        self._status = Status("", console=err) if err.is_terminal else None
        self._began: dict[str, float] = {}

    def __enter__(self) -> "_Display":
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def line(self, image: str, text: str) -> None:
        if image not in self._began:
            self._began[image] = time.monotonic()
            if self._status is None:
                err.print(f"{image}: building", markup=False)
        if self._status is not None:
            seconds = time.monotonic() - self._began[image]
            shown = text.strip()[: max(20, err.width - 30)]
            self._status.update(f"{image} {seconds:3.0f} s  [dim]{escape(shown)}[/dim]")
            self._status.start()

    def done(self, built: "Built", notes: Sequence[str] = ()) -> None:
        if self._status:
            self._status.stop()
        for note in notes:
            err.print(f"{built.image.stem}: {note}", markup=False)
        size = f"{built.image.stat().st_size / 1e6:.0f} MB"
        how = f"built in {built.seconds:.0f} s" if built.seconds else "up to date"
        out.print(f"{built.image}: {size}, {how}, from {built.base}", markup=False)
        sys.stdout.flush()
