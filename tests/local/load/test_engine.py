"""Many sessions in one process: held, dropped and delayed sessions, and Locust's count of them."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from websockets.frames import Opcode

from locustfiles.grid import cell_share as shares
from locustfiles.grid.cell_share import Barrier, Share
from locustfiles.session import run as session
from locustfiles.session.engine import engine
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan
from tests.helpers.misbehaving import (
    accepted,
    Act,
    after_upgrade,
    assert_success,
    CLOSE,
    PLAN,
    server_frame,
    serving,
    TEXT,
)


def test_dropped_session_leaves_no_socket() -> None:
    left = threading.Event()

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        while connection.recv(4096):
            pass
        left.set()

    with serving(act) as target:
        with gevent.Timeout(0.2, False):
            session.run(PLAN, target)
        assert left.wait(5)
    assert engine().opening == 0


def held(sessions: int, plan: Plan, act: Act, release: Callable[[Barrier], None]) -> list[Outcome]:
    barrier = Barrier()
    with serving(act) as target:
        running = [gevent.spawn(session.run, plan, target, barrier) for _ in range(sessions)]
        with gevent.Timeout(5):
            while barrier.held < sessions:
                gevent.sleep(0.01)
        release(barrier)
        gevent.joinall(running, timeout=10)
    return [each.get() for each in running]


def test_held_session_gets_a_new_deadline_when_released() -> None:
    def release(barrier: Barrier) -> None:
        gevent.sleep(0.6)
        barrier.release()

    outcomes = held(40, Plan("ws", 0.0, 0.5), after_upgrade(TEXT, TEXT, CLOSE), release)
    for outcome in outcomes:
        assert_success(outcome)
        assert outcome.hold_latency is not None
        assert outcome.hold_latency >= 0.6
        assert outcome.total_latency is not None
        assert outcome.total_latency < 0.6


def test_held_session_is_not_counted_after_it_is_disconnected() -> None:
    cut = threading.Event()

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        connection.recv(4096)
        connection.sendall(TEXT + server_frame(Opcode.PING, b""))
        assert connection.recv(4096)[0] == 0x8A
        cut.wait(5)

    def release(barrier: Barrier) -> None:
        cut.set()
        with gevent.Timeout(5):
            while barrier.held:
                gevent.sleep(0.01)

    (outcome,) = held(1, PLAN, act, release)
    assert outcome.error_type == "DISCONNECTED"
    assert outcome.hold_latency is not None


def message(url: str, sessions: int, shape: str = "burst", **more: Any) -> dict[str, Any]:
    """The share of a cell that has a single load worker."""
    constant = {"shape": shape, "steps": 1, "batch_size": sessions}
    constant |= {"arrival_rate": 1e6, "arrivals": "constant"}
    cell = {"cell": 1, "start": time.time(), "first": 0, "index": 0, "counts": [sessions]}
    plan = {"mode": "ws", "wait": 0.0, "timeout": 20.0, "url": url, "sources": None}
    return {**cell, **plan, "constant": constant, **more}


def most_at_once(shape: str, sessions: int, silent: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Returns the largest number of sessions that were opening at once. The server is slow, and never
    answers the first `silent` sessions."""
    monkeypatch.setattr(shares, "MAX_OPENING", 4)
    monkeypatch.setattr(shares, "SLICE", 1)
    monkeypatch.setattr(shares, "STALL_SECONDS", 0.5)
    lock = threading.Lock()
    waiting, most, count = 0, 0, 0
    rows: list[Outcome] = []

    def act(connection: socket.socket, head: bytes) -> None:
        nonlocal waiting, most, count
        with lock:
            waiting, count = waiting + 1, count + 1
            most, mine = max(most, waiting), count
        if mine <= silent:
            connection.recv(1)
            return
        time.sleep(0.02)
        with lock:
            waiting -= 1
        after_upgrade(TEXT, TEXT, CLOSE)(connection, head)

    with serving(act) as target:
        cell = message(f"http://127.0.0.1:{target.port}", sessions, shape, timeout=3.0)
        share = Share(cell, "load-1", 0.0, lambda _, __, outcome: rows.append(outcome))
        share.run()
        with gevent.Timeout(10):
            while not share.finished:
                gevent.sleep(0.01)
    assert len(rows) == sessions
    assert sum(not outcome.success for outcome in rows) == silent
    return most


def test_burst_limits_how_many_sessions_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_at_once("burst", 40, 0, monkeypatch) <= 4


def test_arrivals_open_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_at_once("open", 40, 0, monkeypatch) > 4


def test_burst_does_not_wait_for_sessions_that_never_open(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_at_once("burst", 20, 4, monkeypatch) > 4
