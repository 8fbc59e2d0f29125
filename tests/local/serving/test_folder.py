"""`launcher up --local FOLDER`: the folder of an environment as its author publishes it."""

import shutil
from pathlib import Path

import pytest
from openenv.core import GenericEnvClient

from tests.helpers.local import assert_one_line, deployed, launch, ROOT

# As in OpenEnv's catalogue: imports by the folder's own name, and relative to the folder.
APP = """\
import helpers_of_the_folder
from my_env.counting import asynchronous as app
with open("openenv.yaml") as file:
    assert "my_env" in file.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my_env"
    (folder / "server").mkdir(parents=True)
    (folder / "openenv.yaml").write_text("name: my_env\napp: server.app:app\nport: 8123\n")
    (folder / "server" / "app.py").write_text(APP)
    (folder / "helpers_of_the_folder.py").touch()
    shutil.copy(ROOT / "tests/helpers/apps/counting.py", folder)
    return folder


@pytest.mark.parametrize("named_by", ["openenv.yaml", "Dockerfile"])
def test_a_folder_is_served_on_its_port_with_its_imports(named_by: str, folder: Path) -> None:
    if named_by == "Dockerfile":
        (folder / "openenv.yaml").write_text("name: my_env\nport: 8123\n")
        (folder / "server" / "Dockerfile").write_text(
            'FROM a\nCMD ["sh", "-c", "cd /app/env && uvicorn server.app:app"]\n'
        )
    options = ("--nodes", "2", "--workers-per-node", "1")
    with deployed(folder.parent, "served", *options, str(folder)) as deployment:
        assert deployment.url.endswith(":8123")
        with GenericEnvClient(base_url=deployment.url).sync() as client:
            client.reset()
            assert client.step({"amount": 3}).observation["total"] == 3


def test_a_command_after_dashes_is_run_with_the_url(folder: Path) -> None:
    options = ("--nodes", "1", "--workers-per-node", "1", "--local-address", "127.9.7.2")
    done = launch("up", "--local", *options, str(folder), "--", "printenv", "OPENENV_URL",
                  cwd=folder.parent)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "http://127.9.7.2:8123\n")
    assert (folder.parent / "openenv-deployment.json").exists()


def test_what_is_no_environment_is_refused_in_one_line(tmp_path: Path) -> None:
    done = launch("up", "--local", str(tmp_path), cwd=tmp_path)
    assert_one_line(done, "is no OpenEnv environment: it contains neither", 2)
    done = launch("up", "--local", str(tmp_path), "--environment", "x", cwd=tmp_path)
    assert_one_line(done, "give the environment as FOLDER or as --environment", 2)
