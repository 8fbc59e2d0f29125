"""Virtual environments of their own, with packages of the environment that runs the tests."""

import importlib.metadata
import re
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path


def new_environment(folder: Path, requirements: Iterable[str] = ()) -> Path:
    """Its Python. The requirements, and what they require, are links."""
    venv.create(folder, symlinks=True)
    packages = site_packages(folder)
    for distribution in _with_dependencies(requirements):
        for file in distribution.files or ():
            top = packages / file.parts[0]
            source = Path(str(distribution.locate_file(file.parts[0])))
            if file.parts[0] not in ("..", "__pycache__") and not top.exists() and source.exists():
                top.symlink_to(source)
    return folder / "bin" / "python"


def site_packages(folder: Path) -> Path:
    return next(folder.glob("lib/python*/site-packages"))


def _with_dependencies(requirements: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    waiting, found = list(requirements), set()
    while waiting:
        match = re.match(r"[\w.-]+", waiting.pop())
        assert match is not None
        name = re.sub(r"[-_.]+", "-", match[0]).lower()
        if name not in found:
            found.add(name)
            try:
                distribution = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another platform
            yield distribution
            waiting += [each for each in distribution.requires or () if "extra ==" not in each]
