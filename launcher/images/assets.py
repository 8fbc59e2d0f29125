"""Files that come with the package: in a checkout beside it, in a wheel within it."""

import importlib.util
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def asset(folder: str, name: str) -> Path:
    beside = _ROOT.parent / folder / name
    if beside.is_file():
        return beside
    within = _ROOT / "assets"
    return within / folder / name if (within / folder / name).is_file() else within / name


def module_file(package: str, name: str) -> Path:
    """A file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / name
