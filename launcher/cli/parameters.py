"""Types of the values on the command line: Click converts, checks and completes them."""

import math
import re
from typing import Any, TYPE_CHECKING
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

from launcher.lifecycle import registry

Context = click.Context | None
Parameter = click.Parameter | None

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only in later versions of Click

UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


class Number(click.FloatRange):
    name, noun = "number", "a number"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            low = f"{'above' if self.min_open else 'from'} {_plain(self.min)}"
            high = "" if self.max is None else f" to {_plain(self.max)}"
            self.fail(f"{value!r} is not {self.noun} {low}{high}", param, ctx)
        return number


class Integer(Number):
    name, noun = "integer", "a whole number"
    _number_class = int  # type: ignore[assignment]  # as in click.IntRange


class Seconds(Number):
    name = "seconds"


def _plain(bound: float | None) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


class CommaSeparated(ParamType):
    """A tuple of one or more distinct values of another type."""

    def __init__(self, item: ParamType) -> None:
        self.item, self.name = item, f"{item.name},..."

    def convert(self, value: Any, param: Parameter, ctx: Context) -> tuple[Any, ...]:
        parts = value.split(",") if isinstance(value, str) else map(str, value)
        words = [word for part in parts if (word := part.strip())]
        values = tuple(self.item.convert(word, param, ctx) for word in words)
        if not values:
            self.fail("it is empty; give one or more values, separated by commas", param, ctx)
        for word, each in zip(words, values, strict=True):
            if values.count(each) > 1:
                self.fail(f"it contains {word} more than once", param, ctx)
        return values


class Size(ParamType):
    """Bytes, written as Slurm writes sizes: 64G; without a unit, MiB."""

    name = "size"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> int:
        parts = re.fullmatch(r"(\d+)([KMGT]?)B?", value, re.IGNORECASE)
        if not parts or not int(parts[1]):
            self.fail(f"{value!r} is not a size such as 64G", param, ctx)
        return int(parts[1]) << UNITS[parts[2].upper() or "M"]


class KeyValue(ParamType):
    name = "key=value"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> tuple[str, str]:
        key, equals, content = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form KEY=VALUE", param, ctx)
        return key, content


class ServerURL(ParamType):
    """An http:// or ws:// URL, as the load uses it: http, with a port, without a trailing slash."""

    name = "url"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> str:
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            self.fail(
                f"{value!r} is not a URL, or its port is not a number up to 65535", param, ctx
            )
        if parts.scheme not in ("http", "ws") or not parts.hostname:
            hint = "; TLS is not supported" if parts.scheme in ("https", "wss") else ""
            self.fail(f"{value!r} is not an http:// or ws:// URL{hint}", param, ctx)
        netloc = parts.netloc if port is not None else f"{parts.netloc.removesuffix(':')}:80"
        return f"http://{netloc}{parts.path.rstrip('/')}"


class DeploymentName(ParamType):
    """Completed with the names of this user's deployments."""

    name = "name"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = (known.rundir.name for known in registry.all_known())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
