"""What keeps a deployment from being ready, and what ends one whose launcher is gone."""

import os
from pathlib import Path

import pytest

from launcher.envoy.admin import Backend
from launcher.lifecycle.readiness import judge
from launcher.lifecycle.supervisor import Unready
from launcher.lifecycle.watchers import HeartbeatWatcher
from launcher.system.signals import Interrupted


def backends(**healthy: tuple[bool, ...]) -> list[Backend]:
    return [
        Backend(node, f"{node}:{8002 + i}", is_healthy)
        for node, workers in healthy.items()
        for i, is_healthy in enumerate(workers)
    ]


def test_a_deployment_is_ready_when_every_worker_is_healthy() -> None:
    assert judge(backends(n2=(True, True), n3=(True,)), 3) is None


def test_nodes_with_any_unhealthy_worker_are_named_once_in_order() -> None:
    found = backends(n3=(True, False, False), n2=(False,), n4=(True,))
    assert judge(found, 5) == Unready("Envoy reports n2, n3 as unhealthy", frozenset({"n2", "n3"}))


@pytest.mark.parametrize(("count", "text"), [(0, "0 of 2"), (1, "1 of 2")])
def test_workers_that_envoy_does_not_know_are_counted(count: int, text: str) -> None:
    unready = judge(backends(n2=(True,) * count), 2)
    assert unready == Unready(f"Envoy knows {text} workers")


def test_a_heartbeat_that_stops_interrupts_the_deployment(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    watcher = HeartbeatWatcher(beat, timeout=0.0)
    for second in (1, 2, 3):
        os.utime(beat, (second, second))
        watcher.check()
    with pytest.raises(Interrupted):
        watcher.check()


def test_a_heartbeat_may_pause_for_its_timeout(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    watcher = HeartbeatWatcher(beat, timeout=60.0)
    watcher.check()
    watcher.check()
    beat.unlink()
    watcher.check()
    watcher.check()


def test_a_heartbeat_that_never_began_interrupts_the_deployment(tmp_path: Path) -> None:
    watcher = HeartbeatWatcher(tmp_path / "none", timeout=0.0)
    with pytest.raises(Interrupted):
        watcher.check()
