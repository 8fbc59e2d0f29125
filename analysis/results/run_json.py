"""Reads run.json, and checks the types of everything that the analysis uses."""

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
NAMES = {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "an object"}


def read(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Returns the content and warnings; an empty content without the file. Raises `ResultsError`, which
    names the file and the key, for a value of another type than a run writes."""
    path = folder / RUN
    try:
        run = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, [
            f"{folder} has no {RUN}: caps are unknown, and validity is judged by the rows alone"
        ]
    except (OSError, ValueError) as failure:
        raise ResultsError(f"{path} cannot be read: {failure}") from None
    problem = next(_problems(run), None) if isinstance(run, dict) else "it is not an object"
    if problem is not None:
        raise ResultsError(f"{path} was not written by a run: {problem}; move it away to ignore it")
    return run, []


def _problems(run: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong_types("", run, dict.fromkeys(DICTS, (dict,)) | dict.fromkeys(LISTS, (list,)))
    placement = run.get("placement") or {}
    yield from _wrong_types("placement.", placement, PLACEMENT)
    lists = {name: run.get(name) for name in ("sittings", "cells")}
    for name, values in ({"placement.processes": placement.get("processes")} | lists).items():
        for number, one in enumerate(values or []):
            if not isinstance(one, dict):
                yield f"{name}[{number}] is not an object"
                return
    for number, facts in enumerate(run.get("cells") or []):
        yield from _cell_problems(f"cells[{number}].", facts)


def _cell_problems(where: str, facts: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong_types(where, facts, CELL)
    yield from _wrong_types(f"{where}bound.", facts.get("bound") or {}, BOUND)
    for name in ("lost_workers", "replaced"):
        if not all(isinstance(text, str) for text in facts.get(name) or []):
            yield f"{where}{name} is not a list of strings"
    for name, worker in (facts.get("workers") or {}).items():
        yield from _wrong_types(f"{where}workers.", {name: worker}, {name: (dict,)})
        yield from _wrong_types(f"{where}workers.{name}.", worker or {}, WORKER)


def _wrong_types(
    where: str, values: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]
) -> Iterator[str]:
    for name, allowed in types.items():
        value = values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, allowed)):
            yield f"{where}{name} is not {NAMES[allowed[-1]]}"
