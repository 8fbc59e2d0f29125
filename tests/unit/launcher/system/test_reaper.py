"""The reaper makes a scratch folder for its command, and removes it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.system.reaper import reaper_argv


@pytest.fixture
def lifeline() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def reap(lifeline: int, scratch: Path, script: str) -> "subprocess.Popen[str]":
    argv = (*reaper_argv(lifeline, scratch), "sh", "-c", script)
    return subprocess.Popen(argv, pass_fds=(lifeline,), stdout=subprocess.PIPE, text=True)


def test_a_scratch_folder_lives_as_long_as_its_command(
    tmp_path: Path, lifeline: tuple[int, int]
) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "layer/left/by/an/earlier").mkdir(parents=True)
    script = (
        f"cd {scratch}; find . -mindepth 1 | sort; mkdir work/closed; chmod 0 work/closed; exit 3"
    )
    process = reap(lifeline[0], scratch, script)
    assert process.communicate(timeout=30)[0].split() == ["./layer", "./work"]
    assert process.returncode == 3
    assert not scratch.exists()
    os.close(lifeline[1])


def test_a_scratch_folder_is_removed_when_the_agent_is_gone(
    tmp_path: Path, lifeline: tuple[int, int]
) -> None:
    scratch = tmp_path / "scratch"
    process = reap(lifeline[0], scratch, f"ls {scratch}/layer && echo started; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    os.close(lifeline[1])
    process.communicate(timeout=30)
    assert not scratch.exists()


def test_a_scratch_folder_that_cannot_be_made_is_named(
    tmp_path: Path, lifeline: tuple[int, int]
) -> None:
    (tmp_path / "file").touch()
    scratch = tmp_path / "file" / "scratch"
    argv = (*reaper_argv(lifeline[0], scratch), "true")
    done = subprocess.run(
        argv, pass_fds=lifeline[:1], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: cannot run {scratch}/layer: Not a directory\n"
    os.close(lifeline[1])
