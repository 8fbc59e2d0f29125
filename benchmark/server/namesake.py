"""Lets an app import a package of its own that has the name of ours."""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from benchmark.server.boot import PACKAGE, PACKAGE_FILE

# Kept because their functions still run. Whatever this process needs of our package must be imported
# before the app is.
_replaced: dict[str, ModuleType] = {}


def make_way(module: str) -> None:
    """For an app in `module`; ours keeps its place when the app is ours."""
    spec = PathFinder.find_spec(PACKAGE)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() == PACKAGE_FILE:
        return
    if module.startswith(f"{PACKAGE}.") and not _has(spec, module):
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        _replaced[name] = sys.modules.pop(name)


def take_back() -> None:
    """Makes our package importable again, once the app has imported its own."""
    sys.modules.update(_replaced)


def _has(spec: ModuleSpec, module: str) -> bool:
    inside = Path(*module.split(".")[1:])
    places = [Path(folder, inside) for folder in spec.submodule_search_locations or ()]
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)
