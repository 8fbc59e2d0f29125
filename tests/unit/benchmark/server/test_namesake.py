"""Which package an app's import of our name finds."""

import ast
import sys
from pathlib import Path

import pytest

from benchmark.server import boot, namesake
from benchmark.server.namesake import make_way, take_back

SERVER = boot.FILE.parent


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of our modules, with another package of our name before them on the path."""
    package = tmp_path / "benchmark"
    (package / "server").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "game.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(namesake, "_replaced", {})
    return [name for name in sys.modules if name.partition(".")[0] == "benchmark"]


@pytest.mark.parametrize("module", ["game", "benchmark.game", "benchmark.server", "other.app"])
def test_the_apps_package_takes_the_place_of_ours(module: str, ours: list[str]) -> None:
    make_way(module)
    assert not set(ours) & set(sys.modules)
    assert set(namesake._replaced) == set(ours)


def test_our_package_can_take_its_place_back(ours: list[str]) -> None:
    make_way("game")
    take_back()
    assert set(ours) <= set(sys.modules)


def test_our_app_keeps_our_package(ours: list[str]) -> None:
    make_way("benchmark.server.app")
    assert set(ours) <= set(sys.modules)


def test_nothing_happens_without_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    before = dict(sys.modules)
    make_way("game")
    assert sys.modules == before


def test_what_a_worker_runs_imports_nothing_of_ours_later() -> None:
    """When the app's package has taken the place of ours, such an import would fail."""
    later = []
    for file in SERVER.rglob("*.py"):
        functions = (
            node
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        for function in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmark"):
                    later.append(file.relative_to(SERVER).as_posix())
    # The server itself loads no app, and what describes one takes the place back.
    assert set(later) == {"workers/control.py", "describe.py"}
