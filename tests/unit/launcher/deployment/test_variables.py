"""The user's variables: names may be shown, values never."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from launcher.deployment.placement import Node, place
from launcher.deployment.programs import Programs
from launcher.deployment.read import read_deployment, with_values
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState
from launcher.errors import UsageError

SECRET = "s3cr3t"
HERE = {"TOKEN": SECRET, "EMPTY": ""}


def read(*assignments: str, file: Path | None = None, config: Path | None = None) -> Deployment:
    flags = {"env": assignments, "env_file": file and str(file)}
    return read_deployment(flags, config, HERE)


def refusal(*assignments: str, file: Path | None = None, config: Path | None = None) -> str:
    with pytest.raises(UsageError) as refused:
        read(*assignments, file=file, config=config)
    assert SECRET not in str(refused.value)
    return str(refused.value)


def written(folder: Path, text: str) -> Path:
    file = folder / "a file"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("A=1", "A", "1"),
        ("_a2=x=y z", "_a2", "x=y z"),
        ("A=", "A", ""),
        ("A= 'b' ", "A", " 'b' "),
        ("TOKEN", "TOKEN", SECRET),
        ("EMPTY", "EMPTY", ""),
    ],
)
def test_a_variable_has_the_value_that_is_given_or_set_here(
    assignment: str, name: str, value: str
) -> None:
    deployment = read(assignment)
    assert (deployment.env, deployment.variables) == ((name,), {name: value})


@pytest.mark.parametrize(
    ("assignment", "name"),
    [(f"1A={SECRET}", "1A"), (f"={SECRET}", ""), ("A-B", "A-B"), (f"Ä={SECRET}", "Ä"), ("", "")],
)
def test_what_is_no_name_is_refused(assignment: str, name: str) -> None:
    expected = f"--env: {name!r} is not the name of a variable; write NAME=VALUE or NAME"
    assert refusal(assignment) == expected


def test_a_name_that_is_not_set_here_is_refused() -> None:
    assert refusal("HF_TOKEN") == "--env: HF_TOKEN is not set here; set it, or write HF_TOKEN=VALUE"


@pytest.mark.parametrize(
    ("name", "instead"),
    [("PORT", " (choose it with --server-port)"), ("NODE_NAME", "")],
)
def test_variables_of_the_launcher_are_refused(name: str, instead: str) -> None:
    expected = f"--env: the launcher sets {name} itself{instead}; leave it out"
    assert refusal(f"{name}=9") == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b c", "b c"),
        ("  export A = 'b # c'  ", "b # c"),
        ('A="b"', "b"),
        ('A={"b": "c"}', '{"b": "c"}'),
        ('A="b" "c"', '"b" "c"'),
        ("A='", "'"),
        ("A=$B`c`", "$B`c`"),
        ("A=", ""),
    ],
)
def test_a_line_of_a_file_sets_a_variable(tmp_path: Path, line: str, value: str) -> None:
    file = written(tmp_path, f"# comment\n\n{line}\nTOKEN\n")
    assert read(file=file).variables == {"A": value, "TOKEN": SECRET}


def test_errors_in_a_file_name_the_line_and_no_value(tmp_path: Path) -> None:
    file = written(tmp_path, f"A=1\nHF_TOKEN\nB-C={SECRET}\n")
    assert refusal(file=file).startswith(f"{file}, line 2: HF_TOKEN is not set here; ")
    file.write_text(f"A=1\n\nB-C={SECRET}\n")
    assert refusal(file=file).startswith(f"{file}, line 3: 'B-C' is not the name of a variable")
    file.write_text(f"{SECRET[:0]}PORT={SECRET}\n")
    assert refusal(file=file).startswith(f"{file}, line 1: the launcher sets PORT itself ")
    file.write_bytes(b"A=\xff\n")
    assert refusal(file=file) == f"--env-file: cannot read {file}: it is not a text file"
    file.unlink()
    assert refusal(file=file) == f"--env-file: cannot read {file}: No such file or directory"


@pytest.mark.parametrize(
    "text",
    [
        "env: {A: 007, B: yes, TOKEN: , C: 'x: y'}",
        "env: [A=007, B=yes, TOKEN, 'C=x: y']",
        "env:\n  A: 007\n  B: yes\n  TOKEN: null\n  C: 'x: y'",
    ],
)
def test_yaml_has_a_mapping_or_a_list_whose_values_are_taken_literally(
    tmp_path: Path, text: str
) -> None:
    deployment = read(config=written(tmp_path, text))
    expected = {"A": "007", "B": "yes", "TOKEN": SECRET, "C": "x: y"}
    assert deployment.variables == expected
    assert deployment.env == tuple(expected)


@pytest.mark.parametrize("text", ["env: A=1", "env: 3", "env: {A: [1]}", "env: [3]", "env:"])
def test_other_yaml_is_refused(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)
    expected = f"key 'env' in {file} must be 'NAME: value' lines or a list of NAME=VALUE"
    assert refusal(config=file) == expected


def test_flags_override_yaml_and_both_override_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "A=file\nB=file\nC=file\n")
    config = tmp_path / "deployment.yaml"
    config.write_text("env: {B: yaml, C: yaml}\n")
    deployment = read("C=flag", file=file, config=config)
    assert deployment.variables == {"A": "file", "B": "yaml", "C": "flag"}
    assert (deployment.env, deployment.env_file) == (("B", "C"), file)


def test_nothing_that_is_written_or_printed_of_a_deployment_has_values(tmp_path: Path) -> None:
    deployment = read(f"A={SECRET}", "TOKEN", file=written(tmp_path, f"B={SECRET}"))
    state = DeploymentState(deployment=deployment)
    texts = [repr(deployment), deployment.as_given(), json.dumps(state.as_dict())]
    texts += [deployment.command, deployment.absolute().as_given(), str(deployment.model_dump())]
    assert not any(SECRET in text for text in texts)
    assert f"--env=A --env=TOKEN --env-file '{tmp_path}/a file'" in deployment.command


def test_values_pass_through_copies_and_a_private_channel(tmp_path: Path) -> None:
    given = read("A=b\nc", "TOKEN", file=written(tmp_path, "B=1"))
    expected = {"A": "b\nc", "TOKEN": SECRET, "B": "1"}
    assert given.absolute().model_copy(update={"nodes": 2}).variables == expected
    text = given.with_secrets()
    assert "\n" not in text
    assert Deployment.from_secrets(text) == given
    assert Deployment.from_secrets(Deployment().with_secrets()) == Deployment()


def test_a_stored_deployment_asks_for_its_values_again(tmp_path: Path) -> None:
    file = written(tmp_path, "B=1")
    given = read("A=1", "TOKEN", file=file)
    stored = Deployment.model_validate_json(given.as_given())
    with pytest.raises(UsageError, match="are not stored; give them again"):
        _ = stored.variables
    assert with_values(stored, {"A": "2"}, HERE).variables == {"A": "2", "TOKEN": SECRET, "B": "1"}
    with pytest.raises(UsageError, match="--env: A is not set here"):
        with_values(stored, {}, HERE)


@pytest.mark.parametrize("contained", [False, True])
def test_servers_get_the_variables_and_their_argv_has_none(contained: bool, tmp_path: Path) -> None:
    images = dict.fromkeys(("server", "envoy"), tmp_path / "image.sif") if contained else {}
    deployment = read("TOKEN", "A=$x")
    nodes = [Node(f"n{number}", f"n{number}") for number in range(3)]
    placement = place(deployment, nodes, deployment.rundir, Programs(images=images))
    expected = {"TOKEN": SECRET, "A": "$x"}
    if contained:
        expected = {"APPTAINERENV_TOKEN": SECRET, "APPTAINERENV_A": "\\$x", "APPTAINER_NO_EVAL": ""}
    envoy, *servers = placement.processes
    assert envoy.variables == {}
    for server in servers:
        assert server.variables == expected
        assert SECRET not in repr(server)
        assert SECRET not in str({**asdict(server), "variables": None})


def test_home_cannot_be_set_in_a_container(tmp_path: Path) -> None:
    deployment = read(f"HOME={SECRET}")
    programs = Programs(images={"server": tmp_path / "image.sif"})
    with pytest.raises(UsageError, match="lets no variable set HOME; choose it with ") as refused:
        programs.variables(deployment.variables)
    assert SECRET not in str(refused.value)
    assert Programs().variables(deployment.variables) == {"HOME": SECRET}
