"""Holds the processes of a deployment: starts them, waits until all are ready, replaces one that
dies, stops them."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from benchmark.server.workers.restarts import ExitHistory, MAX_RESTARTS, WINDOW_SECONDS
from launcher.deployment.placement import Process, Role
from launcher.errors import DeploymentFailed, NodeLost, StartFailed
from launcher.runtimes.base import Handle, Runtime
from launcher.system.signals import Interrupted, Signals

POLL_SECONDS = 0.05
STOP_SECONDS = 2.5
LAST_SECONDS = 0.5
LOGS_SHOWN = 3

Report = Callable[[str], None]
_LIFELINE = object()


@dataclass
class Child:
    process: Process
    handle: Handle
    exits: ExitHistory = field(default_factory=ExitHistory)
    given_up: bool = False

    @property
    def restarts(self) -> int:
        return len(self.exits)

    @property
    def name(self) -> str:
        return f"{self.process.name} on {self.process.node}"


class Supervisor:
    """Holds the children of one deployment; every wait ends at once when one of them does, or when
    a signal comes: it waits within `with supervisor.signals`.

    `one_for_all`: the deployment fails when any child dies too often. Otherwise it goes on as long
    as a server is left, and an Envoy where there is one.
    """

    def __init__(
        self,
        runtime: Runtime,
        report: Report,
        changed: Callable[[], None] = lambda: None,
        stop_seconds: float = STOP_SECONDS,
        *,
        one_for_all: bool = True,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._changed = changed
        self._stop_seconds = stop_seconds
        self._one_for_all = one_for_all
        self._selector = selectors.DefaultSelector()
        self.signals = Signals(self._selector)
        runtime.check = self.signals.check
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
        """Raises `NodeLost`."""
        exits = (
            self.children[process.name].exits if process.name in self.children else ExitHistory()
        )
        child = Child(process, self._runtime.start(process), exits)
        self.children[process.name] = child
        descriptor = child.handle.fileno()
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ, child)

    def wait_ready(self, ready: Callable[[], str | None], deadline: float) -> None:
        """Until `ready` returns None; its text says what is still missing.

        Raises `StartFailed` when a child ends first or `deadline` (monotonic) passes, and
        `Interrupted`.
        """
        while (missing := ready()) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise StartFailed(f"not ready in time: {missing}{self._log_ends(missing)}")
            for child in self._ended(min(left, POLL_SECONDS)):
                raise StartFailed(
                    f"{child.name} {child.handle.describe_exit()} before it was ready; the end of "
                    f"{child.process.log}:\n{child.handle.tail()}"
                )

    def hold(
        self,
        command: subprocess.Popen[bytes] | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Replaces children that die, for ever or until `command` ends; calls `look` whenever it
        wakes.

        Raises `DeploymentFailed` when it cannot go on, and `Interrupted`.
        """
        with self._watched(command):
            while command is None or command.poll() is None:
                for child in self._ended(self._runtime.poll_seconds):
                    self._replace(child)
                look()

    def stop(self) -> None:
        """Ends every child: SIGTERM, and SIGKILL to its whole group when that is not enough.

        The balancer goes last: sessions that a server lets end go through it.
        """
        self._runtime.expect_exits()
        deadline = time.monotonic() + self._stop_seconds
        last = [c for c in self.children.values() if c.process.role is Role.ENVOY]
        self._end([c for c in self.children.values() if c not in last], deadline)
        self._end(last, max(deadline, time.monotonic() + LAST_SECONDS))
        self.children.clear()

    def _end(self, children: list[Child], deadline: float) -> None:
        for child in children:
            child.handle.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.handle.wait(max(0.0, deadline - time.monotonic()))
        for child in children:
            child.handle.kill()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.handle.wait(self._stop_seconds)
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
        with self._runtime_watched():
            ready = [key.data for key, _ in self._selector.select(timeout)]
        self.signals.check()
        if _LIFELINE in ready:
            raise Interrupted(signal.SIGHUP)
        before = self._pids()
        for line in self._runtime.pump():
            self._report(line)
        if self._pids() != before:
            self._changed()
        return [
            child
            for child in self.children.values()
            if not child.given_up and child.handle.poll() is not None
        ]

    def _pids(self) -> list[int | None]:
        return [child.handle.pid for child in self.children.values()]

    @contextlib.contextmanager
    def _runtime_watched(self) -> Iterator[None]:
        """A runtime's descriptors come and go with its nodes."""
        events = self._runtime.events()
        for descriptor in events:
            self._selector.register(descriptor, selectors.EVENT_READ, self._runtime)
        try:
            yield
        finally:
            for descriptor in events:
                self._selector.unregister(descriptor)

    def _replace(self, child: Child) -> None:
        self._forget(child)
        child.exits.add()
        what = f"{child.name} {child.handle.describe_exit()}"
        if child.exits.too_many:
            self._give_up(
                child,
                f"{what}, {len(child.exits)} times within {WINDOW_SECONDS / 60:.0f} minutes; the end "
                f"of {child.process.log}:\n{child.handle.tail()}",
            )
            return
        try:
            self.start(child.process)
        except NodeLost as failure:
            self._give_up(child, f"{what} and cannot be replaced: {failure}")
            return
        self._report(f"{what}; replaced ({len(child.exits)} of {MAX_RESTARTS})")
        self._changed()

    def _give_up(self, child: Child, why: str) -> None:
        """Raises `DeploymentFailed` when the deployment cannot go on without it."""
        child.given_up = True
        role = child.process.role
        left = [c for c in self.children.values() if not c.given_up and c.process.role is role]
        if self._one_for_all or not left:
            raise DeploymentFailed(why)
        what = "Envoy process(es)" if role is Role.ENVOY else "server(s)"
        self._report(f"{why.partition(chr(10))[0]}; {len(left)} {what} are left")
        self._changed()

    def _forget(self, child: Child) -> None:
        descriptor = child.handle.fileno()
        if descriptor is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)
        child.handle.close()

    def _log_ends(self, missing: str) -> str:
        """Of a few processes, those on the nodes that are missing first."""
        named = re.findall(r"[\w.-]+", missing)
        children = sorted(self.children.values(), key=lambda c: c.process.node not in named)
        ends = (
            f"\n{child.process.log}:\n{text}" for child in children if (text := child.handle.tail())
        )
        return "".join(islice(ends, LOGS_SHOWN))
