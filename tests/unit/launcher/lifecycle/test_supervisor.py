"""Restarts, readiness and the order of stopping, on values and with real processes."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.deployment.placement import Process, Role
from launcher.errors import DeploymentFailed, StartFailed
from launcher.lifecycle.supervisor import (
    can_continue,
    stop_order,
    Supervisor,
    unhealthy_first,
    Unready,
)
from launcher.runtimes.local import LocalRuntime

NODE = "127.0.0.1"
FOREVER = "exec sleep 60"


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Process]:
    def make(name: str, script: str = FOREVER, node: str = NODE) -> Process:
        role = Role.ENVOY if name.startswith("envoy") else Role.SERVER
        return Process(name, role, node, ("sh", "-c", script), {}, (), tmp_path / f"{name}.log")

    return make


@pytest.fixture
def runtime() -> Iterator[LocalRuntime]:
    runtime = LocalRuntime()
    yield runtime
    runtime.close()


@pytest.mark.parametrize(
    ("role", "remaining", "one_for_all", "continues"),
    [
        (Role.SERVER, [Role.ENVOY, Role.SERVER], False, True),
        (Role.SERVER, [Role.ENVOY], False, False),
        (Role.ENVOY, [Role.SERVER, Role.SERVER], False, False),
        (Role.ENVOY, [Role.SERVER, Role.ENVOY], False, True),
        (Role.SERVER, [], False, False),
        (Role.SERVER, [Role.ENVOY, Role.SERVER], True, False),
    ],
)
def test_a_deployment_continues_only_with_another_process_of_the_same_role(
    role: Role, remaining: list[Role], one_for_all: bool, continues: bool
) -> None:
    assert can_continue(role, remaining, one_for_all=one_for_all) == continues


def test_every_envoy_stops_after_the_servers(process: Callable[..., Process]) -> None:
    first, last = stop_order(
        process(name) for name in ("envoy", "server-1", "envoy-2", "server-2", "server-3")
    )
    assert [each.name for each in first] == ["server-1", "server-2", "server-3"]
    assert [each.name for each in last] == ["envoy", "envoy-2"]
    assert stop_order([]) == ([], [])


def test_processes_on_unhealthy_nodes_come_first_and_keep_their_order(
    process: Callable[..., Process],
) -> None:
    processes = [process("envoy", node="n1")]
    processes += [process(f"server-{i}", node=f"n{i + 1}") for i in (1, 2, 3)]
    names = [each.name for each in unhealthy_first(processes, {"n4", "n3"})]
    assert names == ["server-2", "server-3", "envoy", "server-1"]
    assert unhealthy_first(processes, set()) == processes


def hold(supervisor: Supervisor, *processes: Process, seconds: float = 5) -> None:
    """Holds the processes until a command exits after so many seconds."""
    with supervisor.signals, subprocess.Popen(["sleep", str(seconds)]) as command:
        try:
            for each in processes:
                supervisor.start(each)
            supervisor.hold(command)
        finally:
            supervisor.stop()
            command.kill()


def test_a_process_that_keeps_exiting_is_replaced_three_times_and_then_fails_the_deployment(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    events: list[str] = []
    supervisor = Supervisor(runtime, events.append)
    with pytest.raises(DeploymentFailed) as failed:
        hold(supervisor, process("server-1", "echo broken; exit 3"), process("server-2"))
    assert events == [
        f"server-1 on {NODE} exited with 3; replaced ({number} of 3)" for number in (1, 2, 3)
    ]
    first, _, log = str(failed.value).partition("\n")
    assert first.startswith(
        f"server-1 on {NODE} exited with 3, 4 times within 5 minutes; the end of"
    )
    assert log == "\n".join(["  broken"] * 4)


def test_a_deployment_gives_up_a_server_while_another_is_left(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    events: list[str] = []
    supervisor = Supervisor(runtime, events.append, one_for_all=False)
    started = time.monotonic()
    processes = (process("envoy"), process("server-1", "exit 1"), process("server-2"))
    hold(supervisor, *processes, seconds=5)
    assert time.monotonic() - started >= 5
    assert len(events) == 4
    assert events[-1] == (
        f"server-1 on {NODE} exited with 1, 4 times within 5 minutes; 1 server(s) are left"
    )


def test_the_last_envoy_fails_a_deployment_that_has_servers(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    supervisor = Supervisor(runtime, lambda _: None, one_for_all=False)
    processes = (process("envoy", "exit 1"), process("server-1"), process("server-2"))
    with pytest.raises(DeploymentFailed, match="envoy on"):
        hold(supervisor, *processes)


def test_a_process_that_exits_before_it_is_ready_fails_the_start_at_once(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    supervisor = Supervisor(runtime, lambda _: None)
    deadline = time.monotonic() + 30
    with supervisor.signals:
        supervisor.start(process("server-1", "echo no such world; exit 7"))
        with pytest.raises(StartFailed, match=r"exited with 7 before it was ready") as failed:
            supervisor.wait_ready(lambda: Unready("not yet"), deadline)
        supervisor.stop()
    assert str(failed.value).endswith("  no such world")
    assert time.monotonic() < deadline - 20


def test_the_last_error_in_the_log_is_the_cause_of_a_failed_start(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    supervisor = Supervisor(runtime, lambda _: None)
    script = "echo error: one; echo error: no such world; echo bye; exit 7"
    with supervisor.signals:
        supervisor.start(process("server-1", script))
        with pytest.raises(StartFailed, match=r"before it was ready: no such world; the end of"):
            supervisor.wait_ready(lambda: Unready("not yet"), time.monotonic() + 30)
        supervisor.stop()


def test_a_late_start_fails_with_three_logs_those_of_unhealthy_nodes_first(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    supervisor = Supervisor(runtime, lambda _: None)
    reason = Unready("Envoy reports n4 as unhealthy", frozenset({"n4"}))
    with supervisor.signals:
        for number in (1, 2, 3, 4):
            name = f"server-{number}"
            supervisor.start(process(name, f"echo {name}; {FOREVER}", node=f"n{number}"))
        logs = [child.process.log for child in supervisor.children.values()]
        deadline = time.monotonic() + 10
        while not all(log.stat().st_size for log in logs) and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(StartFailed) as failed:
            supervisor.wait_ready(lambda: reason, time.monotonic(), lambda nodes: f"; {nodes}")
        supervisor.stop()
    head, *rest = str(failed.value).splitlines()
    assert head == "not ready in time: Envoy reports n4 as unhealthy; frozenset({'n4'})"
    assert [line.strip() for line in rest[1::2]] == ["server-4", "server-1", "server-2"]


def test_wait_ready_returns_once_nothing_is_missing(runtime: LocalRuntime) -> None:
    reasons = iter([Unready("first"), Unready("second"), None])
    supervisor = Supervisor(runtime, lambda _: None)
    with supervisor.signals:
        supervisor.wait_ready(lambda: next(reasons), time.monotonic() + 30)
    assert list(reasons) == []


def test_a_process_that_ignores_sigterm_is_killed_after_the_time_to_stop(
    runtime: LocalRuntime, process: Callable[..., Process]
) -> None:
    supervisor = Supervisor(runtime, lambda _: None, stop_seconds=0.3)
    with supervisor.signals:
        stubborn = process("server-1", "trap '' TERM; echo up; while :; do sleep 1; done")
        supervisor.start(stubborn)
        handle = supervisor.children["server-1"].handle
        deadline = time.monotonic() + 10
        while not stubborn.log.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.01)
        started = time.monotonic()
        supervisor.stop()
    assert handle.poll() == -9
    assert 0.3 <= time.monotonic() - started < 3
    assert supervisor.children == {}
