"""The lines that a Slurm step and the launcher exchange, below a stand-in for srun."""

import select
import time
from pathlib import Path

import pytest

from launcher.slurm.messages import StepMessage
from launcher.slurm.srun import Reply, StepChannel
from tests.helpers.allocations import HETEROGENEOUS, PLAIN

SECONDS = 10.0
ECHO = 'while read -r line; do echo "$line"; done'


class Slurm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.install("scancel", f'echo "$@" >> {folder}/cancelled')

    def install(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def step(self, script: str) -> StepChannel:
        self.install("srun", script)
        return StepChannel(HETEROGENEOUS, ["b1"], "x", ["task"], {"NAME": "value"})


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Slurm(tmp_path)


def lines_of(step: StepChannel, count: int | None = None) -> list[Reply | StepMessage]:
    """The first lines of the step, or all of them."""
    lines, deadline = list[Reply | StepMessage](), time.monotonic() + SECONDS
    while step.open and (count is None or len(lines) < count):
        assert select.select([step], [], [], max(0.0, deadline - time.monotonic()))[0]
        lines += step.read()
    return lines


def test_replies_and_messages_of_slurm_are_distinguished(slurm: Slurm) -> None:
    step = slurm.step(
        'echo \'{"node": "b1", "beat": 1}\'; echo; echo \'{"other": 1}\'; echo "[1]"; echo 7\n'
        'echo "srun: error: b1: task 0: Killed" >&2; printf \'{"node": "b1"\''
    )
    lines = lines_of(step)
    assert lines[0] == Reply(b'{"node": "b1", "beat": 1}', {"node": "b1", "beat": 1})
    texts = [line.text for line in lines[1:] if isinstance(line, StepMessage)]
    assert texts == ['{"other": 1}', "[1]", "7", "srun: error: b1: task 0: Killed"]
    assert step.errors == ["srun: error: b1: task 0: Killed"]
    assert not step.open
    step.close(SECONDS)


def test_without_errors_everything_that_slurm_printed_is_shown(slurm: Slurm) -> None:
    step = slurm.step("for n in $(seq 50); do echo line $n; done")
    lines_of(step)
    assert step.errors == [f"line {number}" for number in range(11, 51)]
    assert step.cancellation is None
    step.close(SECONDS)


def test_the_first_cancellation_is_kept(slurm: Slurm) -> None:
    step = slurm.step('echo "error: *** STEP 8.0 CANCELLED ***"; echo "*** JOB 8 CANCELLED ***"')
    lines_of(step)
    assert step.cancellation == "STEP 8.0 CANCELLED"
    step.close(SECONDS)


def test_orders_reach_the_tasks_until_the_input_is_closed(slurm: Slurm) -> None:
    step = slurm.step(ECHO)
    step.send({"node": "b1", "number": 1})
    assert [line.content for line in lines_of(step, 1) if isinstance(line, Reply)] == [
        {"node": "b1", "number": 1}
    ]
    step.leave()
    step.send({"node": "b1", "number": 2})
    assert lines_of(step) == []
    step.close(SECONDS)


def test_sending_does_not_wait_for_srun(slurm: Slurm) -> None:
    step = slurm.step("read -r line; exec cat >/dev/null")
    order = {"text": "x" * 100_000}
    for _ in range(20):  # more than the pipe holds
        step.send(order)
    step.close(SECONDS)


def test_sending_to_srun_that_has_exited_is_ignored(slurm: Slurm) -> None:
    step = slurm.step("exec 0<&-; exit 1")
    assert lines_of(step) == []
    step.send({"to": None})
    step.send({"to": None})
    step.close(SECONDS)


def test_cancel_names_the_step_of_the_component_once_it_is_known(slurm: Slurm) -> None:
    step = slurm.step('echo \'{"node": "b1", "step": "3"}\'; echo \'{"node": "b1"}\'')
    step.cancel()
    assert not (slurm.folder / "cancelled").exists()
    lines_of(step)
    step.cancel()
    assert (slurm.folder / "cancelled").read_text() == "8.3\n"
    step.close(SECONDS)


@pytest.mark.parametrize(
    ("script", "signals"),
    [("exec cat", 0), ("exec sleep 60", 1), ("trap '' TERM; echo; exec sleep 60", 2)],
)
def test_close_waits_then_terminates_then_kills(slurm: Slurm, script: str, signals: int) -> None:
    step = slurm.step(script)
    if signals == 2:
        select.select([step], [], [], SECONDS)  # the trap is set
    started = time.monotonic()
    step.close(0.3, 0.2)
    assert time.monotonic() - started < SECONDS
    assert step._srun.returncode == (0, -15, -9)[signals]
    assert not step.open


def test_the_options_of_the_allocation_do_not_change_a_step(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    step = slurm.step('echo "$NAME ${SLURM_CPUS_PER_TASK-unset} $SLURM_JOB_ID"')
    assert [line.text for line in lines_of(step) if isinstance(line, StepMessage)] == [
        "value unset 7"
    ]
    step.close(SECONDS)


def test_a_step_of_a_plain_job_is_cancelled_by_the_id_of_the_job(slurm: Slurm) -> None:
    slurm.install("srun", 'echo \'{"node": "n2", "step": "0"}\'')
    step = StepChannel(PLAIN, ["n2"], "x", ["task"])
    lines_of(step)
    step.cancel()
    assert (slurm.folder / "cancelled").read_text() == "7.0\n"
    step.close(SECONDS)
