"""One agent, without srun."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.runtimes.agent import (
    LeaveReason,
    LINE_CHARACTERS,
    OWN_JOB,
    reply_lines,
    STOP_REQUEST,
    writable,
)
from launcher.runtimes.agent_step import AgentStep
from launcher.system.files import private_folder

ROOT = Path(__file__).parents[4]


class Agent:
    def __init__(self, seconds: float = 60.0, **variables: str) -> None:
        environment = {"SLURMD_NODENAME": "n1", "SLURM_STEP_ID": "3", "SLURM_JOB_ID": "7"}
        self.popen = subprocess.Popen(
            (sys.executable, "-P", "-m", "launcher.runtimes.agent", str(seconds)),
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.stdin, self.stdout = self.popen.stdin, self.popen.stdout
        assert self.reply("step")["step"] == "3"

    def order(self, **order: Any) -> None:
        self.stdin.write(json.dumps({"to": None, **order}) + "\n")
        self.stdin.flush()

    def reply(self, key: str) -> dict[str, Any]:
        """The next reply of this kind."""
        for line in self.stdout:
            reply: dict[str, Any] = json.loads(line)
            assert reply["node"] == "n1"
            if key in reply:
                return reply
        raise AssertionError(f"the agent has exited without a reply {key!r}")

    def start(self, name: str, *argv: str) -> None:
        process = {"name": name, "argv": argv, "environment": {}, "log": os.devnull}
        self.order(start={"n1": [process], "n2": [process]})

    def leaves(self) -> LeaveReason:
        reason = LeaveReason(self.reply("leaving")["leaving"])
        assert self.popen.wait(10) == 0
        return reason


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    yield agent
    agent.stdin.close()
    agent.popen.wait(10)
    agent.stdout.close()


def test_an_agent_leaves_when_it_is_ordered_to_quit(agent: Agent) -> None:
    agent.order(quit=True, to="n2")
    agent.order(quit=True)
    assert agent.leaves() is LeaveReason.QUIT


def test_an_agent_leaves_when_its_input_closes(agent: Agent) -> None:
    agent.stdin.close()
    assert agent.leaves() is LeaveReason.INPUT_CLOSED


def test_an_agent_leaves_at_sigterm_with_its_processes(agent: Agent) -> None:
    agent.start("a", "sleep", "60")
    pid = agent.reply("started")["pid"]
    agent.popen.terminate()
    assert agent.leaves() is LeaveReason.SIGNAL
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("own_job", [False, True])
def test_an_agent_leaves_after_a_silence_and_cancels_a_job_of_its_own(
    own_job: bool, tmp_path: Path
) -> None:
    scancel = tmp_path / "scancel"
    scancel.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/cancelled\n')
    scancel.chmod(0o755)
    variables = {OWN_JOB: "1"} if own_job else {}
    agent = Agent(0.2, PATH=f"{tmp_path}:{os.environ['PATH']}", **variables)
    assert agent.leaves() is LeaveReason.SILENCE
    assert (tmp_path / "cancelled").exists() == own_job
    if own_job:
        assert (tmp_path / "cancelled").read_text() == "7\n"
    agent.stdin.close()
    agent.stdout.close()


def test_a_stop_request_is_passed_on_and_the_agent_stays(agent: Agent) -> None:
    agent.start("a", "sh", "-c", "exit 4")
    agent.popen.send_signal(STOP_REQUEST)
    assert agent.reply("stop_request")["stop_request"] is True
    agent.order(probe={})
    assert "time" in agent.reply("view")["view"]


def test_a_process_that_exits_is_reported_with_its_code(agent: Agent) -> None:
    agent.start("a", "sh", "-c", "exit 4")
    assert agent.reply("started")["started"] == "a"
    assert agent.reply("exited") == {"node": "n1", "exited": "a", "code": 4, "tail": []}


def test_a_signal_reaches_the_named_process_only(agent: Agent) -> None:
    for name in ("a", "b"):
        agent.start(name, "sleep", "60")
        agent.reply("started")
    agent.order(signal=int(signal.SIGTERM), name="b", to="n2")
    agent.order(signal=int(signal.SIGTERM), name="unknown", to="n1")
    agent.order(signal=int(signal.SIGKILL), name="b", to="n1")
    exited = agent.reply("exited")
    assert (exited["exited"], exited["code"]) == ("b", -signal.SIGKILL)
    agent.order(signal=int(signal.SIGTERM), name="a", to="n1")
    assert agent.reply("exited")["code"] == -signal.SIGTERM


@pytest.mark.parametrize("length", [0, 1, 290, 291, 292, 293, 400, 2000, 10_000])
def test_a_long_reply_is_put_together_again_among_those_of_other_nodes(length: int) -> None:
    replies = [{"text": f'{node}"' * length} for node in ("a", "b")]
    step = AgentStep.__new__(AgentStep)  # without its srun
    step._parts = {}
    lines = [list(reply_lines(f"n{number}", reply)) for number, reply in enumerate(replies)]
    assert all(len(line) <= LINE_CHARACTERS for each in lines for line in each)
    assert len(lines[0]) == (1 if length <= 291 else -(-(26 + 3 * length) // 400))
    joined = [step._join(json.loads(line)) for pair in zip(*lines, strict=True) for line in pair]
    assert [reply for reply in joined if reply is not None] == [
        {"node": f"n{number}", **reply} for number, reply in enumerate(replies)
    ]


def test_a_log_whose_folder_is_missing_is_in_the_private_folder(tmp_path: Path) -> None:
    assert writable(tmp_path / "log") == tmp_path / "log"
    assert writable(tmp_path / "missing" / "log") == private_folder() / "log"
