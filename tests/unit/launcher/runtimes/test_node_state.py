from pathlib import Path
from typing import cast

import pytest

from launcher.deployment.placement import Process, Role
from launcher.runtimes.agent_step import AgentStep
from launcher.runtimes.agents import Agents
from launcher.runtimes.handles import LOST_CODE, RemoteProcess
from launcher.runtimes.node_state import NodeState, SILENT_SECONDS

STEP, NEXT_STEP = cast(AgentStep, object()), cast(AgentStep, object())
FAILED = "node failure"


def remote(name: str, code: int | None = None) -> RemoteProcess:
    process = Process(name, Role.SERVER, "n2", (), {}, (), Path("/x.log"))
    handle = RemoteProcess(cast(Agents, None), process)
    if code is not None:
        handle.set_exited(code, ["last line"])
    return handle


def node(**fields: object) -> NodeState:
    state = NodeState("n2")
    state.attach(STEP)
    for name, value in fields.items():
        setattr(state, name, value)
    return state


@pytest.mark.parametrize(
    ("fields", "now", "silent"),
    [
        ({"heard_at": None}, 1000.0, False),
        ({"heard_at": 100.0}, 100.0 + SILENT_SECONDS, False),
        ({"heard_at": 100.0}, 100.1 + SILENT_SECONDS, True),
        ({"heard_at": 100.0, "loss": FAILED}, 1000.0, False),
    ],
)
def test_a_node_is_silent_after_its_first_reply_and_before_it_is_lost(
    fields: dict[str, object], now: float, silent: bool
) -> None:
    assert node(**fields).is_silent(now) == silent


def test_a_node_runs_in_its_current_step_until_it_is_lost() -> None:
    state = node()
    assert (state.is_running_in(STEP), state.is_running_in(NEXT_STEP)) == (True, False)
    state.lose(FAILED)
    assert not state.is_running_in(STEP)
    state.attach(NEXT_STEP)
    assert (state.is_running_in(STEP), state.is_running_in(NEXT_STEP)) == (False, True)


def test_a_new_agent_ends_the_loss_and_has_not_replied_yet() -> None:
    state = node(heard_at=1.0)
    state.lose(FAILED)
    state.attach(NEXT_STEP)
    assert (state.loss, state.heard_at) == (None, None)


def test_a_lost_node_loses_its_running_processes_only() -> None:
    state = node()
    state.processes = {"running": remote("running"), "exited": remote("exited", 3)}
    assert state.lose("its task ended: Killed") == "lost n2: its task ended: Killed"
    running, exited = state.processes["running"], state.processes["exited"]
    assert (running.code, running.describe_exit()) == (
        LOST_CODE,
        "is lost: n2: its task ended: Killed",
    )
    assert (exited.code, exited.loss, list(exited.last_lines)) == (3, "", ["last line"])


def test_a_loss_while_the_node_is_reopened_is_not_reported() -> None:
    state = node(reopening=True)
    assert state.lose(FAILED) is None
    assert state.loss == FAILED


def test_an_order_names_the_node_and_needs_an_agent() -> None:
    orders: list[object] = []

    class Step:
        send = orders.append

    NodeState("n2").send({"quit": True})
    node(step=cast(AgentStep, Step)).send({"quit": True})
    assert orders == [{"to": "n2", "quit": True}]


def test_nodes_that_were_lost_together_are_reopened_together_once() -> None:
    state = node(lost_together=frozenset({"n2", "n3"}))
    assert state.take_lost_together() == {"n2", "n3"}
    assert state.take_lost_together() == {"n2"}


def test_processes_are_started_once() -> None:
    state = node(to_start=[{"name": "a"}, {"name": "b"}])
    assert [process["name"] for process in state.take_to_start()] == ["a", "b"]
    assert state.take_to_start() == []
