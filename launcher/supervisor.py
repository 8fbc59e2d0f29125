"""Holds the processes of a deployment: starts them, waits until all are ready, replaces one that
dies, stops them."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.server.replacement import Deaths, REPLACEMENTS, WITHIN_SECONDS
from launcher.errors import DeploymentFailed, StartFailed
from launcher.placement import Process, Role
from launcher.signals import Interrupted, Signals

POLL_SECONDS = 0.05
STOP_SECONDS = 2.5
LAST_SECONDS = 0.5
LOG_LINES = 15

Report = Callable[[str], None]
_LIFELINE = object()


@dataclass
class Child:
    process: Process
    popen: subprocess.Popen[bytes]
    pidfd: int
    deaths: Deaths = field(default_factory=Deaths)

    @property
    def restarts(self) -> int:
        return len(self.deaths)


class Supervisor:
    """Holds the children of one deployment; every wait ends at once when one of them does, or when
    a signal comes: it waits within `with supervisor.signals`."""

    def __init__(
        self,
        start: Callable[[Process], subprocess.Popen[bytes]],
        report: Report,
        changed: Callable[[], None] = lambda: None,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._start_process = start
        self._report = report
        self._changed = changed
        self._stop_seconds = stop_seconds
        self._selector = selectors.DefaultSelector()
        self.signals = Signals(self._selector)
        self.children: dict[str, Child] = {}

    @contextlib.contextmanager
    def tied_to(self, lifeline: int | None) -> Iterator[None]:
        """Within, the end of the pipe `lifeline` counts as SIGHUP."""
        if lifeline is None:
            yield
            return
        self._selector.register(lifeline, selectors.EVENT_READ, _LIFELINE)
        try:
            yield
        finally:
            self._selector.unregister(lifeline)

    def start(self, process: Process) -> None:
        deaths = self.children[process.name].deaths if process.name in self.children else Deaths()
        popen = self._start_process(process)
        child = Child(process, popen, os.pidfd_open(popen.pid), deaths)
        self.children[process.name] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def wait_ready(self, ready: Callable[[], str | None], deadline: float) -> None:
        """Until `ready` returns None; its text says what is still missing.

        Raises `StartFailed` when a child ends first or `deadline` (monotonic) passes, and
        `Interrupted`.
        """
        while (missing := ready()) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise StartFailed(f"not ready in time: {missing}{self._log_ends()}")
            for child in self._ended(min(left, POLL_SECONDS)):
                raise StartFailed(
                    f"{child.process.name} on {child.process.node} {ending(child.popen)} before it "
                    f"was ready; the end of {child.process.log}:\n{tail(child.process.log)}"
                )

    def hold(self, command: subprocess.Popen[bytes] | None = None) -> None:
        """Replaces children that die, for ever or until `command` ends.

        Raises `DeploymentFailed` when one dies too often, and `Interrupted`.
        """
        with self._watched(command):
            while command is None or command.poll() is None:
                for child in self._ended(None):
                    self._replace(child)

    def stop(self) -> None:
        """Ends every child: SIGTERM, and SIGKILL to its whole group when that is not enough.

        The balancer goes last: sessions that a server lets end go through it.
        """
        deadline = time.monotonic() + self._stop_seconds
        last = [c for c in self.children.values() if c.process.role is Role.ENVOY]
        self._end([c for c in self.children.values() if c not in last], deadline)
        self._end(last, max(deadline, time.monotonic() + LAST_SECONDS))
        self.children.clear()

    def _end(self, children: list[Child], deadline: float) -> None:
        for child in children:
            if child.popen.poll() is None:
                child.popen.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.popen.wait(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.popen.pid, signal.SIGKILL)
            child.popen.wait()
            self._forget(child)

    @contextlib.contextmanager
    def _watched(self, command: subprocess.Popen[bytes] | None) -> Iterator[None]:
        if command is None:
            yield
            return
        pidfd = os.pidfd_open(command.pid)
        self._selector.register(pidfd, selectors.EVENT_READ, command)
        try:
            yield
        finally:
            self._selector.unregister(pidfd)
            os.close(pidfd)

    def _ended(self, timeout: float | None) -> list[Child]:
        """Waits for whatever comes first; the children that have ended. Raises `Interrupted`."""
        ready = [key.data for key, _ in self._selector.select(timeout)]
        self.signals.check()
        if _LIFELINE in ready:
            raise Interrupted(signal.SIGHUP)
        return [data for data in ready if isinstance(data, Child)]

    def _replace(self, child: Child) -> None:
        child.popen.wait()
        self._forget(child)
        child.deaths.add()
        what = f"{child.process.name} on {child.process.node} {ending(child.popen)}"
        if child.deaths.too_many:
            raise DeploymentFailed(
                f"{what}, {len(child.deaths)} times within {WITHIN_SECONDS / 60:.0f} minutes; the end "
                f"of {child.process.log}:\n{tail(child.process.log)}"
            )
        self.start(child.process)
        self._report(f"{what}; replaced ({len(child.deaths)} of {REPLACEMENTS})")
        self._changed()

    def _forget(self, child: Child) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.pidfd)
            os.close(child.pidfd)

    def _log_ends(self) -> str:
        ends = [
            f"\n{child.process.log}:\n{text}"
            for child in self.children.values()
            if (text := tail(child.process.log))
        ]
        return "".join(ends)


def ending(popen: subprocess.Popen[bytes]) -> str:
    code = popen.wait()
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def tail(log: Path, lines: int = LOG_LINES) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
