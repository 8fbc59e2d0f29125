"""Folders of environments: the app, the port and the import path of each, and what is wrong with others."""

import sys
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.images.project import find_project, Project


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def project(tmp_path: Path, **files: str) -> Project:
    names = {"yaml": "openenv.yaml", "docker": "server/Dockerfile", "app": "server/app.py"}
    folder = tmp_path / "envs" / "my_env"
    return find_project(write(folder, {names[key]: text for key, text in files.items()}))


def test_openenv_yaml_names_app_and_port(tmp_path: Path) -> None:
    found = project(tmp_path, yaml="name: my\napp: server.app:app\nport: 8004\n", app="")
    assert (found.app, found.port, found.name) == ("server.app:app", 8004, "my_env")
    assert found.import_path(found.app) == [found.folder, found.folder.parent]


@pytest.mark.parametrize("app", ["my_env.server.app:app", "envs.my_env.server.app:app"])
def test_an_app_may_be_named_from_a_folder_above(app: str, tmp_path: Path) -> None:
    found = project(tmp_path, yaml=f"app: {app}\n", app="")
    assert found.app == app
    paths = found.import_path(app)
    assert paths[:2] == [found.folder, found.folder.parent]
    assert paths[-1] == (tmp_path if app.startswith("envs") else tmp_path / "envs")


@pytest.mark.parametrize(
    ("imports", "app"),
    [
        ("from ..models import A\n", "my_env.server.app:app"),
        ("from .models import A\n", "server.app:app"),
        ("try:\n    from ..models import A\nexcept ImportError:\n    A = 1\n", "server.app:app"),
        ("this is no Python\n", "server.app:app"),
    ],
)
@pytest.mark.parametrize("name", ["app", "environment"])
def test_an_app_that_imports_from_above_is_part_of_its_folder(
    name: str, imports: str, app: str, tmp_path: Path
) -> None:
    write(tmp_path / "envs/my_env/server", {"app.py": "", f"{name}.py": imports})
    (tmp_path / "envs/my_env/openenv.yaml").write_text("app: server.app:app\n")
    assert find_project(tmp_path / "envs/my_env").app == app


def test_an_installed_app_needs_no_file(tmp_path: Path) -> None:
    found = project(tmp_path, yaml="app: benchmark.server.app:app\n")
    assert found.app == "benchmark.server.app:app"


@pytest.mark.parametrize(
    "command",
    [
        'CMD ["sh", "-c", "cd /app/env && uvicorn server.app:app --port 8000"]',
        "CMD gunicorn -k uvicorn.workers.UvicornWorker my_env.server.app:app",
        'CMD ["/app/server/start.sh"]',
    ],
)
@pytest.mark.parametrize("yaml", [None, "name: my_env\n"])
def test_without_an_app_the_command_of_the_dockerfile_tells_it(
    command: str, yaml: str | None, tmp_path: Path
) -> None:
    write(tmp_path / "envs/my_env", {"server/start.sh": "x &\nuvicorn server.app:app\n"})
    files = {} if yaml is None else {"yaml": yaml}
    found = project(tmp_path, docker=f"FROM a\n{command}\n", app="", **files)
    assert found.app.endswith("server.app:app")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"app": ""}, "my_env is no OpenEnv environment: it contains neither openenv.yaml nor"),
        ({"yaml": ""}, "openenv.yaml must contain 'key: value' lines"),
        ({"yaml": "- a\n"}, "openenv.yaml must contain 'key: value' lines"),
        ({"yaml": "a: 1\nb: [\n"}, r"openenv\.yaml:3 is not valid YAML: "),
        ({"yaml": "a: \x07\n"}, r"openenv\.yaml is not valid YAML: "),
        ({"yaml": "name: x\n"}, "openenv.yaml names no app, and there is no Dockerfile"),
        ({"yaml": "app: server\n"}, "app: 'server' is not of the form module:attribute"),
        ({"yaml": "app: [a]\n"}, "is not of the form module:attribute"),
        (
            {"yaml": "app: gone.app:app\n"},
            "names the app gone.app:app, but neither .* nor a folder",
        ),
        ({"docker": "FROM a\n"}, "Dockerfile starts no app; choose it with --app"),
        ({"docker": "FROM a\nCMD uvicorn gone:app\n"}, "starts gone:app, which is not in"),
        ({"docker": "FROM a\nNOT x\n"}, r"Dockerfile:2: cannot be converted: the instruction NOT"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        _ = project(tmp_path, **files).app
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("port", ["0", "65536", "many", "yes", "1.5"])
def test_a_port_that_is_none_is_refused(port: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"openenv\.yaml: port: .* is not a port"):
        _ = project(tmp_path, yaml=f"port: {port}\n").port


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone does not exist; choose the folder"):
        find_project(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is not a folder; choose the folder"):
        find_project(tmp_path / "file")


def test_a_folder_of_environments_names_those_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"one/openenv.yaml": "", "two/openenv.yaml": ""})
    with pytest.raises(
        UsageError, match=r"no OpenEnv environment.*; it contains those of one, two"
    ):
        find_project(tmp_path)


def test_reading_a_folder_imports_nothing_of_it(tmp_path: Path) -> None:
    found = project(tmp_path, yaml="app: server.app:app\n", app="raise SystemExit\n")
    assert found.app == "server.app:app"
    assert "server.app" not in sys.modules
