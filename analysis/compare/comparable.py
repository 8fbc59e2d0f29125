"""Whether two results can be compared, and what to know of how they differ."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from analysis.errors import ResultsError
from analysis.results.folder import Results
from analysis.scaling.ceilings import whole

CAPS = ("max_concurrent_envs", "workers_per_node", "servers")


def check(a: Results, b: Results) -> list[str]:
    """Notes. Raises `ResultsError` when caps, the number of servers or the way in which sessions arrive
    differ."""
    return [*_caps(a, b), *_arrivals(a, b), *_settings(a, b)]


def _caps(a: Results, b: Results) -> list[str]:
    notes = []
    for name in CAPS:
        ours, theirs = whole(a.caps.get(name)), whole(b.caps.get(name))
        if ours is None or theirs is None:
            notes.append(f"{name} is not known of both: they may differ in it")
        elif ours != theirs:
            raise ResultsError(
                f"{a.folder} has {name} {ours}, {b.folder} has {theirs}: a comparison would show that "
                "and nothing else; compare results with the same caps"
            )
    return notes


def _arrivals(a: Results, b: Results) -> list[str]:
    if not all((one.summary["shape"] == "open").any() for one in (a, b)):
        return []
    ours, theirs = (_within(one, "grid").get("arrivals") for one in (a, b))
    if not ours or not theirs:
        return ["how sessions arrive is not known of both: they may differ in it"]
    if ours != theirs:
        raise ResultsError(
            f"sessions of {a.folder} arrive by --arrivals {ours}, those of {b.folder} by {theirs}: a "
            "comparison would show that and nothing else; compare results with the same arrivals"
        )
    return []


def _settings(a: Results, b: Results) -> Iterator[str]:
    """What differs besides the systems, as far as it is known of both."""
    for name, of in SETTINGS.items():
        ours, theirs = of(a), of(b)
        if ours and theirs and ours != theirs:
            yield f"{name} differs: {ours} in {a.name}, {theirs} in {b.name}"


def _hardware(result: Results) -> str:
    return ", ".join(sorted(map(str, result.summary["hardware"].dropna().unique())))


def _within(result: Results, key: str) -> Mapping[str, Any]:
    return result.run.get(key) or {}


SETTINGS: Mapping[str, Callable[[Results], Any]] = {
    "timeout (s)": lambda one: _within(one, "grid").get("timeout"),
    "number of load nodes": lambda one: len(_within(one, "placement").get("load_nodes") or ()),
    "hardware": _hardware,
    "version of openenv-slurm": lambda one: _within(one, "versions").get("openenv-slurm"),
}
