"""Whether two results can be compared, and how they differ apart from the systems measured."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import auto, Enum
from typing import Any

from analysis.cells.summary import whole
from analysis.errors import ResultsError
from analysis.results.folder import Results

CAPS = ("max_concurrent_envs", "workers_per_node", "servers")


class DifferenceCode(Enum):
    CAP_UNKNOWN = auto()
    ARRIVALS_UNKNOWN = auto()
    SETTING = auto()


@dataclass(frozen=True)
class Difference:
    """A setting that differs, or may differ, between the folders `a` and `b`."""

    code: DifferenceCode
    a: str
    b: str
    name: str = ""
    ours: Any = None
    theirs: Any = None


def differences(a: Results, b: Results) -> Iterator[Difference]:
    """Raises `ResultsError` when caps, the number of servers or the arrivals of sessions differ."""
    yield from _caps(a, b)
    yield from _arrivals(a, b)
    for name, setting in SETTINGS.items():
        ours, theirs = setting(a), setting(b)
        if ours and theirs and ours != theirs:
            yield Difference(DifferenceCode.SETTING, a.name, b.name, name, ours, theirs)


def _caps(a: Results, b: Results) -> Iterator[Difference]:
    for name in CAPS:
        ours, theirs = whole(a.caps.get(name)), whole(b.caps.get(name))
        if ours is None or theirs is None:
            yield Difference(DifferenceCode.CAP_UNKNOWN, a.name, b.name, name)
        elif ours != theirs:
            raise ResultsError(
                f"{a.folder} has {name} {ours}, {b.folder} has {theirs}: a comparison would show only "
                "this difference; compare results with the same caps"
            )


def _arrivals(a: Results, b: Results) -> Iterator[Difference]:
    if not all((one.summary["shape"] == "open").any() for one in (a, b)):
        return
    ours, theirs = (_section(one, "grid").get("arrivals") for one in (a, b))
    if not ours or not theirs:
        yield Difference(DifferenceCode.ARRIVALS_UNKNOWN, a.name, b.name)
    elif ours != theirs:
        raise ResultsError(
            f"sessions of {a.folder} arrive with --arrivals {ours}, those of {b.folder} with {theirs}: a "
            "comparison would show only this difference; compare results with the same arrivals"
        )


def _hardware(result: Results) -> str:
    return ", ".join(sorted(map(str, result.summary["hardware"].dropna().unique())))


def _section(result: Results, key: str) -> Mapping[str, Any]:
    return result.run.get(key) or {}


SETTINGS: Mapping[str, Callable[[Results], Any]] = {
    "timeout (s)": lambda one: _section(one, "grid").get("timeout"),
    "number of load nodes": lambda one: len(_section(one, "placement").get("load_nodes") or ()),
    "hardware": _hardware,
    "version of openenv-slurm": lambda one: _section(one, "versions").get("openenv-slurm"),
}
