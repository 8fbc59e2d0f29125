"""The folder of an environment: its build context, its name."""

import subprocess
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.images.build import Builder
from launcher.images.definition import define
from launcher.images.dockerfile import read, stages
from launcher.images.dockerfile.sources import Sources
from launcher.images.environment import build_environment, Environment, in_folder
from tests.helpers.local import ROOT


def test_environment_has_the_folder_and_name_of_its_project(tmp_path: Path) -> None:
    server = tmp_path / "my_env" / "server"
    server.mkdir(parents=True)
    (tmp_path / "my_env" / "openenv.yaml").touch()
    environment = Environment(server / "Dockerfile")
    assert (environment.folder, environment.image) == (tmp_path / "my_env", "my_env")
    alone = Environment(tmp_path / "Dockerfile", name="x-1")
    assert (alone.folder, alone.image) == (tmp_path, "x-1")
    with pytest.raises(UsageError, match="--name NAME"):
        _ = Environment(tmp_path / "Dockerfile", name="../x").image


def project_folder(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "my env"
    (folder / "server").mkdir(parents=True)
    (folder / "server" / "app.py").touch()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_a_folder_without_dockerfile_gets_one_for_its_packages(tmp_path: Path) -> None:
    folder = project_folder(tmp_path, openenv_yaml="app: server.app:app", pyproject_toml="")
    found = in_folder(folder, name="my-env")
    assert found.generated is not None
    definition = define(stages(read(found.generated), {}), sources=Sources(folder))
    assert (definition.app, definition.started.folder) == ("server.app:app", "/app/my env")
    for line in (
        "openenv_copy '' '/app/my env' '/mnt/context'",
        "/bin/sh -c 'uv sync --no-editable'",
        'export PATH="/app/my env/.venv/bin:${PATH}"',
        "export PYTHONPATH='/app/my env:/app'",
    ):
        assert f"\n{line}\n" in definition.text
    (folder / "uv.lock").touch()
    assert "uv sync --no-editable --frozen\n" in (in_folder(folder, name="x").generated or "")
    (folder / "pyproject.toml").rename(folder / "requirements.txt")
    assert "install --no-cache --system -r requirements.txt\n" in (
        in_folder(folder, name="x").generated or ""
    )


def test_a_folder_with_a_dockerfile_is_built_from_it(tmp_path: Path) -> None:
    folder = project_folder(tmp_path, openenv_yaml="app: server.app:app")
    (folder / "server" / "Dockerfile").write_text("FROM a\n")
    found = in_folder(folder, name="x", app="a:b")
    assert (found.dockerfile, found.folder) == (folder / "server" / "Dockerfile", folder)
    assert (found.generated, found.app) == (None, "a:b")


def test_a_folder_that_does_not_tell_its_packages_is_refused(tmp_path: Path) -> None:
    folder = project_folder(tmp_path, openenv_yaml="app: server.app:app")
    with pytest.raises(UsageError, match="does not say which packages it needs; add a pyproject"):
        in_folder(folder)


@pytest.mark.parametrize(
    ("reference", "ours"),
    [
        ("ghcr.io/meta-pytorch/openenv-base:latest", True),
        ("openenv-base", True),
        ("envtorch-base:latest", True),
        ("openenv-base@sha256:00", True),
        ("ghcr.io/meta-pytorch/openenv-openspiel-base:sha-1", False),
        ("openenv-base-of-mine", False),
        ("python:3.11-slim", False),
    ],
)
def test_the_published_base_starts_in_its_folder(reference: str, ours: bool) -> None:
    """A path before the first WORKDIR is relative to it."""
    text = define(stages(read(f"FROM {reference}\nCOPY --from=x /a b\n"), {})).text
    assert ("cd '/app'\n" in text) == ours
    assert f"openenv-slurm.folder {'/app' if ours else '/'}\n" in text


def test_a_build_fails_with_the_line_of_the_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a\nRUN true\nCOPY gone /x\n")
    builder = Builder(tmp_path / "images", lambda *_: None)
    message = rf"^{tmp_path}/Dockerfile:3: cannot be converted: COPY gone: the build context"
    with pytest.raises(UsageError, match=message) as raised:
        build_environment(Environment(tmp_path / "Dockerfile", name="x"), builder)
    assert "\n" not in str(raised.value)


def test_what_a_build_left_at_home_is_found_in_a_new_home(tmp_path: Path) -> None:
    """The end of environment_server.sh, and environment_home.sh in the environment of the image."""
    containers, home, user = ROOT / "containers", tmp_path / "root", tmp_path / "user"
    for name in (".cache/browsers/chromium", ".cache/pip/x", ".julia/bin", ".bashrc"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (home / ".made").mkdir(mode=0o700)
    script = (containers / "environment_server.sh").read_text()
    script = script[
        script.index('rm -rf "$HOME/.cache/pip"') : script.index("# Remove what records")
    ]
    script = script.replace("/opt/openenv", str(tmp_path))
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(home), "runtime": str(containers)}
    environment = tmp_path / "91-environment.sh"
    subprocess.run(
        ["sh", "-euc", script],
        env={**variables, "APPTAINER_ENVIRONMENT": str(environment)},
        check=True,
    )
    assert sorted((tmp_path / "home").read_text().split()) == [
        ".cache/browsers",
        ".julia",
        ".made/",
    ]
    user.mkdir()
    mounts = tmp_path / "mounts"
    text = environment.read_text().replace("/opt/openenv", str(tmp_path))
    text = text.replace("/proc/self/mounts", str(mounts))
    for mounted, found in (
        ("", []),
        (f"tmpfs {user} tmpfs rw 0 0\n", [".cache", ".julia", ".made"]),
    ):
        mounts.write_text(mounted)
        subprocess.run(["sh", "-euc", text], env={**variables, "HOME": str(user)}, check=True)
        assert sorted(path.name for path in user.iterdir()) == found
    assert (user / ".cache/browsers/chromium").read_text() == ".cache/browsers/chromium"
    assert not (user / ".made").is_symlink()
