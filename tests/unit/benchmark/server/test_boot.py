"""What a Python environment needs to run a server."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from benchmark.server import boot
from launcher.runtimes.probe import problem_of_python
from tests.helpers.environments import new_environment, site_packages

ROOT = Path(__file__).parents[4]


def test_the_required_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(boot.REQUIRED) <= set(project["dependencies"])
    servers = (ROOT / "containers/requirements-server.in").read_text().split()
    assert sorted(re.split(">", each)[0] for each in boot.REQUIRED) == sorted(servers)
    assert project["requires-python"] == ">=" + ".".join(map(str, boot.PYTHON))


def test_this_environment_lacks_nothing() -> None:
    assert boot.find_problem() == ""


def test_what_an_environment_lacks_is_named_with_the_command_that_installs_it(
    tmp_path: Path,
) -> None:
    present = [each for each in boot.REQUIRED if not each.startswith(("uvicorn", "httptools"))]
    python = new_environment(tmp_path, present)
    info = site_packages(tmp_path) / "uvicorn-0.30.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: uvicorn\nVersion: 0.30.6\n")
    expected = (
        "it lacks uvicorn>=0.54 (it has 0.30.6), httptools>=0.6, which the server needs; run: "
        f"{python} -m pip install 'uvicorn>=0.54' 'httptools>=0.6'"
    )
    assert problem_of_python(python) == expected


def test_what_is_no_python_is_named(tmp_path: Path) -> None:
    assert (
        problem_of_python(tmp_path) == "it is a folder; give the program in it, such as bin/python"
    )
    assert problem_of_python(tmp_path / "python") == "it does not exist"
    (tmp_path / "python").touch()
    assert problem_of_python(tmp_path / "python") == "it cannot be run"
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho some words >&2; exit 3\n")
    other.chmod(0o755)
    assert problem_of_python(other) == "it cannot run boot.py --check: some words"


@pytest.mark.parametrize("version", ["(3, 10, 13)", "(3, 8, 18)"])
def test_an_older_python_is_named(version: str) -> None:
    code = (
        f"import sys; sys.version_info = {version}; sys.argv = ['boot.py', '--check']\n"
        f"import runpy; runpy.run_path({str(boot.FILE)!r}, run_name='__main__')"
    )
    done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=True)
    older = ".".join(version.strip("()").split(", ")[:2])
    assert done.stdout == f"it is Python {older}, and the server needs 3.11 or newer"
