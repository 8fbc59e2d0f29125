"""Options that several commands share, and how their values are resolved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from launcher.errors import UsageError
from launcher.experiment.grid import numbers, parse_url
from launcher.lifecycle import registry

url_option = click.option(
    "--url",
    envvar="OPENENV_URL",
    help="where sessions go [env: OPENENV_URL; default: openenv-connection.env in this folder]",
)


load_workers_option = click.option(
    "--load-workers",
    metavar="N",
    help="Locust processes that make the load, on the deployment's client nodes where it has some, "
    "else here [default: one a core, at least 2; more where their descriptors are too few]",
)


def choice(text: str, option: str, of: Sequence[str]) -> str:
    """Raises `UsageError`."""
    if text not in of:
        raise UsageError(f"{option} {text!r} is none of {', '.join(of)}")
    return text


def one(text: str | None, option: str, kind: Any, low: float, high: float) -> Any:
    return None if text is None else numbers(text, option, kind, low, high)[0]


def find_load_workers(text: str | None) -> int | None:
    chosen = one(text, "--load-workers", int, 1, 4096)
    return None if chosen is None else int(chosen)


def find_url(url: str | None) -> str:
    if url is None:
        connection = registry.connection(Path())
        if connection is None:
            raise UsageError("where to? give --url, or run `launcher up` in this folder first")
        url = connection["OPENENV_URL"]
    return parse_url(url)
