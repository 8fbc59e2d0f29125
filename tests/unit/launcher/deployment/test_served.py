"""What a deployment serves: the app that a folder or an image tells, unless the user chose another."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.server.settings import DEFAULT_APP
from launcher.deployment.programs import programs
from launcher.deployment.read import read_deployment
from launcher.deployment.served import resolve
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from tests.helpers.images import image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my_env"
    (folder / "server").mkdir(parents=True)
    (folder / "server" / "app.py").touch()
    (folder / "openenv.yaml").write_text("name: mine\napp: server.app:app\nport: 8004\n")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images: my_env.sif serves an app, server.sif ours, other.sif says nothing."""
    folder = tmp_path / "images"
    folder.mkdir()
    image(folder / "my_env.sif", json.dumps({"openenv-slurm.app": "server.app:app"}))
    title = "org.opencontainers.image.title"
    image(folder / "server.sif", json.dumps({title: "openenv-slurm server"}))
    image(folder / "other.sif")
    return folder


def served(**flags: Any) -> Deployment:
    return resolve(read_deployment(flags, None, {}))


def test_a_folder_tells_app_name_port_and_working_folder(folder: Path) -> None:
    found = served(local=True, environment=folder)
    assert (found.app, found.name, found.workdir) == ("server.app:app", "mine", str(folder))
    assert (found.envoy_port, found.server_port) == (8004, 8004)
    assert found.folder == Path()
    assert programs(found).import_path == (str(folder), str(folder.parent))


def test_what_the_user_chose_stays(folder: Path) -> None:
    chosen = {"app": "a:b", "name": "n", "envoy_port": 9000, "workdir": "/tmp"}
    found = served(local=True, environment=folder, **chosen)
    assert {name: getattr(found, name) for name in chosen} == chosen
    assert (found.server_port, found.folder) == (8004, Path("n"))


def test_an_experiment_keeps_its_own_name(folder: Path) -> None:
    given = read_deployment({"local": True, "environment": folder}, None, {})
    found = resolve(given, named=False)
    assert (found.name, found.app, found.dir) == ("openenv", "server.app:app", None)


def test_the_import_path_comes_before_a_given_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = programs(served(local=True, environment=folder))
    path = f"{folder}:{folder.parent}"
    assert found.python_path("") == {"PYTHONPATH": path}
    assert found.python_path("/x") == {"PYTHONPATH": f"{path}:/x"}
    assert found.variables({"A": "1"}) == {"A": "1"}
    assert found.variables({"PYTHONPATH": "/x"}) == {"PYTHONPATH": f"{path}:/x"}


def test_variables_are_kept(folder: Path) -> None:
    found = served(local=True, environment=folder, env=("A=secret",))
    assert found.variables == {"A": "secret"}
    assert "secret" not in found.as_given()


@pytest.mark.parametrize("name", ["my_env.sif", "my_env"])
def test_the_name_of_an_image_is_looked_up_among_those_that_were_built(
    name: str, images: Path
) -> None:
    found = served(image=Path(name), images=images)
    assert (found.image, found.app) == (images / "my_env.sif", "server.app:app")
    assert found.absolute().image == found.image


def test_a_file_here_comes_before_a_built_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "my_env.sif", '{"openenv-slurm.app": "of.here:app"}')
    found = served(image=Path("my_env.sif"), images=images)
    assert (found.image, found.app) == (tmp_path / "my_env.sif", "of.here:app")


def test_an_image_serves_its_own_app_unless_another_is_chosen(images: Path) -> None:
    assert served(image=images / "server.sif").app == DEFAULT_APP
    assert served(image=images / "my_env.sif", app="x:y").app == "x:y"
    assert served(image=images / "other.sif", app="x:y").app == "x:y"
    with pytest.raises(UsageError, match=r"other\.sif does not say which app it serves; name it"):
        served(image=images / "other.sif")


def test_a_local_deployment_with_an_image_runs_it(images: Path) -> None:
    assert served(local=True, image=images / "my_env.sif").in_containers
    with pytest.raises(UsageError, match="--image is for containers"):
        served(local=True, runtime="venv", image=images / "my_env.sif")


def test_a_folder_in_containers_is_served_from_its_image(folder: Path, images: Path) -> None:
    found = served(environment=folder, images=images)
    assert (found.image, found.app) == (images / "my_env.sif", "server.app:app")
    assert found.workdir is None
    (images / "my_env.sif").unlink()
    with pytest.raises(UsageError, match=r"no image of .*my_env in .*: launcher build .*my_env,"):
        served(environment=folder, images=images)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.sif", None, r"gone\.sif does not exist; build it with `launcher build FOLDER`"),
        ("bad.sif", b"text", r"bad\.sif is not an Apptainer image"),
        ("far/away.sif", None, r"away\.sif is not on this machine, so its app is not known"),
    ],
)
def test_images_that_cannot_be_read_are_named(
    name: str, content: bytes | None, message: str, images: Path
) -> None:
    if content is not None:
        (images / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        served(image=images / name)


def test_a_port_that_does_not_fit_is_refused(folder: Path) -> None:
    (folder / "openenv.yaml").write_text("app: server.app:app\nport: 65000\n")
    with pytest.raises(UsageError, match=r"my_env: server_port should be less than or equal"):
        served(local=True, environment=folder)


def test_nothing_is_looked_up_without_folder_and_image() -> None:
    deployment = Deployment(local=True)
    assert resolve(deployment) is deployment
