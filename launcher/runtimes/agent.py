"""`python -m launcher.runtimes.agent SECONDS`: starts and watches processes on one node of a Slurm step.

One Slurm step runs an agent on every node, so the number of steps does not grow with the nodes. It
takes orders on standard input, which every agent of the step gets, and tells what happens on
standard output, one JSON object a line.

orders   {"to": node | null, "start": {node: [process, ...]}} · {"to": node, "signal": 15, "name": process}
         {"to": node | null, "look": {...}} · {"to": node | null, "quit": true} · {"to": null}
answers  {"node": n, "hello": {...}} · {"node": n, "started": process, "pid": n} · {"node": n, "beat": n}
         {"node": n, "ended": process, "code": n, "tail": [...]} · {"node": n, "seen": {...}}
         {"node": n, "leaving": why} · {"node": n, "asked": signal}
         {"node": n, "part": text} ..., {"node": n, "last": text}: an answer that is too long for one line

It ends when its input does, at SIGTERM, when told to, or when nothing has come for SECONDS: a
launcher says something every second, but may have to wait for Slurm; one that is gone together with
its srun says nothing, and Slurm does not close the input then. So does all that it has started.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.slurm.srun import OWN_JOB
from launcher.system.files import make_private_folder, private_folder
from launcher.system.process import tail
from launcher.system.reaper import adopt_orphans, kill_descendants, reaper_argv

BEAT_SECONDS = 1.0
STOP_SECONDS = 4.0
LINE_CHARACTERS, PART_CHARACTERS = 900, 400
"""srun passes on 1,024 bytes at a time: of a longer line, pieces with other nodes' between them. A part
is quoted once more, which can double it."""


ASKED = signal.SIGWINCH
"""Asks for the end of the deployment. Slurm sends a signal to all processes of a step, servers and
Envoy too, which pass this one over: they are to end in their order."""


class Child:
    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name, self.popen, self.log = name, popen, log
        self.pidfd = os.pidfd_open(popen.pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)


class Agent:
    def __init__(self, node: str, silence: float) -> None:
        self._node, self._silence = node, silence
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._parted = False
        self._input = b""
        self._signals: list[int] = []
        self._lifeline, self._held = os.pipe()  # nobody else ever has the writing end

    def run(self) -> None:
        adopt_orphans()
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, ASKED):
            signal.signal(number, lambda number, _: self._signals.append(number))
        os.set_blocking(0, False)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(reading, selectors.EVENT_READ)
        try:
            self._tell(hello={"pid": os.getpid(), "step": os.environ["SLURM_STEP_ID"]})
            self._tell(leaving=self._serve(reading))
        except BrokenPipeError:
            pass  # nobody listens: the step has lost its srun
        finally:
            self._stop()

    def _serve(self, wakeup: int) -> str:
        """Carries out orders until it must leave; why it must."""
        beat = heard = time.monotonic()
        while True:
            left = max(0.0, beat - time.monotonic())
            for key, _ in self._selector.select(left):
                if key.fd == wakeup:
                    os.read(wakeup, 64)
                elif key.fd == 0:
                    heard = time.monotonic()
                    for order in self._orders():
                        if order is None:
                            return "its launcher has gone"
                        if "quit" in order:
                            return "told to"
                        self._carry_out(order)
                else:
                    self._bury(self._children.pop(key.fd))
            while self._signals and self._signals[0] == ASKED:
                self._tell(asked=signal.Signals(self._signals.pop(0)).name)
            if self._signals:
                return signal.Signals(self._signals[0]).name
            if time.monotonic() - heard > self._silence:
                self._forsaken()
                return "its launcher is silent"
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT_SECONDS
                self._tell(beat=time.time())

    def _forsaken(self) -> None:
        """The launcher's node has died, and with it who would have ended the job."""
        if os.environ.get(OWN_JOB):
            subprocess.run(("scancel", os.environ["SLURM_JOB_ID"]), check=False)

    def _orders(self) -> list[dict[str, Any] | None]:
        """Whole lines that have come for this node; None at the end of the input."""
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return [None]
        *lines, self._input = (self._input + chunk).split(b"\n")
        orders = [json.loads(line) for line in lines if line]
        return [order for order in orders if order.get("to") in (None, self._node)]

    def _carry_out(self, order: Mapping[str, Any]) -> None:
        for process in order.get("start", {}).get(self._node, []):
            self._start(process)
        if "look" in order:
            from launcher.runtimes.probe import probe

            self._tell(seen=probe(order["look"], self._node))
        if "signal" in order:
            for child in self._children.values():
                if child.name == order["name"]:
                    child.kill() if order["signal"] == signal.SIGKILL else child.popen.send_signal(
                        order["signal"]
                    )

    def _start(self, process: Mapping[str, Any]) -> None:
        name, log = process["name"], writable(Path(process["log"]))
        try:
            with log.open("ab") as output:
                popen = subprocess.Popen(
                    (*reaper_argv(self._lifeline), *process["argv"]),
                    env=os.environ | process["environment"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=(self._lifeline,),
                )
        except OSError as failure:
            what = f"cannot run {process['argv'][0]}: {failure.strerror}"
            self._tell(ended=name, code=127, tail=[what])
            return
        child = Child(name, popen, log)
        self._children[child.pidfd] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ)
        self._tell(started=name, pid=popen.pid)

    def _bury(self, child: Child) -> None:
        code = child.popen.wait()
        child.kill()  # what it has left behind
        self._end_orphans()
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        self._tell(ended=child.name, code=code, tail=tail(child.log))

    def _stop(self) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.popen.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.popen.wait(max(0.0, deadline - time.monotonic()))
            child.kill()
            child.popen.wait()
        kill_descendants()

    def _end_orphans(self) -> None:
        """Of a guard that was killed: they may have left its process group."""
        kill_descendants({child.popen.pid for child in self._children.values()})

    def _tell(self, **answer: Any) -> None:
        text = json.dumps({"node": self._node} | answer)
        while len(text) > LINE_CHARACTERS:
            self._write({"node": self._node, "part": text[:PART_CHARACTERS]})
            text = text[PART_CHARACTERS:]
        self._write({"node": self._node, "last": text} if self._parted else text)

    def _write(self, line: Mapping[str, str] | str) -> None:
        self._parted = isinstance(line, dict) and "part" in line
        data = (line if isinstance(line, str) else json.dumps(line)).encode() + b"\n"
        while data:
            data = data[os.write(1, data) :]


def writable(log: Path) -> Path:
    """The log, or one on this node where its folder is not there."""
    return log if log.parent.is_dir() else private_folder() / log.name


def main() -> int:
    make_private_folder()
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    Agent(node, float(sys.argv[1])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
