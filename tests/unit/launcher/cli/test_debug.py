"""--debug: what is logged, and that secrets are not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.system.debug_log import redacted


def launcher(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "launcher", *arguments],
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


PLAN = ("plan", "--local", "--nodes", "3", "--workers-per-node", "2")


def test_debug_logs_decisions_to_standard_error_only(tmp_path: Path) -> None:
    plain = launcher(tmp_path, *PLAN)
    debug = launcher(tmp_path, *PLAN, "--debug")
    assert (plain.returncode, debug.returncode) == (0, 0)
    assert plain.stderr == ""
    assert debug.stdout == plain.stdout
    assert "launcher.deployment.read: nodes=3 from --nodes" in debug.stderr
    assert "launcher.planning.plan: Envoy on 127.0.0.2, servers on 127.0.0.3" in debug.stderr


def test_debug_does_not_change_an_error(tmp_path: Path) -> None:
    plain = launcher(tmp_path, "status", "nobody")
    debug = launcher(tmp_path, "status", "nobody", "--debug")
    assert plain.returncode == debug.returncode == 1
    assert plain.stderr.splitlines() == [debug.stderr.splitlines()[-1]]
    assert plain.stderr.startswith("error: no deployment named 'nobody' is up")


def test_debug_logs_the_slurm_commands_that_are_run(tmp_path: Path) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text("#!/bin/sh\necho JobId=7 JobState=PENDING Reason=Resources\n")
    scontrol.chmod(0o755)
    entry = tmp_path / "openenv-slurm" / "mine.json"
    entry.parent.mkdir()
    holder = {"host": "elsewhere", "job": "7", "pid": 1, "pid_created": 0.0}
    entry.write_text(json.dumps({"folder": str(tmp_path), "name": "mine", **holder}))
    path = f"{scontrol.parent}:{os.environ['PATH']}"
    done = launcher(tmp_path, "status", "mine", "--debug", PATH=path)
    assert "launcher.system.command: running: scontrol --oneliner show job 7" in done.stderr
    assert "job 7: PENDING (Resources)" in done.stdout


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (("srun", "-N1", "env", "PORT=8000"), ["srun", "-N1", "env", "PORT=8000"]),
        (("env", "API_TOKEN=abc=d", "true"), ["env", "API_TOKEN=***", "true"]),
        (("--build-arg=MY_secret_1=a\nb",), ["--build-arg=MY_secret_1=***"]),
        (("x", "--password", "hunter2", "last"), ["x", "--password", "***", "last"]),
        (("x", "--password=hunter2", "last"), ["x", "--password=***", "last"]),
        (("pip", "--index", "https://me:pw@host/x"), ["pip", "--index", "https://***@host/x"]),
        (("--export=A=1,AWS_CREDENTIALS=x",), ["--export=A=1,AWS_CREDENTIALS=***"]),
    ],
)
def test_secrets_are_not_logged(argv: tuple[str, ...], shown: list[str]) -> None:
    assert redacted(argv) == shown
