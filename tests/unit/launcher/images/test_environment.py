"""The folder of an environment: its build context, its name."""

from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.images.environment import Environment


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
