"""Faults injected into a running cell: each is named as a reason for INVALID or as the bound."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket

from launcher.envoy import admin
from tests.helpers.grids import grid, rows_of, run_json, start_grid, summary_of
from tests.helpers.local import deployed, Deployment, LAUNCHER, places_used, wait_for


def ended(running: subprocess.Popen[str]) -> str:
    """Returns its standard error."""
    _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    return said


def attempts(folder: Path) -> list[dict[str, Any]]:
    """The entries of run.json, one for each attempt."""
    return list(run_json(folder)["cells"])


@contextlib.contextmanager
def starved(pid: int) -> Iterator[None]:
    """Runs busy loops that take its core: with a higher priority, and in a session of their own
    where the kernel schedules by session (sched_autogroup)."""
    core = {min(os.sched_getaffinity(0))}
    for thread in psutil.Process(pid).threads():
        os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setaffinity(thread.id, core)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("19")
    argv = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(argv, start_new_session=True) for _ in range(4)]
    try:
        for loop in loops:
            os.sched_setaffinity(loop.pid, core)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_cell_is_invalid_when_a_load_worker_lacks_cpu(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    how = ["-n", "60", "--wait", "2", "--load-workers", "2", "--max-lag", "0.3"]
    running = start_grid(deployment, output, mark, *how)
    pid = wait_for(lambda: run_json(output)["placement"]["load"].get("load-2"), 30, "load workers")
    with starved(pid):
        wait_for(lambda: attempts(output), 90, "the first attempt has ended")
    said = ended(running)
    first = attempts(output)[0]
    lags = {name: worker["lag_max"] for name, worker in first["workers"].items()}
    assert lags["load-2"] > 0.3
    assert re.search(r"INVALID: the load generator ran late: .*load-2 by .* \(limit 0.3 s\)", said)
    assert len(attempts(output)) == 2  # it may help to run it again
    assert first["bound"]["by"] == "load generator"


def test_cell_is_invalid_when_a_server_is_replaced_during_it(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    with deployed(tmp_path, "struck", "--nodes", "3", "--drain", "0") as struck:
        output = tmp_path / "results"
        running = start_grid(struck, output, mark, "-n", "40", "--wait", "2")
        wait_for(lambda: places_used(struck) == 40, 30, "all sessions are open")
        os.kill(struck.pid("server-1"), signal.SIGKILL)
        said = ended(running)
    assert "the deployment changed during the cell: server-1 on" in said
    first, second = attempts(output)
    assert first["replaced"]
    assert second["replaced"] == []
    (line,) = summary_of(output)
    assert (line["attempt"], line["valid"]) == (2, True)


def test_cell_is_invalid_when_envoy_is_replaced_during_it(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    with deployed(tmp_path, "struck", "--nodes", "3", "--drain", "0") as struck:
        output = tmp_path / "results"
        running = start_grid(struck, output, mark, "-n", "40", "--wait", "2")
        wait_for(lambda: places_used(struck) == 40, 30, "all sessions are open")
        os.kill(struck.pid("envoy"), signal.SIGKILL)
        assert "the deployment changed during the cell: envoy on" in ended(running)


def test_cell_is_invalid_when_a_server_drains(tmp_path: Path) -> None:
    with deployed(tmp_path, "drained", "--nodes", "3", "--drain", "30") as drained:
        output = tmp_path / "results"
        server = drained.state["servers"][0]
        kept = websocket.create_connection(f"ws://{server['address']}:8000/ws")
        try:
            os.kill(drained.pid("server-1"), signal.SIGTERM)
            wait_for(lambda: admin.healthy(drained.admin_url) == 1, 20, "Envoy counts it out")
            done = grid(drained, output, "-n", "30", "--wait", "0.2", "--expected-hosts", "2")
        finally:
            kept.close()
    assert done.returncode == 0
    (line,) = summary_of(output)
    assert not line["valid"]
    assert "traffic reached 1 of 2 hosts" in line["reasons"]


def test_bound_names_the_circuit_breaker_of_envoy(tmp_path: Path) -> None:
    with deployed(tmp_path, "broken", "--nodes", "3", "--max-concurrent-envs", "500") as broken:
        config = tmp_path / "envoy-config-generated.yaml"
        lowered = re.sub(
            r"(max_(?:connections|requests|pending_requests)): \d+", r"\1: 10", config.read_text()
        )
        config.write_text(lowered)
        envoy = broken.pid("envoy")
        os.kill(envoy, signal.SIGKILL)
        wait_for(lambda: broken.pid("envoy") != envoy, 20, "Envoy is replaced")
        wait_for(lambda: admin.healthy(broken.admin_url) == 2, 20, "servers are healthy")
        output = tmp_path / "results"
        assert grid(broken, output, "-n", "100", "--wait", "1").returncode == 0
    (line,) = summary_of(output)
    assert line["valid"]
    assert line["bound"] == "Envoy breaker"
    assert "grew by" in line["bound_evidence"]


def test_bound_names_the_admission_cap(tmp_path: Path) -> None:
    options = ["--nodes", "3", "--max-concurrent-envs", "20", "--workers-per-node", "2"]
    with deployed(tmp_path, "capped", *options) as capped:
        output = tmp_path / "results"
        assert grid(capped, output, "-n", "100", "--wait", "2").returncode == 0
    (line,) = summary_of(output)
    assert (line["successful"], line["capacity_errors"]) == (80, 20)
    assert line["bound"] == "admission cap"
    assert "80 of 80 places" in line["bound_evidence"]


def test_bound_names_the_descriptors_of_a_load_worker(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    how = ["--requests-grid", "4,80", "--wait", "1.5", "--load-workers", "2"]
    running = start_grid(deployment, output, mark, *how)
    pid = wait_for(lambda: run_json(output)["placement"]["load"].get("load-1"), 30, "load workers")
    few = psutil.Process(pid).num_fds() + 10
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, few))
    ended(running)
    line = summary_of(output)[-1]
    assert not line["valid"]
    assert "NO_DESCRIPTORS" in line["reasons"]
    assert line["bound"] == "descriptors"


def test_bound_names_the_descriptors_of_a_server(tmp_path: Path) -> None:
    options = ["--nodes", "3", "--workers-per-node", "1", "--max-concurrent-envs", "500"]
    with deployed(tmp_path, "few", *options, "--drain", "0") as few:
        for server in few.state["servers"]:
            (worker,) = server_workers(server)
            limit = psutil.Process(worker).num_fds() + 15
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
        output = tmp_path / "results"
        how = ["-n", "100", "--wait", "2", "--timeout", "6"]
        assert grid(few, output, *how).returncode == 0
    (line,) = summary_of(output)
    assert line["error_rate"] > 0.05
    assert line["bound"] == "descriptors"
    assert re.search(r"server-\d on 127\.\S+ had \d+ of \d+ descriptors", line["bound_evidence"])


def server_workers(server: dict[str, Any]) -> list[int]:
    from tests.helpers.local import get_json

    ready = get_json(f"http://{server['address']}:{server['control_port']}/ready")
    return [worker["pid"] for worker in ready["workers"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network namespace here")
def test_bound_names_the_ports_of_the_node_of_envoy(tmp_path: Path) -> None:
    """Runs in a network namespace with 60 ephemeral ports: enough for the sessions to Envoy from
    three addresses, but not for the sessions from Envoy to two workers."""
    sources = "127.0.0.11,127.0.0.12,127.0.0.13"
    inner = (
        "{launcher} up --local --nodes 3 --workers-per-node 1 --max-concurrent-envs 200 "
        "--name narrow --dir '{folder}' -- {launcher} grid -n 160 --wait 2 --timeout 20 "
        "--source-addresses {sources} --output-dir '{folder}/results'"
    ).format(launcher=" ".join(LAUNCHER), folder=tmp_path, sources=sources)
    script = (
        "ip link set lo up && echo '40000 40059' > /proc/sys/net/ipv4/ip_local_port_range && "
        f"exec {inner}"
    )
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = summary_of(tmp_path / "results")
    assert line["error_rate"] > 0.05
    assert line["bound"] == "ports", line["bound_evidence"]
    assert rows_of(tmp_path / "results")


def test_cell_is_invalid_when_the_deployment_ends_during_it(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    with deployed(tmp_path, "ending", "--nodes", "3", "--drain", "30") as ending:
        output = tmp_path / "results"
        running = start_grid(ending, output, mark, "-n", "10", "--wait", "3", "--require-valid")
        wait_for(lambda: places_used(ending) == 10, 30, "all sessions are open")
        assert ending.run("down", "ending").returncode == 0
        _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "the deployment has ended" in said
    assert "1 of 1 cell(s) are INVALID" in said
    assert len(attempts(output)) == 1  # there is nothing to run it against
    assert [row["success"] for row in rows_of(output)] == [True] * 10
