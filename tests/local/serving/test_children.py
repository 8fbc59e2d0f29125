"""Processes that sessions start: whatever ends their worker, none of them outlives it."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket

from tests.helpers.bare_app import bare_app
from tests.helpers.local import deployed, Server, serving, wait_for

STARTING = """
import json, os, subprocess, sys

SLEEP = ["sleep", "600"]
DAEMON = "sleep 600 >/dev/null & echo $!"

def start(kind):
    if kind == "child":
        return subprocess.Popen(SLEEP).pid
    if kind == "session":
        return subprocess.Popen(SLEEP, start_new_session=True).pid
    if kind == "daemon":
        argv = ["setsid", "sh", "-c", DAEMON]
        return int(subprocess.run(argv, stdout=subprocess.PIPE).stdout)
    if kind == "orphan":
        return int(subprocess.run("true & echo $!", shell=True, stdout=subprocess.PIPE).stdout)
    if kind == "exit":
        return subprocess.run(["sh", "-c", "exit 7"], start_new_session=True).returncode
    if kind == "descriptors":
        return int(subprocess.run("ls /proc/self/fd | wc -l", shell=True, close_fds=False,
                                  stdout=subprocess.PIPE).stdout)
    os.kill(os.getpid(), getattr(__import__("signal"), kind))
"""
APP = STARTING + bare_app('str(start(message["text"]))')
KINDS = ("child", "session", "daemon")


def connect(address: str) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://{address}:8000/ws", timeout=20)


def start(session: websocket.WebSocket, kind: str) -> int:
    session.send(kind)
    return int(session.recv())


def start_all(session: websocket.WebSocket) -> list[int]:
    pids = [start(session, kind) for kind in KINDS]
    assert all(psutil.Process(pid).name() == "sleep" for pid in pids)
    return pids


def all_gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "starting.py").write_text(APP)
    with serving(tmp_path, "--app", "starting:app", "--drain", "0", WORKERS=1) as server:
        yield server


def worker_of(server: Server) -> psutil.Process:
    return psutil.Process(server.ready()["workers"][0]["pid"])


def crash(server: Server) -> None:
    session = connect(server.address)
    session.send("SIGSEGV")
    session.shutdown()


ENDS: dict[str, Callable[[Server], Any]] = {
    "crash": crash,
    "worker": lambda server: worker_of(server).kill(),
    "keeper": lambda server: psutil.Process(worker_of(server).ppid()).kill(),
    "stop": lambda server: server.stop(),
    "server": lambda server: server.process.kill(),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_that_a_session_started_outlives_its_worker(server: Server, end: str) -> None:
    session = connect(server.address)
    pids = start_all(session)
    ENDS[end](server)
    wait_for(lambda: all_gone(pids), 10, "all processes are gone")
    session.shutdown()


def test_processes_of_other_workers_survive(tmp_path: Path) -> None:
    (tmp_path / "starting.py").write_text(APP)
    with serving(tmp_path, "--app", "starting:app", "--drain", "0", WORKERS=2) as server:
        first, second = [
            websocket.create_connection(f"ws://{server.address}:{port}/ws", timeout=20)
            for port in (8002, 8003)
        ]
        lost, kept = start_all(first), start_all(second)
        worker_of(server).kill()
        wait_for(lambda: all_gone(lost) and server.ready()["ready"], 20, "the worker is replaced")
        assert all(psutil.Process(pid).is_running() for pid in kept)
        first.shutdown()
        second.shutdown()
    assert all_gone(kept)


def test_orphans_that_exit_do_not_stay_and_the_app_gets_exit_codes(server: Server) -> None:
    session = connect(server.address)
    orphan = start(session, "orphan")
    wait_for(lambda: not psutil.pid_exists(orphan), 10, "the orphan is gone")
    assert start(session, "exit") == 7
    session.close()


def test_sessions_pass_no_sockets_of_the_server_on(server: Server) -> None:
    session = connect(server.address)
    assert start(session, "descriptors") <= 4
    session.close()


@pytest.mark.parametrize("end", ["down", "server"])
def test_nothing_that_a_session_started_outlives_its_deployment(tmp_path: Path, end: str) -> None:
    (tmp_path / "starting.py").write_text(APP)
    options = ("--nodes", "2", "--app", "starting:app", "--drain", "0")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    with deployed(tmp_path, "children", *options, env=env) as deployment:
        url = deployment.url.replace("http", "ws")
        session = websocket.create_connection(f"{url}/ws", timeout=20)
        pids = start_all(session)
        if end == "server":
            before = deployment.pid("server-1")
            os.kill(before, signal.SIGKILL)
            wait_for(lambda: all_gone(pids), 10, "all processes are gone")
            wait_for(lambda: deployment.pid("server-1") != before, 20, "the server is replaced")
    assert all_gone(pids)
    session.shutdown()
