"""What the user asked for, from flags, YAML and environment."""

from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.read import read_deployment
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError


def yaml_file(folder: Path, text: str) -> Path:
    file = folder / "deployment.yaml"
    file.write_text(text)
    return file


def refusal(
    flags: dict[str, Any] | None = None,
    file: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    with pytest.raises(UsageError) as refused:
        read_deployment(flags or {}, file, environment or {})
    return str(refused.value)


def test_defaults_are_three_nodes_with_the_runbooks_ports() -> None:
    deployment = read_deployment({}, None, {})
    assert (deployment.name, deployment.nodes, deployment.servers) == ("openenv", 3, 2)
    assert (deployment.server_port, deployment.envoy_port, deployment.admin_port) == (
        8000,
        8000,
        9901,
    )
    assert (deployment.workers_per_node, deployment.max_concurrent_envs) == (None, 100)
    assert not deployment.local


@pytest.mark.parametrize(
    ("flags", "text", "workers"),
    [
        ({"workers_per_node": "2"}, "workers_per_node: 3", 2),
        ({"workers_per_node": None}, "workers_per_node: 3", 3),
        ({}, "nodes: 2", 4),
    ],
)
def test_flags_take_precedence_over_yaml_and_yaml_over_the_environment(
    tmp_path: Path, flags: dict[str, Any], text: str, workers: int
) -> None:
    file = yaml_file(tmp_path, text)
    deployment = read_deployment(flags, file, {"WORKERS_PER_NODE": "4"})
    assert deployment.workers_per_node == workers


def test_sources_combine_when_they_set_different_fields(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "nodes: 5")
    deployment = read_deployment({"drain": "0"}, file, {"ENVOY_PORT": "9000"})
    assert (deployment.drain, deployment.nodes, deployment.envoy_port) == (0.0, 5, 9000)


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        (
            {"WORKERS_PER_NODE": "2", "WORKERS": "3", "SLURM_CPUS_PER_TASK": "4"},
            "workers_per_node",
            2,
        ),
        ({"WORKERS": "3", "SLURM_CPUS_PER_TASK": "4"}, "workers_per_node", 3),
        ({"SLURM_CPUS_PER_TASK": "4"}, "workers_per_node", 4),
        ({"OPENENV_PORT": "8100", "PORT": "8200"}, "server_port", 8100),
        ({"PORT": "8200"}, "server_port", 8200),
        ({"ENVOY_PORT": "8300"}, "envoy_port", 8300),
        ({"MAX_CONCURRENT_ENVS": "64"}, "max_concurrent_envs", 64),
    ],
)
def test_runbook_variables_fill_their_field(
    variables: dict[str, str], field: str, value: int
) -> None:
    assert getattr(read_deployment({}, None, variables), field) == value


def test_an_empty_variable_counts_as_not_set() -> None:
    deployment = read_deployment({}, None, {"WORKERS_PER_NODE": "", "WORKERS": "3", "PORT": ""})
    assert (deployment.workers_per_node, deployment.server_port) == (3, 8000)


def test_unrelated_variables_are_ignored() -> None:
    assert read_deployment({}, None, {"NODES": "7", "NAME": "other"}) == Deployment()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("node", "nodes"),
        ("max_concurent_envs", "max_concurrent_envs"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    tmp_path: Path, key: str, nearest: str
) -> None:
    file = yaml_file(tmp_path, f"{key}: 3")
    assert refusal(file=file) == f"{file}: unknown key {key!r}; did you mean {nearest!r}?"


def test_broken_yaml_is_located_in_one_line(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "nodes: 3\nname: [a\n")
    message = refusal(file=file)
    assert message.startswith(f"{file} is not valid YAML: ")
    assert "line 3" in message
    assert "\n" not in message


def test_binary_files_are_not_valid_yaml(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_bytes(b"name: \xff\xfe\n")
    assert refusal(file=file).startswith(f"{file} is not valid YAML: ")


def test_yaml_that_names_python_objects_is_refused(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "name: !!python/object/apply:os.getcwd []")
    assert refusal(file=file).startswith(f"{file} is not valid YAML: ")


@pytest.mark.parametrize(("text", "kind"), [("- nodes: 3", "list"), ("nodes", "str"), ("3", "int")])
def test_yaml_without_a_mapping_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    file = yaml_file(tmp_path, text)
    assert refusal(file=file) == f"{file} must contain 'key: value' lines, not a {kind}"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_empty_yaml_sets_nothing(tmp_path: Path, text: str) -> None:
    assert read_deployment({}, yaml_file(tmp_path, text), {}) == Deployment()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "missing.yaml"
    assert refusal(file=file) == f"cannot read {file}: No such file or directory"


def test_a_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    assert refusal(file=tmp_path) == f"cannot read {tmp_path}: Is a directory"


@pytest.mark.parametrize("nodes", ["0", "-1", "x", "1.5", "nan", "", "100001"])
def test_nodes_must_be_an_integer_of_at_least_one(nodes: str) -> None:
    assert refusal({"nodes": nodes}).startswith(f"--nodes: {nodes!r} should be ")


def test_yes_in_yaml_is_not_a_number_of_nodes(tmp_path: Path) -> None:
    assert "key 'nodes'" in refusal(file=yaml_file(tmp_path, "nodes: yes"))


def test_a_bad_flag_is_named_as_it_was_typed() -> None:
    message = refusal({"max_concurrent_envs": "many"}, None, {"MAX_CONCURRENT_ENVS": "5"})
    assert message.startswith("--max-concurrent-envs: 'many' should be a valid integer")


def test_a_bad_key_is_named_with_its_file(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "envoy_port: 70000")
    message = refusal(file=file, environment={"ENVOY_PORT": "1"})
    assert message == f"key 'envoy_port' in {file}: 70000 should be less than or equal to 65535"


@pytest.mark.parametrize(
    "variable",
    [
        "WORKERS_PER_NODE",
        "WORKERS",
        "SLURM_CPUS_PER_TASK",
        "OPENENV_PORT",
        "PORT",
        "ENVOY_PORT",
        "MAX_CONCURRENT_ENVS",
    ],
)
def test_a_bad_variable_is_named(variable: str) -> None:
    message = refusal(environment={variable: "0"})
    assert message == f"variable {variable}: '0' should be greater than or equal to 1"


def test_a_bad_variable_is_ignored_when_a_flag_overrides_it() -> None:
    assert read_deployment({"server_port": "8100"}, None, {"PORT": "x"}).server_port == 8100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ready_timeout", "0"),
        ("ready_timeout", "inf"),
        ("ready_timeout", "nan"),
        ("drain", "-1"),
        ("drain", "nan"),
        ("drain", "3601"),
    ],
)
def test_seconds_outside_their_range_are_refused(field: str, value: str) -> None:
    flag = f"--{field.replace('_', '-')}"
    assert refusal({field: value}).startswith(f"{flag}: {value!r} should be ")


def test_a_server_port_leaves_room_for_the_ports_of_its_workers() -> None:
    message = refusal({"server_port": "60001"})
    assert message == "--server-port: '60001' should be less than or equal to 60000"


@pytest.mark.parametrize("address", ["10.0.0.1", "0.0.0.0", "::1", "localhost"])
def test_local_nodes_outside_loopback_are_refused_by_flag(address: str) -> None:
    flags = {"local": True, "nodes": "1", "local_address": address}
    message = refusal(flags)
    assert "--local-address" in message
    assert address in message


def test_too_many_local_nodes_for_the_loopback_range_are_refused() -> None:
    message = refusal({"local": True, "nodes": "3", "local_address": "127.255.255.254"})
    assert "3 local nodes starting at 127.255.255.254 do not fit into 127.0.0.0/8" in message


def test_local_nodes_follow_the_first_address() -> None:
    deployment = read_deployment({"local": True, "local_address": "127.0.0.254"}, None, {})
    addresses = [deployment.node_address(index) for index in range(deployment.nodes)]
    assert addresses == ["127.0.0.254", "127.0.0.255", "127.0.1.0"]


@pytest.mark.parametrize("name", ["two words", "", " a", "a\n", "../up", ".hidden", "é", "a" * 65])
def test_names_that_are_not_plain_are_refused(name: str) -> None:
    assert refusal({"name": name}) == (
        f"--name: {name!r} is invalid: a name consists of letters, digits, '.', '_' and '-'"
    )


@pytest.mark.parametrize("app", ["module", "a b:c", "a:b; rm", ":app", "/a.py:app"])
def test_apps_must_be_module_and_attribute(app: str) -> None:
    assert refusal({"app": app}) == f"--app: {app!r} is invalid: write it as module:attribute"


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ({}, "."),
        ({"name": "blue"}, "blue"),
        ({"name": "blue", "dir": "/data/here"}, "/data/here"),
        ({"dir": "there"}, "there"),
    ],
)
def test_folder_is_the_current_one_or_the_name_or_dir(flags: dict[str, str], folder: str) -> None:
    assert read_deployment(flags, None, {}).folder == Path(folder)


def test_keys_may_be_spelled_like_flags(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text("max-concurrent-envs: 10\n")
    assert read_deployment({}, file, {}).max_concurrent_envs == 10


@pytest.mark.parametrize("name", ["load", "samples"])
def test_reserved_names_are_refused(name: str) -> None:
    reserved = "the launcher reserves this name for its own Slurm steps"
    assert refusal({"name": name}) == f"--name: {name!r} is invalid: {reserved}"


def test_command_reproduces_the_deployment() -> None:
    flags = {"local": True, "nodes": "3", "dir": "my results", "sbatch": ("--gres=gpu:1",)}
    command = read_deployment(flags, None, {}).command
    assert command == "launcher up --local --nodes 3 --dir 'my results' --sbatch=--gres=gpu:1"


def test_sessions_take_precedence_over_cores_from_slurm() -> None:
    environment = {"SLURM_CPUS_PER_TASK": "2"}
    assert read_deployment({}, environment=environment).workers_per_node == 2
    requested = read_deployment({"sessions": "100000"}, environment=environment)
    assert (requested.sessions, requested.workers_per_node) == (100_000, None)
    chosen = read_deployment({"sessions": "9"}, environment={"WORKERS": "3"} | environment)
    assert chosen.workers_per_node == 3


def test_rules_for_sessions_come_from_flags_or_yaml(tmp_path: Path) -> None:
    usual = read_deployment({}, None, {})
    assert (usual.strict_sessions, usual.idle_timeout) == (False, None)
    file = yaml_file(tmp_path, "strict_sessions: yes\nidle-timeout: 90")
    written = read_deployment({"idle_timeout": "2.5"}, file, {})
    assert (written.strict_sessions, written.idle_timeout) == (True, 2.5)


@pytest.mark.parametrize("seconds", [0, -1, "nan", "inf", True])
def test_idle_timeouts_are_positive_numbers(seconds: Any) -> None:
    assert refusal({"idle_timeout": seconds}).startswith(f"--idle-timeout: {seconds!r} ")
