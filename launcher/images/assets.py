"""Data files of the package: in a checkout they are next to it, in a wheel inside it."""

import importlib.util
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def asset(folder: str, name: str) -> Path:
    assets = _ROOT / "assets"
    candidates = (_ROOT.parent / folder / name, assets / folder / name)
    return next((file for file in candidates if file.is_file()), assets / name)


def module_file(package: str, name: str) -> Path:
    """A file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / name
