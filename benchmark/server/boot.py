"""`python -P boot.py MODULE ARGUMENTS...` runs `main` of a module of this package, in any Python environment.

It finds the package beside itself, so that nothing else which is installed there becomes importable.
`python boot.py --check` prints why a Python environment cannot run it, also one of an older Python.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from pathlib import Path

FILE = Path(__file__).resolve()
PACKAGE = "benchmark"
PACKAGE_FILE = FILE.parents[1] / "__init__.py"
PYTHON = (3, 11)
# The packages that a server needs, as in pyproject.toml.
REQUIRED = (
    *("fastapi>=0.115", "uvicorn>=0.54", "uvloop>=0.21", "httptools>=0.6", "websockets>=15"),
    *("orjson>=3.10", "pydantic>=2.10", "psutil>=6", "prometheus-client>=0.21"),
)


def main() -> None:
    module = sys.argv.pop(1)
    if module == "--check":
        sys.stdout.write(find_problem())
        return
    provide_package()
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    sys.exit(found.main())


def find_problem() -> str:
    """What this Python environment lacks, and what to do; "" if it lacks nothing."""
    if sys.version_info < PYTHON:
        return "it is Python {}.{}, and the server needs 3.11 or newer".format(*sys.version_info)
    found = {requirement: _found(requirement) for requirement in REQUIRED}
    lacking = {
        requirement: f" (it has {version})" if version else ""
        for requirement, version in found.items()
        if _numbers(version) < _numbers(requirement.partition(">=")[2])
    }
    if not lacking:
        return ""
    install = shlex.join([sys.executable, "-m", "pip", "install", *lacking])
    texts = map("".join, lacking.items())
    return f"it lacks {', '.join(texts)}, which the server needs; run: {install}"


def _found(requirement: str) -> str:
    try:
        return importlib.metadata.version(requirement.partition(">=")[0])
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def provide_package() -> None:
    spec = importlib.util.spec_from_file_location(
        PACKAGE, PACKAGE_FILE, submodule_search_locations=[str(PACKAGE_FILE.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
