"""`launcher top` on a real deployment."""

import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.local import assert_one_line, deployed, Deployment

TOP = (
    "from launcher.cli.main import run; from launcher.cli.top import top; run(top, 'launcher top')"
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-c", TOP, *arguments]


def top(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"cwd": deployment.folder, "env": deployment.environment}
    options |= {"capture_output": True, "text": True, "timeout": 60}
    return subprocess.run(command(*arguments), check=False, **options)


def begin(deployment: Deployment, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(
        command(*arguments), cwd=deployment.folder, env=deployment.environment, **options
    )


def test_top_once_prints_a_table(deployment: Deployment) -> None:
    done = top(deployment, "shared", "--once", "--interval", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"shared: ready  {deployment.url}"
    for name in ("envoy", "server-1", "server-2"):
        (row,) = [line for line in lines if line.split()[:1] == [name]]
        assert "/" in row  # descriptors of how many
        assert "-" not in row.removeprefix(f" {name}").split()
    assert lines[-1].startswith("Envoy: sessions in ")
    assert any(line.split()[:1] == [os.uname().nodename] for line in lines)


def test_top_once_prints_json_in_the_folder_of_the_deployment(deployment: Deployment) -> None:
    done = top(deployment, "--once", "--json", "--interval", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert (seen["name"], seen["status"], seen["warnings"]) == ("shared", "ready", [])
    assert [row["name"] for row in seen["processes"]] == ["envoy", "server-1", "server-2"]
    assert [row["pid"] for row in seen["processes"]] == [
        deployment.pid(name) for name in ("envoy", "server-1", "server-2")
    ]
    places = seen["processes"][1]["places"]
    assert places["free"] + places["used"] == places["limit"] == sum(places["workers"]) + 8192
    assert seen["envoy"]["membership_healthy"] == 2
    assert len(seen["nodes"]) == 1


def test_top_runs_until_ctrl_c(deployment: Deployment) -> None:
    with begin(deployment, "shared", "--json", "--interval", "0.1") as going:
        assert going.stdout is not None
        moments = [json.loads(going.stdout.readline())["time"] for _ in range(3)]
        going.send_signal(signal.SIGINT)
        _, said = going.communicate(timeout=30)
    assert moments == sorted(set(moments))
    assert (going.returncode, said) == (130, "interrupted: SIGINT\n")


def test_top_updates_one_table_on_a_terminal(deployment: Deployment) -> None:
    ours, theirs = pty.openpty()
    environment = deployment.environment | {"TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        command("shared", "--interval", "0.1"),
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as going:
        os.close(theirs)
        shown = b""
        while shown.count(b"server-2") < 3:
            shown += os.read(ours, 4096)
        going.send_signal(signal.SIGINT)
        assert going.wait(30) == 130
    os.close(ours)
    assert b"\x1b[1A" in shown  # back up over the table before


def test_top_ends_with_the_deployment(tmp_path: Path) -> None:
    with deployed(tmp_path, "brief", "--nodes", "1", "--drain", "0") as deployment:
        with begin(deployment, "brief", "--interval", "0.1") as going:
            assert going.stdout is not None
            assert going.stdout.readline() == f"brief: ready  {deployment.url}\n"
            deployment.run("down", "brief")
            shown, said = going.communicate(timeout=30)
        assert (going.returncode, said) == (0, "brief is stopped\n")
        assert "Envoy" not in shown
        assert_one_line(top(deployment, "brief"), "no deployment named 'brief' is up", code=1)


def test_prometheus_can_scrape_every_printed_target(deployment: Deployment) -> None:
    done = top(deployment, "shared", "--prometheus-targets")
    assert (done.returncode, done.stderr) == (0, "")
    groups = json.loads(done.stdout)
    assert [group["labels"]["job"] for group in groups] == [
        *("openenv-server", "openenv-server", "openenv-envoy")
    ]
    for group in groups:
        path = group["labels"].get("__metrics_path__", "/metrics")
        for target in group["targets"]:
            with urllib.request.urlopen(f"http://{target}{path}", timeout=5) as answer:
                assert b"# TYPE " in answer.read()


@pytest.mark.parametrize("interval", ["0", "x", "nan"])
def test_top_refuses_a_bad_interval(deployment: Deployment, interval: str) -> None:
    assert_one_line(top(deployment, "shared", "--interval", interval), "--interval", code=2)
