"""Grids against real deployments: their records and their failures."""

import csv
import json
import os
import resource
import signal
import socket
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import psutil
import pytest

from analysis.cells.summary import as_csv, cell, COLUMNS
from analysis.rows.files import read
from tests.helpers.grids import grid, rows_of, run_json, start_grid
from tests.helpers.local import (
    assert_one_line,
    deployed,
    Deployment,
    launch,
    LAUNCHER,
    MARK,
    new_address,
    places_used,
    processes_of,
    serving,
    wait_for,
)


def test_grid_records_a_row_per_session_and_a_line_per_cell(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    cells = ["--requests-grid", "5,20", "--wait-grid", "0,0.1", "--reps", "2", "--compare"]
    done = grid(deployment, output, *cells, "--expected-hosts", "2", "--hardware", "test bench")
    assert done.returncode == 0, done.stderr
    rows = rows_of(output)
    keys = Counter(
        (r["mode"], r["batch_size"], r["wait_requested"], r["repetition"], r["request_id"])
        for r in rows
    )
    assert len(rows) == len(keys) == 2 * 2 * 2 * (5 + 20)
    assert {row["load_worker"] for row in rows if row["batch_size"] == 20} == {"load-1", "load-2"}
    for row in rows:
        assert row["success"] is True
        assert row["error_type"] is None
        assert row["waited_seconds"] == row["wait_requested"]
        assert row["step_latency"] > row["wait_requested"] - 0.002  # the loop's clock has steps
        parts = ("connect_latency", "reset_latency", "step_latency")
        assert sum(row[part] for part in parts) <= row["total_latency"]
        assert row["hardware"] == "test bench"
    with (output / "summary.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 2 * 2
    assert list(lines[0])[: len(COLUMNS)] == COLUMNS
    assert all(line["error_rate"] == "0.0" and line["valid"] == "True" for line in lines)
    assert {line["mode"] for line in lines} == {"ws", "http"}
    run = run_json(output)
    assert (run["status"], run["rows"], len(run["cells"])) == ("complete", 200, 16)
    assert run["caps"]["max_concurrent_envs"] == 8192
    assert run["limits"]["descriptors"] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert run["placement"]["deployment"] == "shared"
    assert run["placement"]["load_shares_node"] is True


def test_summary_can_be_computed_again_from_the_rows(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "--requests-grid", "4,9", "--reps", "2").returncode == 0
    again = as_csv(map(cell, read(output / "raw.jsonl", messages=True).attempts()))
    assert again == (output / "summary.csv").read_text()


def test_sessions_of_a_burst_start_together(deployment: Deployment, tmp_path: Path) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "-n", "60", "--wait", "1.5").returncode == 0
    rows = read(output / "raw.jsonl", messages=True).frame()
    started = pd.to_datetime(rows["timestamp"], format="ISO8601")
    ended = started + pd.to_timedelta(rows["total_latency"], unit="s")
    assert started.max() < ended.min()


def test_grid_refuses_a_folder_with_results(deployment: Deployment, tmp_path: Path) -> None:
    assert grid(deployment, tmp_path / "results", "-n", "2", "--wait", "0").returncode == 0
    before = (tmp_path / "results" / "raw.jsonl").read_bytes()
    again = grid(deployment, tmp_path / "results", "-n", "2", "--wait", "0")
    assert_one_line(again, "already holds results (raw.jsonl)", code=2)
    assert (tmp_path / "results" / "raw.jsonl").read_bytes() == before


def test_grid_counts_capacity_errors_of_a_single_server(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=1, MAX_CONCURRENT_ENVS=7) as server:
        output = tmp_path / "results"
        done = launch(
            "grid", "--url", server.url, "-n", "10", "--wait", "3", "--output-dir", str(output)
        )
        assert done.returncode == 0, done.stderr
    assert Counter(row["error_type"] for row in rows_of(output)) == {None: 7, "CAPACITY_REACHED": 3}
    with (output / "summary.csv").open() as file:
        line = next(csv.DictReader(file))
    assert (line["capacity_errors"], line["error_rate"]) == ("3", "0.3")


def test_grid_records_a_row_for_a_session_that_times_out(
    deployment: Deployment, tmp_path: Path
) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=1) as server:
        worker = psutil.Process(server.ready()["workers"][0]["pid"])
        argv = ["grid", "--url", server.url, "-n", "6", "--wait", "0.1", "--timeout", "2"]
        slow = subprocess.Popen([*LAUNCHER, *argv, "--output-dir", str(tmp_path / "results")])
        try:
            wait_for((tmp_path / "results" / "run.json").exists, 20, "the grid has begun")
            worker.suspend()
            assert slow.wait(60) == 0
        finally:
            worker.resume()
            slow.kill()
            slow.wait()
    rows = rows_of(tmp_path / "results")
    assert [row["error_type"] for row in rows] == ["TIMEOUT"] * 6
    assert all(row["total_latency"] >= 2 and row["step_latency"] is None for row in rows)


def test_cell_is_invalid_and_repeated_when_it_loses_a_load_worker(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    running = start_grid(
        deployment, output, mark, "--requests-grid", "40,50", "--wait", "4", "--load-workers", "2"
    )
    pid = wait_for(lambda: run_json(output)["placement"]["load"].get("load-2"), 30, "load workers")
    wait_for(lambda: places_used(deployment) == 40, 30, "all sessions are open")
    os.kill(pid, signal.SIGKILL)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0
    assert f"load worker load-2 (pid {pid}) was killed by SIGKILL" in said
    assert "repeating it once" in said
    first = [row for row in rows_of(output) if (row["batch_size"], row["attempt"]) == (40, 1)]
    again = [row for row in rows_of(output) if (row["batch_size"], row["attempt"]) == (40, 2)]
    assert len(again) == 40
    assert all(row["success"] for row in again)
    with (output / "summary.csv").open() as file:
        lines = [
            (line["batch_size"], line["attempt"], line["valid"]) for line in csv.DictReader(file)
        ]
    assert lines == [("40", "2", "True"), ("50", "1", "True")]
    facts = run_json(output)["cells"]
    assert f"load worker load-2 (pid {pid})" in facts[0]["lost_workers"][0]
    assert facts[1]["lost_workers"] == []
    assert sorted(row["request_id"] for row in first) == list(range(40))
    lost = [row for row in first if row["error_type"] == "LOAD_WORKER_LOST"]
    assert 0 < len(lost) < 40
    assert {row["load_worker"] for row in lost} == {"load-2"}
    assert all(row["success"] for row in first if row not in lost)
    wait_for(lambda: places_used(deployment) == 0, 10, "the lost sessions' places are free")


def test_grid_fails_when_load_workers_keep_dying(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    running = start_grid(
        deployment, output, mark, "--requests-grid", "40,50", "--wait", "4", "--load-workers", "2"
    )
    killed: set[int] = set()
    for _ in range(2):
        pid = wait_for(lambda: _another(output, killed), 30, "load workers")
        wait_for(lambda: places_used(deployment) == 40, 30, "all sessions are open")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "the grid stops here" in said
    rows = [row for row in rows_of(output) if row["attempt"] == 2]
    assert sorted(row["request_id"] for row in rows) == list(range(40))
    lost = [row for row in rows if row["error_type"] == "LOAD_WORKER_LOST"]
    assert 0 < len(lost) < 40
    with (output / "summary.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert line["valid"] == "False"
    assert f"the load generator lost {len(lost)} of " in line["reasons"]
    assert run_json(output)["status"] == "failed"
    wait_for(lambda: places_used(deployment) == 0, 10, "the lost sessions' places are free")


def _another(output: Path, than: set[int]) -> int | None:
    pid = run_json(output)["placement"]["load"].get("load-2")
    return None if pid in than else pid


def test_silent_load_worker_invalidates_only_its_attempt(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    arguments = ["--requests-grid", "20,22", "--wait", "1", "--timeout", "2"]
    running = start_grid(deployment, output, mark, *arguments)
    pid = wait_for(lambda: run_json(output)["placement"]["load"].get("load-2"), 30, "load workers")
    wait_for(lambda: places_used(deployment) == 20, 30, "all sessions are open")
    os.kill(pid, signal.SIGSTOP)
    running.communicate(timeout=90)
    assert running.returncode == 0
    rows = rows_of(output)
    first = [row for row in rows if (row["batch_size"], row["attempt"]) == (20, 1)]
    assert sorted(row["request_id"] for row in first) == list(range(20))
    assert Counter(row["error_type"] for row in first) == {None: 10, "ROW_MISSING": 10}
    assert all(row["success"] for row in rows if row not in first)
    assert len(rows) == 20 + 20 + 22


def test_grid_fails_when_the_load_master_dies(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    running = start_grid(deployment, output, mark, "-n", "10", "--wait", "5")
    pid = wait_for(lambda: run_json(output)["placement"]["load"].get("load-master"), 30, "master")
    os.kill(pid, signal.SIGKILL)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "error: the load master was killed by SIGKILL" in said
    assert "Traceback" not in said
    assert [row["error_type"] for row in rows_of(output)] == ["INTERRUPTED"] * 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_grid_keeps_its_rows_and_leaves_no_processes(
    number: signal.Signals, deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    arguments = ["--requests-grid", "6,7", "--wait-grid", "0.1,30"]
    running = start_grid(deployment, output, mark, *arguments)
    wait_for(lambda: len(run_json(output)["cells"]) == 2, 40, "two cells are done")
    running.send_signal(number)
    said, _ = running.communicate(timeout=20)
    wait_for(lambda: not processes_of(mark[MARK]), 5, "nothing is left")
    rows = rows_of(output)
    assert [row["batch_size"] for row in rows[:13]] == [6] * 6 + [7] * 7
    if number is not signal.SIGKILL:
        assert running.returncode == 128 + number
        assert run_json(output)["status"] == "interrupted"
        assert [row["error_type"] for row in rows[13:]] == ["INTERRUPTED"] * 6
        assert "NO: the load generator lost 6 of " in said


def test_grid_fails_with_whole_rows_when_the_disk_is_full(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    script = (
        f"ulimit -f 24; exec \"$@\" --output-dir '{tmp_path}/results'"  # in units of 1024 bytes
    )
    argv = [
        *LAUNCHER,
        "grid",
        "--url",
        deployment.url,
        "--requests-grid",
        "20,25,30",
        "--wait",
        "0",
    ]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *argv],
        env=mark,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "error: cannot write" in done.stderr
    assert "are whole; free some space" in done.stderr
    assert "Traceback" not in done.stderr
    rows = rows_of(tmp_path / "results")
    assert 20 <= len(rows) < 75
    assert f"the {len(rows)} rows in it" in done.stderr
    assert not processes_of(mark[MARK])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_grid_fails_with_one_line_on_a_full_file_system(
    deployment: Deployment, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=True)
    try:
        done = grid(deployment, disk / "results", "--requests-grid", "20,30,40", "--wait", "0")
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert all(row["success"] for row in rows_of(disk / "results"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_grid_warns_or_fails_when_too_few_hosts_are_reached(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=1) as server:
        base = ["grid", "--url", server.url, "--requests-grid", "3,4", "--wait", "0"]
        base += ["--expected-hosts", "2", "--output-dir"]
        warned = launch(*base, str(tmp_path / "warned"))
        assert warned.returncode == 0
        assert warned.stderr.count("warning: ws batch") == 2
        assert "traffic reached 1 of 2 hosts" in warned.stderr
        assert "NO: traffic reached 1 of 2 hosts" in warned.stdout
        failed = launch(*base, str(tmp_path / "failed"), "--require-hosts")
        assert failed.returncode == 1
        assert "error: ws batch 3" in failed.stderr
        assert len(rows_of(tmp_path / "failed")) == 3


def test_grid_refuses_more_expected_hosts_than_servers(
    deployment: Deployment, tmp_path: Path
) -> None:
    done = grid(deployment, tmp_path / "results", "-n", "4", "--expected-hosts", "3")
    assert_one_line(done, "--expected-hosts 3, but the deployment at", code=2)
    assert not (tmp_path / "results").exists()


BAD_NUMBERS = [
    (["-n", "many"], "-n: 'many' is not a whole number"),
    (["-n", "0"], "-n: '0' is not a whole number from 1 to 10,000,000"),
    (["-n", "-5"], "-n: '-5' is not a whole number from 1"),
    (["-n", "2.5"], "-n: '2.5' is not a whole number"),
    (["-n", ""], "-n: '' is not a whole number"),
    (["--requests-grid", ""], "--requests-grid: it is empty"),
    (["--requests-grid", ","], "--requests-grid: it is empty"),
    (["--requests-grid", "32,x"], "--requests-grid: 'x' is not a whole number"),
    (["-n", "1", "--wait", "soon"], "--wait: 'soon' is not a number"),
    (["-n", "1", "--wait", "-1"], "--wait: '-1' is not a number from 0"),
    (["-n", "1", "--wait", "nan"], "--wait: 'nan' is not a number from 0"),
    (["-n", "1", "--wait", "inf"], "--wait: 'inf' is not a number from 0"),
    (["-n", "1", "--wait-grid", ""], "--wait-grid: it is empty"),
    (["-n", "1", "--wait", "200"], "--timeout 120 s ends sessions before their wait of 200 s"),
    (["-n", "1", "--reps", "0"], "--reps: '0' is not a whole number from 1"),
    (["-n", "1", "--expected-hosts", "0"], "--expected-hosts: '0' is not a whole number from 1"),
    (["-n", "1", "--require-hosts"], "--require-hosts requires --expected-hosts"),
    (["-n", "1", "--mode", "tcp"], "--mode: 'tcp' is not one of 'ws', 'http'"),
    (["-n", "1", "--load-workers", "0"], "--load-workers: '0' is not a whole number from 1"),
    (["-n", "1", "--requests-grid", "2"], "are mutually exclusive"),
    (["--requests-grid", "5,5"], "--requests-grid: it contains 5 more than once"),
    (["-n", "1", "--wait-grid", "0,0.0"], "--wait-grid: it contains 0 more than once"),
    (["-n", "1", "--source-addresses", "192.0.2.1"], "is not an address of this machine"),
    ([], "the number of sessions is missing"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_NUMBERS, ids=lambda value: str(value)[:40])
def test_grid_refuses_bad_numbers_in_one_line(
    arguments: list[str], says: str, deployment: Deployment, tmp_path: Path
) -> None:
    assert_one_line(grid(deployment, tmp_path / "results", *arguments), says, code=2)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("url", ["ftp://x", "x", "http://", "https://h:1", "http://h:x", "://"])
def test_grid_refuses_a_bad_url_in_one_line(url: str, tmp_path: Path) -> None:
    done = launch("grid", "--url", url, "-n", "1", cwd=tmp_path)
    assert_one_line(done, f"--url: '{url}' is not a", code=2)
    assert list(tmp_path.iterdir()) == []


def test_grid_fails_when_the_url_does_not_answer(tmp_path: Path) -> None:
    done = launch("grid", "--url", f"http://{new_address()}:8000", "-n", "1", cwd=tmp_path)
    assert_one_line(done, "does not answer: Connection refused", code=1)
    assert list(tmp_path.iterdir()) == []


def test_grid_refuses_to_run_without_a_url(tmp_path: Path) -> None:
    assert_one_line(launch("grid", "-n", "1", cwd=tmp_path), "no URL; give --url or --name", code=2)


class _Page(BaseHTTPRequestHandler):
    body = b"<html>It works!</html>"
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<html>It works!</html>", "/schema is not JSON"),
        (200, b'{"hello": 1}', "/schema has no action"),
        (404, b"", "/schema returned HTTP 404"),
        (503, b"no healthy upstream", "no healthy server behind it"),
    ],
)
def test_grid_fails_when_the_server_is_not_an_openenv_server(
    status: int, body: bytes, says: str, tmp_path: Path
) -> None:
    page = type("Page", (_Page,), {"status": status, "body": body})
    with HTTPServer((new_address(), 0), page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            host, port = server.server_address[:2]
            done = launch("grid", "--url", f"http://{host!s}:{port}", "-n", "1", cwd=tmp_path)
        finally:
            server.shutdown()
    assert_one_line(done, says, code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", b"\x00\x01\x02"])
def test_grid_fails_when_the_port_does_not_speak_http(words: bytes, tmp_path: Path) -> None:
    with socket.create_server((new_address(), 0)) as listener:
        host, port = listener.getsockname()
        argv = [*LAUNCHER, "grid", "--url", f"http://{host}:{port}", "-n", "1"]
        asking = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(words)
        _, said = asking.communicate(timeout=30)
    assert asking.returncode == 1
    assert len(said.strip().splitlines()) == 1
    assert said.startswith(f"error: http://{host}:{port} does not answer")


STRANGE_APP = """
import json
from fastapi import FastAPI, WebSocket
app = FastAPI()
@app.get("/schema")
def schema(): return {"action": {}}
@app.websocket("/ws")
async def ws(websocket: WebSocket):
    await websocket.accept()
    async for _ in websocket.iter_text():
        await websocket.send_text(%r)
"""


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("[]", "PROTOCOL_ERROR"),
        ("nonsense", "PROTOCOL_ERROR"),
        ('{"type":"error","data":null}', "PROTOCOL_ERROR"),
        ('{"type":"observation","data":{"observation":null}}', "PROTOCOL_ERROR"),
        ('{"type":"error","data":{"code":"FACTORY_ERROR"}}', "FACTORY_ERROR"),
        ('{"type":"observation","data":{"observation":{"waited_seconds":"x","pid":"y"}}}', None),
    ],
)
def test_grid_records_a_row_for_an_unexpected_reply(
    reply: str, kind: str | None, tmp_path: Path
) -> None:
    (tmp_path / "strange.py").write_text(STRANGE_APP % reply)
    output = tmp_path / "results"
    options = ["--app", "strange:app", "--drain", "0"]
    with serving(tmp_path, *options, WORKERS=1) as server:
        argv = ["grid", "--url", server.url, "-n", "4", "--wait", "0", "--output-dir", str(output)]
        done = launch(*argv)
    assert done.returncode == 0, done.stderr
    assert [row["error_type"] for row in rows_of(output)] == [kind] * 4
    assert {(row["pid"], row["waited_seconds"]) for row in rows_of(output)} == {(None, None)}


def test_grid_refuses_a_batch_beyond_the_descriptors_of_envoy(tmp_path: Path) -> None:
    up = [*LAUNCHER, "up", "--local", "--nodes", "3", "--name", "narrow", "--dir", str(tmp_path)]
    up += ["--local-address", new_address(), "--drain", "0", "--", *LAUNCHER, "grid"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 1000; exec "$@"', "bash", *up, "-n", "700"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert_one_line(
        done, "more than Envoy of deployment 'narrow' can hold: its 1 process(es) hold 400 sessions"
    )


def test_grid_recognises_a_server_of_a_deployment_by_its_url(
    deployment: Deployment, tmp_path: Path
) -> None:
    node = deployment.connection["WORKER_NODES"].split()[0]
    argv = ["grid", "--url", f"http://{node}:8000", "-n", "2", "--wait", "0"]
    done = deployment.run(*argv, "--output-dir", str(tmp_path / "r"), "--expected-hosts", "2")
    assert_one_line(done, "has 1 server(s)", code=2)
    assert deployment.run(*argv, "--output-dir", str(tmp_path / "r")).returncode == 0
    caps = run_json(tmp_path / "r")["caps"]
    assert (caps["servers"], caps["capacity"], caps["max_concurrent_envs"]) == (1, 8192, 8192)


def test_grid_ignores_proxy_settings(tmp_path: Path) -> None:
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": "nothing"}
    with deployed(tmp_path, "direct", "--nodes", "3", "--drain", "0", env=environment) as direct:
        assert direct.run("preflight", "--name", "direct").returncode == 0
        assert direct.run("grid", "-n", "4", "--wait", "0").returncode == 0


def test_grid_times_out_when_the_server_accepts_but_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server((new_address(), 0)) as silent:
        host, port = silent.getsockname()
        done = launch("grid", "--url", f"http://{host}:{port}", "-n", "1", cwd=tmp_path)
    assert_one_line(done, "does not answer: timed out", code=1)


def test_grid_refuses_a_batch_beyond_the_descriptors(
    deployment: Deployment, tmp_path: Path
) -> None:
    argv = [*LAUNCHER, "grid", "--url", deployment.url, "-n", "500", "--load-workers", "2"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash", *argv],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert_one_line(
        done, "descriptor limit 256 (ulimit -n) allows 156 sessions each; use --load-workers 4"
    )


def test_grid_refuses_a_batch_beyond_the_ports(deployment: Deployment, tmp_path: Path) -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    batch = high - low + 2
    workers = -(-batch // 1_000)
    given = ("--load-workers", str(workers), "--source-addresses", new_address())
    done = grid(deployment, tmp_path / "r", "-n", str(batch), *given)
    assert_one_line(
        done, f"each has {high - low + 1} ephemeral ports; use --source-addresses with 2"
    )


def test_grid_spreads_sessions_over_source_addresses(
    deployment: Deployment, tmp_path: Path
) -> None:
    first, second = new_address(), new_address()
    done = grid(
        deployment,
        tmp_path / "r",
        "-n",
        "20",
        "--wait",
        "0",
        "--source-addresses",
        f"{first},{second}",
    )
    assert done.returncode == 0, done.stderr
    assert run_json(tmp_path / "r")["grid"]["sources"] == [first, second]


@pytest.mark.parametrize("place", ["file/below", "/proc/nothing"])
def test_grid_refuses_an_output_folder_that_is_not_writable(
    place: str, deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert_one_line(grid(deployment, tmp_path / place, "-n", "1"), "cannot write to", code=2)


def test_preflight_prints_a_line_per_check(tmp_path: Path) -> None:
    with deployed(tmp_path, "checked", "--nodes", "3", "--drain", "0") as checked:
        good = checked.run("preflight", "--name", "checked")
        assert good.returncode == 0
        assert good.stdout.count("[OK]") == 7
        frozen = psutil.Process(checked.pid("server-1"))
        members = [frozen, *frozen.children(recursive=True)]
        for process in members:
            process.suspend()
        try:
            bad = checked.run("preflight", "--name", "checked")
        finally:
            for process in members:
                process.resume()
        assert bad.returncode == 1
        assert "[FAIL] servers:" in bad.stdout
        assert "[OK]   envoy:" in bad.stdout
        assert "[FAIL] backends:" in bad.stdout
        assert "[FAIL] distribution:" in bad.stdout
        assert "reached 1 of 2 host(s)" in bad.stdout
        as_json = json.loads(checked.run("preflight", "--name", "checked", "--json").stdout)
        assert [check["name"] for check in as_json] == [
            "servers",
            "envoy",
            "backends",
            "distribution",
            "places",
            "sessions",
            "steps",
        ]


def test_grid_records_rows_when_the_only_server_is_killed(tmp_path: Path) -> None:
    with deployed(tmp_path, "struck", "--nodes", "3", "--drain", "0") as struck:
        output = tmp_path / "results"
        running = start_grid(struck, output, dict(os.environ), "-n", "40", "--wait", "3")
        wait_for(lambda: places_used(struck) == 40, 30, "all sessions are open")
        os.kill(struck.pid("server-1"), signal.SIGKILL)
        running.communicate(timeout=60)
    kinds = Counter(row["error_type"] for row in rows_of(output) if row["attempt"] == 1)
    assert kinds.total() == 40
    assert set(kinds) == {None, "DISCONNECTED"}
    assert min(kinds.values()) >= 10


def test_batch_in_which_every_session_fails_is_valid(tmp_path: Path) -> None:
    """Hosts are not missed by it, so that a search for the ceiling continues."""
    options = ["--nodes", "3", "--max-concurrent-envs", "10", "--drain", "0"]
    with deployed(tmp_path, "slow", *options) as slow:
        output = tmp_path / "results"
        hosts = ["--expected-hosts", "2", "--require-hosts"]
        done = grid(slow, output, "-n", "8", "--wait", "1", "--timeout", "1.0005", *hosts)
    assert done.returncode == 0, done.stderr
    with (output / "summary.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["successful"], line["valid"]) == ("0", "True")
    assert line["warnings"] == "no session succeeded"
