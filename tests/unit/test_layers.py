"""Every room imports only the rooms below it, so no two rooms depend on each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From top to bottom: a room may import the rooms to its right.
LAYERS = {
    "launcher": "cli experiment lifecycle checks planning sampling runtimes envoy slurm deployment "
    "images system errors",
    "analysis": "report compare scaling results cells rows errors",
    "locustfiles": "locustfile web grid session websocket",
    "benchmark/server": "beside __main__ describe workers app engine admission messages environment "
    "places settings namesake boot gpus process websocket",
}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of everything that the file imports, also within functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)


def upward(package: str, root: Path = ROOT) -> list[str]:
    """`FILE:LINE imports ROOM` for every import of a higher room, or of the package's own root."""
    rooms = LAYERS[package].split()
    found = []
    for file in sorted((root / package).rglob("*.py")):
        room = file.relative_to(root / package).parts[0].removesuffix(".py")
        for line, name in imports(file) if room in rooms else ():
            prefix = package.replace("/", ".") + "."
            if not name.startswith(prefix):
                continue
            imported = name.removeprefix(prefix).partition(".")[0]
            if imported in rooms and rooms.index(imported) < rooms.index(room):
                found.append(f"{file.relative_to(root)}:{line} imports {imported}")
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_a_room_imports_only_the_rooms_below_it(package: str) -> None:
    assert upward(package) == []


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    room = tmp_path / "launcher" / "system"
    room.mkdir(parents=True)
    (room / "process.py").write_text("def f():\n    from launcher.cli.main import main\n")
    assert upward("launcher", tmp_path) == ["launcher/system/process.py:2 imports cli"]


def test_computation_never_imports_the_wording_of_the_report() -> None:
    names = [
        f"{file.relative_to(ROOT)}:{line}"
        for room in ("rows", "cells", "results", "scaling", "compare")
        for file in (ROOT / "analysis" / room).glob("*.py")
        for line, name in imports(file)
        if name.startswith("analysis.report")
    ]
    assert names == []


def test_no_test_imports_a_test() -> None:
    names = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in (ROOT / "tests").rglob("*.py")
        for line, name in imports(file)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    ]
    assert names == []


def test_folders_and_files_stay_small() -> None:
    """No folder of the packages holds more than 16 Python files, no file more than 300 lines."""
    files = [
        file
        for package in ("analysis", "benchmark", "containers", "deploy", "launcher", "locustfiles")
        for file in (ROOT / package).rglob("*.py")
    ]
    folders = {file.parent for file in files}
    large = [folder for folder in folders if len(list(folder.glob("*.py"))) > 16]
    long = [file for file in files if len(file.read_text().splitlines()) > 300]
    assert (large, long) == ([], [])
