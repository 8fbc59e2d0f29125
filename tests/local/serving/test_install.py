"""The installed wheel behaves like the checkout."""

import importlib.util
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.local import new_address, ROOT

TIMEOUT = 120


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Standard output of a command that succeeds."""
    done = subprocess.run(
        argv, cwd=cwd, env=env, timeout=TIMEOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout contains no build files."""
    copy = tmp_path_factory.mktemp("copy")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    # Nothing is downloaded, because the build backend is installed.
    here = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "build", "--wheel", *here, "--outdir", copy / "dist", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel and the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    programs = folder / "bin"
    pip = (programs / "python", "-m", "pip", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    # A folder that a .pth file adds is last on the path, and its own .pth files are not read, so
    # the editable checkout stays out.
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return programs


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A foreign folder with a package of the same name as one of ours."""
    package = tmp_path / "work" / "benchmark"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the wrong benchmark')\n")
    return package.parent


def test_wheel_contains_the_configuration_of_envoy(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        packed = content.read("launcher/assets/envoy.yaml.j2")
    assert packed == (ROOT / "envoy" / "envoy.yaml.j2").read_bytes()


def test_installed_wheel_serves_from_a_folder_with_a_package_of_the_same_name(
    installed: Path, decoy: Path, mark: dict[str, str], tmp_path: Path
) -> None:
    where = "import launcher; print(launcher.__file__)"
    imported = Path(run(installed / "python", "-c", where, cwd=decoy, env=mark).strip())
    assert imported.is_relative_to(installed.parent)

    up = ["up", "--local", "--nodes", "3", "--local-address", new_address()]
    up += ["--name", "wheel", "--dir", str(tmp_path / "deployment")]
    up += ["--", "sh", "-c", 'curl -s "$OPENENV_URL/health"; echo $NUM_WORKERS']
    printed = run(installed / "launcher", *up, cwd=decoy, env=mark)
    assert printed == '{"status":"healthy"}2\n'


def test_app_can_be_imported_from_the_checkout(mark: dict[str, str]) -> None:
    program = "from benchmark.server.app import app; print('OK')"
    assert run(sys.executable, "-c", program, cwd=ROOT, env=mark) == "OK\n"
