"""Files that come with the package: in a checkout beside it, in a wheel within it."""

from pathlib import Path

_ROOT = Path(__file__).parent


def asset(folder: str, name: str) -> Path:
    beside = _ROOT.parent / folder / name
    return beside if beside.is_file() else _ROOT / "assets" / name
