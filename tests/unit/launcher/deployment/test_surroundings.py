"""The options that put something around the servers: when they are refused, and what becomes of them."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.server import boot
from launcher.deployment.placement import Node, place, Process
from launcher.deployment.programs import programs
from launcher.deployment.read import read_deployment
from launcher.deployment.spec import Deployment
from launcher.deployment.surroundings import parse_bind, Required
from launcher.errors import UsageError
from launcher.images import labels, sif
from launcher.slurm.salloc import salloc_argv
from launcher.slurm.sbatch import sbatch_argv


def server(**fields: Any) -> Process:
    deployment = Deployment(name="one", nodes=1, dir=Path("/srv/one"), **fields)
    nodes = [Node("n1", "n1")]
    return place(deployment, nodes, deployment.rundir, programs(deployment)).processes[0]


def options(**fields: Any) -> list[str]:
    """Those between our own and the image."""
    argv = server(runtime="apptainer", images=Path("/i"), **fields).argv
    assert argv[:5] == ("apptainer", "--quiet", "exec", "--cleanenv", "--contain")
    return list(argv[5 : argv.index("/i/server.sif")])


def refusal(**flags: Any) -> str:
    with pytest.raises(UsageError) as refused:
        read_deployment(flags, None, {})
    return str(refused.value)


def test_binds_are_absolute_and_their_commas_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    given = ("data,1:/data:ro", "~/x:/y", "/a:/b:rw")
    assert options(bind=given) == [
        f"--bind={tmp_path}/data\\,1:/data:ro",
        "--bind=/home/me/x:/y:rw",
        "--bind=/a:/b:rw",
    ]
    moved = Deployment(runtime="apptainer", bind=given).absolute()
    assert moved.bind == (f"{tmp_path}/data,1:/data:ro", "/home/me/x:/y:rw", "/a:/b:rw")
    assert moved.absolute() == moved


@pytest.mark.parametrize("text", ["/data", ":/data", "/a:/b:rx", "/a:/b:ro:x", ""])
def test_binds_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="as SRC:DST or SRC:DST:ro"):
        parse_bind(text)
    expected = f"--bind is invalid: write {text!r} as SRC:DST or SRC:DST:ro"
    assert refusal(runtime="apptainer", bind=(text,)) == expected


def test_a_relative_destination_is_refused() -> None:
    expected = "--bind is invalid: the destination 'b' of '/a:b' must start with /"
    assert refusal(runtime="apptainer", bind=("/a:b",)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nv": True}, ["--nv"]),
        ({"gpus": 2}, ["--nv"]),
        ({"workdir": "/app/env"}, ["--pwd=/app/env"]),
        ({"container_option": ("--rocm", "--home=/x")}, ["--rocm", "--home=/x"]),
        ({"bind": ("/a:/b",), "nv": True}, ["--bind=/a:/b:rw", "--nv"]),
        ({}, []),
    ],
)
def test_options_reach_apptainer(fields: dict[str, Any], expected: list[str]) -> None:
    assert options(**fields) == expected


def test_a_scratch_layer_is_on_the_nodes_disk_and_of_one_server() -> None:
    process = server(runtime="apptainer", images=Path("/i"), writable=True)
    assert process.scratch is not None
    assert process.scratch.parent.name.startswith("openenv-slurm-")
    assert process.scratch.name.endswith("-server-1")
    assert f"--overlay={process.scratch}/layer" in process.argv
    assert f"--workdir={process.scratch}/work" in process.argv
    assert server(runtime="apptainer", images=Path("/i")).scratch is None


def test_the_images_working_folder_is_used_unless_another_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sif, "labels", lambda image: {labels.FOLDER: f"/of{image}"})
    assert options() == ["--pwd=/of/i/server.sif"]
    assert options(workdir="/mine") == ["--pwd=/mine"]


@pytest.mark.parametrize(
    ("flags", "flag"),
    [
        ({"bind": ("/a:/b",)}, "--bind"),
        ({"nv": True}, "--nv"),
        ({"writable": True}, "--writable"),
        ({"container_option": ("--rocm",)}, "--container-option"),
    ],
)
@pytest.mark.parametrize("without", [{"local": True}, {"runtime": "venv"}])
def test_options_of_containers_are_refused_without_them(
    without: dict[str, Any], flags: dict[str, Any], flag: str
) -> None:
    message = refusal(**without, **flags)
    assert message.startswith(f"{flag} is for containers, and these servers run without: ")
    assert message.endswith(f"omit {flag}, or add --runtime apptainer")
    read_deployment({**without, "runtime": "apptainer", **flags}, None, {})


def test_container_options_are_options_and_give_no_variables() -> None:
    message = refusal(runtime="apptainer", container_option=("rocm",))
    assert message.startswith("--container-option is invalid: 'rocm' is not an option; ")
    for option in ("--env=TOKEN=s3cr3t", "--env-file=x"):
        message = refusal(runtime="apptainer", container_option=(option,))
        assert message.endswith("give variables with --env or --env-file, which keep values secret")
        assert "s3cr3t" not in message


def test_a_working_folder_is_in_the_image_or_on_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    process = server(runtime="venv", workdir="env")
    assert process.folder == tmp_path / "env"
    assert process.required == Required((f"{tmp_path}/env",))
    assert Deployment(runtime="venv", workdir="env").absolute().workdir == f"{tmp_path}/env"
    message = refusal(runtime="apptainer", workdir="env")
    assert message == "--workdir env is a folder in the image; write it with a leading /"
    process = server(
        runtime="apptainer", images=Path("/i"), workdir="/env", bind=("/a:/b",), gpus=2
    )
    assert (process.folder, process.required) == (None, Required(("/a",), 2))


def test_gpus_are_requested_from_slurm() -> None:
    deployment = Deployment(gpus=2)
    for argv in (sbatch_argv(deployment, deployment.rundir), salloc_argv(deployment)):
        assert "--gpus-per-node=2" in argv
    assert not [word for word in salloc_argv(Deployment()) if "gpu" in word]


def test_yaml_sets_them_all(tmp_path: Path) -> None:
    file = tmp_path / "up.yaml"
    file.write_text(
        "bind: ['/a:/b:ro']\nnv: yes\nworkdir: /w\nwritable: true\ngpus: 1\ncontainer-option: [--rocm]"
    )
    found = read_deployment({}, file, {})
    assert (found.bind, found.nv, found.workdir) == (("/a:/b:ro",), True, "/w")
    assert (found.writable, found.gpus, found.container_option) == (True, 1, ("--rocm",))


def test_a_python_is_run_by_its_link_and_with_our_package_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "python").symlink_to("/usr/bin/python3")
    process = server(runtime="venv", python=Path("~/python"))
    python = f"{tmp_path}/python"
    assert process.argv[:4] == (python, "-P", str(boot.FILE), "benchmark.server")
    assert process.required == Required(python=python)
    moved = Deployment(runtime="venv", python=Path("~/python"), env_file=Path("~/e")).absolute()
    assert (moved.python, moved.env_file) == (Path(python), tmp_path / "e")
    message = refusal(runtime="apptainer", python="x")
    assert message.startswith(
        "--python is for servers without containers, and an image has its own "
    )
