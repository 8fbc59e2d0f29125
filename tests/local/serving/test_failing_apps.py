"""`up` with an app that cannot start: its error names the cause, within the deadline."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.local import deployed, launch, new_address, serving
from tests.helpers.openenv_apps import APPS

PATH = os.environ | {"PYTHONPATH": str(APPS)}


def up(folder: Path, app: str, *options: str) -> "subprocess.CompletedProcess[str]":
    common = ("--local", "--local-address", new_address(), "--app", app, "--drain", "0")
    return launch("up", *common, *options, "--", "true", cwd=folder, env=PATH)


def error_of(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


@pytest.mark.parametrize("nodes", ["1", "3"])
def test_up_names_why_the_constructor_failed(tmp_path: Path, nodes: str) -> None:
    error = error_of(up(tmp_path, "constructors:fails", "--nodes", nodes))
    assert "exited with 1 before it was ready: constructors:fails: Environment factory" in error
    assert "'Fails' failed to create instance: FileNotFoundError: there is no level 7 (" in error
    assert "constructors.py:" in error


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise SystemExit('set LEVELS first')", "set LEVELS first"),
        ("other = 1", 'Attribute "app" not found in module "broken"'),
    ],
)
def test_up_names_why_the_import_failed(tmp_path: Path, code: str, cause: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    error = error_of(up(tmp_path, "broken:app"))
    assert "exited with 1 before it was ready: " in error
    assert cause in error


def test_up_names_what_a_constructor_that_never_returns_is_doing(tmp_path: Path) -> None:
    options = ("--nodes", "1", "--workers-per-node", "1", "--ready-timeout")
    for seconds in (
        "6",
        "30",
    ):  # a busy machine may still import the app when the first time is over
        started = time.monotonic()
        error = error_of(up(tmp_path, "constructors:blocks", *options, seconds))
        assert time.monotonic() - started >= int(seconds)
        if "its workers import" not in error:
            break
    assert error.startswith("error: not ready in time: the server is not ready; 127.")
    assert ": the constructor of Blocks has run for " in error
    assert re.search(r"it is at \S+constructors\.py:\d+ in __init__", error)


def test_up_names_the_import_that_never_returns(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import threading\nthreading.Event().wait()\n")
    options = ("--nodes", "1", "--ready-timeout", "4")
    error = error_of(up(tmp_path, "endless:app", *options))
    assert "the server is not ready; 127." in error
    assert ": its workers import endless:app" in error


def test_up_waits_for_a_slow_constructor_and_the_log_says_so(tmp_path: Path) -> None:
    app = ("--app", "constructors:slow", "--drain", "0")
    with deployed(tmp_path, "slow", "--nodes", "3", *app, env=dict(PATH)) as deployment:
        log = deployment.run("logs", "slow").stdout
    assert log.count("Waiting for constructors:slow: the constructor of Slow has run for 2 s") == 2
    assert log.count("on the session engine: Slow, 1 session per worker") == 2


UNSTARTABLE = """
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def start(_):
    raise RuntimeError("there is no GPU")
    yield


app = FastAPI(lifespan=start)
"""


def test_up_says_that_the_app_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "unstartable.py").write_text(UNSTARTABLE)
    done = up(tmp_path, "unstartable:app", "--nodes", "1", "--workers-per-node", "1")
    error = error_of(done)
    assert (
        "before it was ready: unstartable:app does not start; its traceback is in the log" in error
    )
    assert "RuntimeError: there is no GPU" in done.stderr


def test_server_reports_a_failing_constructor_in_one_line(tmp_path: Path) -> None:
    options = ("--app", "constructors:fails")
    with serving(tmp_path, *options, wait=False, WORKERS=2, PYTHONPATH=APPS) as server:
        assert server.process.wait(30) == 1
        log = server.log.read_text()
    assert [line for line in log.splitlines() if "rror" in line] == log.splitlines()[-1:]
    assert log.splitlines()[-1].startswith("error: constructors:fails: Environment factory 'Fails'")


def test_server_names_the_signal_that_ended_a_constructor(tmp_path: Path) -> None:
    options = ("--app", "constructors:crashes")
    with serving(tmp_path, *options, wait=False, PYTHONPATH=APPS) as server:
        assert server.process.wait(30) == 1
        last = server.log.read_text().splitlines()[-1]
    assert "was killed by SIGSEGV before it was ready; code was running in trial (constr" in last
