"""run.json as it is read again: all that is used of it has the type that a run writes, or is missing."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.errors import ResultsError
from analysis.results.file_names import RUN

NUMBER = (int, float)
DICTS = ("caps", "grid", "placement", "machine", "versions", "limits", "search")
LISTS = ("cells", "sittings", "arguments")
CELL: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("mode", "shape"), (str,)),
    **dict.fromkeys(("batch", "steps", "repetition", "attempt"), (int,)),
    **dict.fromkeys(("wait", "arrival_rate", "max_lag"), NUMBER),
    **dict.fromkeys(("open_clients", "open_servers"), NUMBER),
    **dict.fromkeys(("lost_workers", "replaced"), (list,)),
    **dict.fromkeys(("workers", "bound"), (dict,)),
}
WORKER = dict.fromkeys(("lag_max", "clock_offset"), NUMBER)
BOUND = dict.fromkeys(("by", "evidence"), (str,))
PLACEMENT: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("processes", "load_nodes"), (list,)),
    "images": (dict,),
}
NAMES = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


def read(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What the run says, with warnings; nothing when there is no such file. Raises `ResultsError` that
    names the file and the key."""
    path = folder / RUN
    try:
        run = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, [f"{folder} has no {RUN}: caps are unknown, and validity is by rows alone"]
    except (OSError, ValueError) as failure:
        raise ResultsError(f"{path} cannot be read: {failure}") from None
    if not isinstance(run, dict):
        raise ResultsError(f"{path} is not what a run writes; move it away to go without it")
    problem = next(_problems(run), None)
    if problem is not None:
        raise ResultsError(
            f"{path} is not what a run writes: {problem}; move it away to go without it"
        )
    return run, []


def _problems(run: Mapping[str, Any]) -> Iterator[str]:
    yield from _differ("", run, dict.fromkeys(DICTS, (dict,)) | dict.fromkeys(LISTS, (list,)))
    placement = run.get("placement") or {}
    yield from _differ("placement.", placement, PLACEMENT)
    for name, within in (("placement.processes", placement), ("sittings", run)):
        for number, one in enumerate(within.get(name.rpartition(".")[2]) or []):
            yield from _differ("", {f"{name}[{number}]": one}, {f"{name}[{number}]": (dict,)})
    for number, facts in enumerate(run.get("cells") or []):
        if not isinstance(facts, dict):
            yield f"cells[{number}] is not an object"
            return
        yield from _of_cell(f"cells[{number}].", facts)


def _of_cell(where: str, facts: Mapping[str, Any]) -> Iterator[str]:
    yield from _differ(where, facts, CELL)
    yield from _differ(f"{where}bound.", facts.get("bound") or {}, BOUND)
    for name in ("lost_workers", "replaced"):
        if not all(isinstance(text, str) for text in facts.get(name) or []):
            yield f"{where}{name} is not a list of texts"
    for name, worker in (facts.get("workers") or {}).items():
        yield from _differ(f"{where}workers.", {name: worker}, {name: (dict,)})
        yield from _differ(f"{where}workers.{name}.", worker or {}, WORKER)


def _differ(
    where: str, values: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]
) -> Iterator[str]:
    """Values that are there and of another type."""
    for name, allowed in types.items():
        value = values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, allowed)):
            yield f"{where}{name} is not {NAMES[allowed[-1]]}"
