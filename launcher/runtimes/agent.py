"""`python -m launcher.runtimes.agent SECONDS` starts and watches processes on one node of a Slurm step.

One Slurm step runs an agent on every node, so the number of steps does not grow with the nodes. It
reads orders from standard input, which every agent of the step receives, and writes replies to standard
output, one JSON object per line.

orders   {"to": node | null, "start": {node: [process, ...]}, "variables": {name: value}}
         {"to": node, "signal": 15, "name": process} · {"to": node | null, "probe": {...}}
         {"to": node | null, "quit": true} · {"to": null}
replies  {"node": n, "step": id} · {"node": n, "started": process, "pid": n} · {"node": n, "beat": n}
         {"node": n, "exited": process, "code": n, "tail": [...]} · {"node": n, "view": {...}}
         {"node": n, "leaving": reason} · {"node": n, "stop_request": true}
         {"node": n, "part": text} ..., {"node": n, "last": text}: a reply that is too long for one line

It terminates its processes and exits at SIGTERM, when it is ordered to quit, when its input closes, and
after SECONDS without an order. The launcher sends an order every second, but may have to wait for Slurm.
If the launcher and its srun are killed together, Slurm does not close the input.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from benchmark.server.process import adopt_orphans, kill_descendants
from launcher.errors import LauncherError
from launcher.system.files import make_private_folder, private_folder
from launcher.system.gpus import gpu_variables
from launcher.system.lines import LineSplitter
from launcher.system.log_limit import INTERVAL_SECONDS, LogLimit
from launcher.system.process import ChildProcess, tail
from launcher.system.reaper import reaper_argv
from launcher.system.signals import STOP_SIGNALS, WakeupPipe

BEAT_SECONDS = 1.0
STOP_SECONDS = 4.0
# srun forwards 1,024 bytes at a time and mixes the pieces of longer lines with those of other nodes.
# A part is quoted once more, which can double its length.
LINE_CHARACTERS, PART_CHARACTERS = 900, 400
# Set for agents of a job that serves only their deployment.
OWN_JOB = "OPENENV_OWN_JOB"
# Asks an agent to have its deployment stopped. Slurm signals all processes of a step, also servers and
# Envoy, which ignore this signal: the launcher stops them in their order.
STOP_REQUEST = signal.SIGWINCH


class LeaveReason(Enum):
    """The values are sent and printed."""

    QUIT = "it was ordered to quit"
    INPUT_CLOSED = "its launcher closed the connection"
    SILENCE = "its launcher was silent for too long"
    SIGNAL = "it received a signal"


class Agent:
    def __init__(self, node: str, silence: float) -> None:
        self._node, self._silence = node, silence
        self._children: dict[str, ChildProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._input = WakeupPipe(), LineSplitter()
        self._signals: list[int] = []
        self._heard_at = time.monotonic()
        self._logs = LogLimit()
        self._lifeline, self._held = os.pipe()  # only this process has the writing end

    def run(self) -> None:
        adopt_orphans()
        self._wakeup.catch(
            (*STOP_SIGNALS, STOP_REQUEST), lambda number, _: self._signals.append(number)
        )
        # In a thread: a file system that does not answer must not make the agent silent.
        threading.Thread(target=self._limit_logs, daemon=True).start()
        os.set_blocking(0, False)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        try:
            self._reply(step=os.environ["SLURM_STEP_ID"])
            self._reply(leaving=self._serve().value)
        except BrokenPipeError:
            pass  # the step has lost its srun
        finally:
            self._stop()

    def _serve(self) -> LeaveReason:
        beat = self._heard_at = time.monotonic()
        while True:
            for key, _ in self._selector.select(max(0.0, beat - time.monotonic())):
                if key.data is not None:
                    self._reap(key.data)
                elif key.fd != 0:
                    self._wakeup.drain()
                elif (reason := self._receive(os.read(0, 1 << 16))) is not None:
                    return reason
            while self._signals and self._signals[0] == STOP_REQUEST:
                self._signals.pop(0)
                self._reply(stop_request=True)
            if self._signals:
                return LeaveReason.SIGNAL
            if time.monotonic() - self._heard_at > self._silence:
                self._cancel_orphaned_job()
                return LeaveReason.SILENCE
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT_SECONDS
                self._reply(beat=time.time())

    def _receive(self, chunk: bytes) -> LeaveReason | None:
        if not chunk:
            return LeaveReason.INPUT_CLOSED
        self._heard_at = time.monotonic()
        for order in map(json.loads, self._input.feed(chunk)):
            if order["to"] not in (None, self._node):
                continue
            if "quit" in order:
                return LeaveReason.QUIT
            self._carry_out(order)
        return None

    def _cancel_orphaned_job(self) -> None:
        """The launcher, which would have ended the job, may have died with its node."""
        if os.environ.get(OWN_JOB):
            from launcher.slurm import commands

            with contextlib.suppress(LauncherError):
                commands.cancel(os.environ["SLURM_JOB_ID"])

    def _carry_out(self, order: Mapping[str, Any]) -> None:
        for process in order.get("start", {}).get(self._node, []):
            # The variables are sent once, not with each process: every node receives every order.
            self._start(process, order["variables"] if process.get("variables") else {})
        if "probe" in order:
            from launcher.runtimes.probe import probe

            self._reply(view=probe(order["probe"], self._node))
        if "signal" in order and (child := self._children.get(order["name"])) is not None:
            if order["signal"] == signal.SIGKILL:
                child.kill()
            else:
                child.send_signal(order["signal"])

    def _start(self, process: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        name, log = process["name"], writable(Path(process["log"]))
        try:
            with log.open("ab") as output:
                popen = subprocess.Popen(
                    (*reaper_argv(self._lifeline, process.get("scratch")), *process["argv"]),
                    cwd=process.get("folder"),
                    env={
                        **gpu_variables(os.environ),
                        **os.environ,
                        **process["environment"],
                        **variables,
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=(self._lifeline,),
                )
        except OSError as failure:
            problem = f"cannot run {process['argv'][0]}: {failure.strerror}"
            self._reply(exited=name, code=127, tail=[problem])
            return
        self._logs.add(log)
        child = self._children[name] = ChildProcess(popen, log)
        self._selector.register(child.pidfd, selectors.EVENT_READ, name)
        self._reply(started=name, pid=popen.pid)

    def _reap(self, name: str) -> None:
        child = self._children.pop(name)
        code = child.wait()
        child.kill()  # the rest of its process group
        # A reaper that was killed leaves orphans, which may be in other process groups.
        kill_descendants({child.pid for child in self._children.values()})
        self._selector.unregister(child.pidfd)
        child.close()
        self._reply(exited=name, code=code, tail=tail(child.log))

    def _limit_logs(self) -> None:
        while True:
            time.sleep(INTERVAL_SECONDS)
            self._logs.check()

    def _stop(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            child.kill()
            child.wait()
        kill_descendants()

    def _reply(self, **reply: Any) -> None:
        for line in reply_lines(self._node, reply):
            data = line.encode() + b"\n"
            while data:
                data = data[os.write(1, data) :]


def reply_lines(node: str, reply: Mapping[str, Any]) -> Iterator[str]:
    text = json.dumps({"node": node, **reply})
    if len(text) <= LINE_CHARACTERS:
        yield text
        return
    for start in range(0, len(text), PART_CHARACTERS):
        key = "part" if start + PART_CHARACTERS < len(text) else "last"
        yield json.dumps({"node": node, key: text[start : start + PART_CHARACTERS]})


def writable(log: Path) -> Path:
    """The log, or one in the private folder if this node does not have the log's folder."""
    return log if log.parent.is_dir() else private_folder() / log.name


def main() -> int:
    make_private_folder()
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    Agent(node, float(sys.argv[1])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
