"""The names of a deployment's files, and how they are written and read."""

import shlex
from pathlib import Path

import pytest

from launcher.deployment.paths import deployments_folder, from_env_file, RunDir, to_env_file
from launcher.errors import UsageError
from launcher.system.files import (
    check_writable,
    make_private_folder,
    read_json,
    remove,
    write_atomically,
)


@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.2:8000",
        "",
        "n1 n2 n3",
        "it's",
        'a "quoted" word',
        "both ' and \"",
        "a=b",
        "# no comment",
        "$HOME `id` \\",
        " padded ",
        "é",
    ],
)
def test_connection_file_returns_the_values_written_to_it(value: str) -> None:
    values = {"OPENENV_URL": "http://n1:8000", "WORKER_NODES": value, "NUM_WORKERS": "2"}
    assert from_env_file(to_env_file(values)) == values


def test_connection_file_can_be_sourced_by_a_shell() -> None:
    text = to_env_file({"A": "plain", "B": "two words", "C": "it's", "D": ""})
    assert text == ("export A=plain\nexport B='two words'\nexport C='it'\"'\"'s'\nexport D=''\n")
    assert shlex.split(text)[1::2] == ["A=plain", "B=two words", "C=it's", "D="]


@pytest.mark.parametrize(
    "other", ["", "   ", "# don't edit", "export B", "a word", "B", "it's not ours"]
)
def test_connection_file_ignores_other_lines(other: str) -> None:
    assert from_env_file(f"A=1\n{other}\nC=3\n") == {"A": "1", "C": "3"}


def test_write_atomically_replaces_the_file(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, "old")
    write_atomically(file, "new")
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir()] == ["state.json"]


def test_write_atomically_leaves_the_old_file_to_its_readers(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, "the old text")
    with file.open() as reader:
        write_atomically(file, "new")
        assert reader.read() == "the old text"


def test_write_atomically_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \ud800")
    assert file.read_text() == "old"


def test_every_file_of_a_run_has_its_name() -> None:
    rundir = RunDir(Path("/srv/run one"), "blue")
    assert rundir.connection == Path("/srv/run one/openenv-connection.env")
    assert rundir.envoy_config() == Path("/srv/run one/envoy-config-generated.yaml")
    assert rundir.envoy_config("envoy-2") == Path("/srv/run one/envoy-config-generated-2.yaml")
    assert rundir.state == Path("/srv/run one/openenv-deployment.json")
    assert rundir.log("server-2") == Path("/srv/run one/benchmark-env-server-2.log")
    assert rundir.launcher_log == Path("/srv/run one/benchmark-env-launcher.log")


def test_deployments_folder_follows_xdg_state_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert RunDir(Path("/srv/run"), "blue").entry == tmp_path / "openenv-slurm" / "blue.json"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert deployments_folder() == tmp_path / "home" / ".local" / "state" / "openenv-slurm"


def test_admin_sockets_of_different_deployments_differ() -> None:
    make_private_folder()
    first, folder, name = (
        RunDir(Path("/srv/a"), "blue").admin_socket(),
        RunDir(Path("/srv/b"), "blue").admin_socket(),
        RunDir(Path("/srv/a"), "green").admin_socket(),
    )
    assert len({first, folder, name}) == 3
    assert RunDir(Path("/srv/a"), "blue").admin_socket() == first
    assert RunDir(Path("/srv/a"), "blue").admin_socket("envoy-2") not in {first, folder, name}
    assert first.parent.stat().st_mode & 0o777 == 0o700


def test_admin_socket_of_the_longest_name_fits_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1_234_567_890)
    socket = RunDir(Path("/srv") / ("long" * 50), "n" * 64).admin_socket("envoy-1024")
    assert len(str(socket)) <= 107, "sun_path of unix(7) holds 108 bytes with its end"


def test_check_writable_creates_the_folder_with_its_parents(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "it's"
    check_writable(folder)
    check_writable(folder)
    assert list(folder.iterdir()) == []


def test_leftovers_are_the_files_that_a_new_deployment_does_not_overwrite(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path, "blue")
    stale = [
        rundir.connection,
        *(rundir.log(name) for name in ("envoy", "envoy-2", "server-1", "server-12")),
        *(rundir.envoy_config(name) for name in ("envoy", "envoy-3")),
    ]
    kept = [rundir.state, rundir.batch_log, rundir.launcher_log, tmp_path / "server-1.log"]
    for file in (*stale, *kept):
        file.write_text("")
    remove(rundir.leftovers())
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(("below", "reason"), [("", "File exists"), ("folder", "Not a directory")])
def test_check_writable_names_the_folder_that_cannot_be_written(
    tmp_path: Path, below: str, reason: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    folder = file / below
    with pytest.raises(UsageError) as refused:
        check_writable(folder)
    assert str(refused.value) == f"cannot write to {folder}: {reason}; choose another folder"


def test_remove_ignores_missing_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    remove([file, tmp_path / "missing"])
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "content"),
    [('{"name": "blue"}', {"name": "blue"}), ('{"name": "bl', None), ("", None), ("[1]", None)],
)
def test_read_json_returns_none_for_incomplete_files(
    tmp_path: Path, text: str, content: dict[str, str] | None
) -> None:
    file = tmp_path / "state.json"
    file.write_text(text)
    assert read_json(file) == content


def test_read_json_returns_none_for_missing_files(tmp_path: Path) -> None:
    assert read_json(tmp_path / "state.json") is None
