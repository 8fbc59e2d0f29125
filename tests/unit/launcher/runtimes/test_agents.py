"""Real agents below a stand-in for srun."""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.deployment.placement import Process, Role
from launcher.errors import DeploymentEnded, NodeLost, StartFailed
from launcher.runtimes.slurm import folder_token, SlurmRuntime
from launcher.slurm.allocation import Allocation, Component
from launcher.system.log_limit import MAX_BYTES
from launcher.system.signals import Interrupted

ROOT = Path(__file__).parents[4]
NODES = ("n1", "n2")
ALLOCATED = Allocation("7", (Component(NODES, (4, 4)),))
SECONDS = 20.0


class Cluster:
    """Slurm's programs: srun runs all tasks here, the others print what the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program("srun", f'exec {sys.executable} {ROOT}/tests/helpers/fake_srun.py "$@"')
        self.program("scancel", f'echo "$@" >> {folder}/cancelled')
        self.job("RUNNING")
        self.states(n1="idle", n2="idle")

    def program(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def job(self, state: str) -> None:
        self.program("scontrol", f"echo JobId=7 JobState={state} Reason=None")

    def states(self, **states: str) -> None:
        lines = "\\n".join(f"{node} {state}" for node, state in states.items())
        self.program("sinfo", f"printf '{lines}\\n'")

    @property
    def cancelled(self) -> list[str]:
        file = self.folder / "cancelled"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Cluster(tmp_path)


@contextlib.contextmanager
def running(*, silence: float = 60.0) -> Iterator[SlurmRuntime]:
    runtime = SlurmRuntime(ALLOCATED, NODES, "openenv-test", silence)
    try:
        runtime.prepare((), (), None)
        yield runtime
    finally:
        runtime.close()


def process(node: str, *argv: str, log: Path = Path(os.devnull)) -> Process:
    return Process(f"on-{node}", Role.SERVER, node, argv, {"NAME": "value"}, (), log)


def pump_until(runtime: SlurmRuntime, condition: Callable[[], object]) -> list[str]:
    """What the runtime reports until the condition holds."""
    reports, deadline = list[str](), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        reports += runtime.pump()
        select.select(runtime.events(), [], [], 0.1)
    return reports


def agent_of(pid: int | None) -> int:
    """The agent is the parent of the reaper, which is what `pid` is."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.usefixtures("slurm")
def test_processes_start_with_their_environment_and_exit_with_their_code(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running() as runtime:
        handles = [
            runtime.start(process("n1", "sh", "-c", "echo $NAME; exit 3", log=log)),
            runtime.start(process("n2", "no-such-program")),
        ]
        assert [handle.wait(SECONDS) for handle in handles] == [3, 1]
        assert handles[0].describe_exit() == "exited with 3"
        assert handles[0].tail() == "  value"
    assert runtime.describe()["steps"] == 0


@pytest.mark.usefixtures("slurm")
def test_the_log_of_a_process_that_prints_much_is_shortened(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def shortened() -> bool:
        text = log.read_bytes() if log.exists() else b""
        ends = text.startswith(b"y\n") and text.endswith(b"y\nthe end\n")
        return ends and b"bytes of output were removed" in text and len(text) < MAX_BYTES

    with running() as runtime:
        printing = "yes | head -c 80000000; echo the end; exec sleep 60"
        handle = runtime.start(process("n1", "sh", "-c", printing, log=log))
        pump_until(runtime, shortened)
        assert handle.poll() is None


@pytest.mark.usefixtures("slurm")
def test_signals_reach_the_process_of_one_node() -> None:
    with running() as runtime:
        first, second = (runtime.start(process(node, "sleep", "60")) for node in NODES)
        first.terminate()
        assert first.wait(SECONDS) == -signal.SIGTERM
        assert second.poll() is None
        second.kill()
        assert second.wait(SECONDS) == -signal.SIGKILL


@pytest.mark.usefixtures("slurm")
def test_probe_answers_for_the_requested_nodes_only() -> None:
    names = [f"a-name-that-nobody-resolves-{number:03}" for number in range(40)]
    with running() as runtime:
        assert set(runtime.probe({})) == set(NODES)
        assert set(runtime.probe({"free_port": True}, ["n2"])) == {"n2"}
        views = runtime.probe({"names": names})  # longer than a line
        assert [list(view["names"]) for view in views.values()] == [names, names]
        assert runtime.limits().ports > 0


def test_a_node_whose_agent_is_killed_is_lost_and_used_again(slurm: Cluster) -> None:
    with running() as runtime:
        first, second = (runtime.start(process(node, "sleep", "60")) for node in NODES)
        pump_until(runtime, lambda: first.pid and second.pid)
        os.kill(agent_of(second.pid), signal.SIGKILL)
        reports = pump_until(runtime, lambda: second.poll() is not None)
        assert reports == ["lost n2: its task ended: Killed"]
        assert second.describe_exit() == "is lost: n2: its task ended: Killed"
        assert first.poll() is None
        again = runtime.start(process("n2", "sleep", "60"))
        pump_until(runtime, lambda: again.pid)
        assert (again.poll(), first.poll(), runtime.describe()["steps"]) == (None, None, 2)
        assert slurm.cancelled == []


def test_a_lost_node_that_is_down_cannot_be_used_again(slurm: Cluster) -> None:
    with running() as runtime:
        handle = runtime.start(process("n2", "sleep", "60"))
        pump_until(runtime, lambda: handle.pid)
        os.kill(agent_of(handle.pid), signal.SIGKILL)
        pump_until(runtime, lambda: handle.poll() is not None)
        slurm.states(n1="idle", n2="down*")
        with pytest.raises(NodeLost, match=r"^n2 is down\*: its task ended: Killed$"):
            runtime.start(process("n2", "sleep", "60"))


def test_all_nodes_are_lost_together_when_srun_exits(slurm: Cluster) -> None:
    with running() as runtime:
        handles = [runtime.start(process(node, "sleep", "60")) for node in NODES]
        pump_until(runtime, lambda: all(handle.pid for handle in handles))
        srun = agent_of(agent_of(handles[0].pid))
        os.kill(srun, signal.SIGKILL)
        reports = pump_until(runtime, lambda: all(h.poll() is not None for h in handles))
        assert reports == [f"lost {node}: its Slurm step ended" for node in NODES]
        assert slurm.cancelled == ["7.0"]
        again = [runtime.start(process(node, "sleep", "60")) for node in NODES]
        pump_until(runtime, lambda: all(handle.pid for handle in again))
        assert runtime.describe()["steps"] == 2


def test_the_end_of_the_job_ends_the_deployment(slurm: Cluster) -> None:
    with running() as runtime:
        handle = runtime.start(process("n1", "sleep", "60"))
        pump_until(runtime, lambda: handle.pid)
        assert runtime.termination() is None
        slurm.job("TIMEOUT")
        os.kill(agent_of(agent_of(handle.pid)), signal.SIGKILL)
        with pytest.raises(DeploymentEnded, match=r"^Slurm ended job 7: TIMEOUT$"):
            pump_until(runtime, lambda: handle.poll() is not None)


def test_expected_exits_are_not_an_end_of_the_deployment(slurm: Cluster) -> None:
    with running() as runtime:
        handle = runtime.start(process("n1", "sleep", "60"))
        pump_until(runtime, lambda: handle.pid)
        slurm.job("TIMEOUT")
        runtime.expect_exits()
        os.kill(agent_of(agent_of(handle.pid)), signal.SIGKILL)
        pump_until(runtime, lambda: handle.poll() is not None)
        assert slurm.cancelled == []


@pytest.mark.usefixtures("slurm")
def test_a_stop_request_interrupts_the_launcher() -> None:
    with running() as runtime:
        handle = runtime.start(process("n1", "sleep", "60"))
        pump_until(runtime, lambda: handle.pid)
        os.kill(agent_of(handle.pid), signal.SIGWINCH)
        with pytest.raises(Interrupted, match="SIGINT"):
            pump_until(runtime, lambda: False)


def test_agents_that_do_not_start_are_described_with_the_command(slurm: Cluster) -> None:
    slurm.program("srun", "echo 'srun: error: n2: task 1: Killed'; exec cat >/dev/null")
    with pytest.raises(StartFailed) as raised, running():
        pass
    text = str(raised.value)
    assert text.startswith("cannot use n2: its task ended: Killed; Slurm printed:\n  srun: error")
    assert "\nthe command was: srun --jobid=7 " in text


def test_the_token_of_a_folder_is_complete_in_a_closed_file(tmp_path: Path) -> None:
    """On NFS other nodes see what a file holds when the descriptor that wrote it is closed."""
    with folder_token(tmp_path) as token:
        path, text = token["token"]
        assert Path(path).read_text() == text
        positions = [
            info.read_text().split()[1]
            for info in Path("/proc/self/fdinfo").iterdir()
            if (Path("/proc/self/fd") / info.name).resolve() == Path(path)
        ]
        assert set(positions) == {"0"}
    assert not list(tmp_path.iterdir())
