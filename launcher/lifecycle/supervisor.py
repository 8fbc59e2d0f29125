"""Supervises the processes of a deployment: starts, replaces and stops them."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice

from benchmark.server.workers.restarts import ExitHistory, MAX_RESTARTS, WINDOW_SECONDS
from launcher.deployment.placement import Process, Role
from launcher.errors import DeploymentFailed, NodeLost, StartFailed
from launcher.runtimes.base import Handle, Runtime
from launcher.system.signals import Interrupted, Signals

POLL_SECONDS = 0.05
STOP_SECONDS = 2.5
# Seconds that Envoy has to exit if the servers used up the time to stop.
ENVOY_STOP_SECONDS = 0.5
MAX_LOGS_SHOWN = 3

Report = Callable[[str], None]
_LIFELINE = object()


@dataclass(frozen=True)
class Unready:
    """Why a deployment is not ready. `nodes`: those that are known to be unhealthy."""

    text: str
    nodes: frozenset[str] = frozenset()


@dataclass
class Child:
    process: Process
    handle: Handle
    exits: ExitHistory = field(default_factory=ExitHistory)
    given_up: bool = False

    @property
    def name(self) -> str:
        return f"{self.process.name} on {self.process.node}"

    @property
    def log_end(self) -> str:
        return f"the end of {self.process.log}:\n{self.handle.tail()}"

    @property
    def cause(self) -> str:
        """The last error that the process reported in its log, if there is one."""
        lines = [line.strip() for line in self.handle.tail().splitlines()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return f": {errors[-1]}" if errors else ""


def can_continue(role: Role, remaining: Iterable[Role], *, one_for_all: bool) -> bool:
    return not one_for_all and role in remaining


def stop_order(processes: Iterable[Process]) -> tuple[list[Process], list[Process]]:
    """Envoy stops last, because sessions that a server drains pass through it."""
    first: list[Process] = []
    last: list[Process] = []
    for process in processes:
        (last if process.role is Role.ENVOY else first).append(process)
    return first, last


def unhealthy_first(processes: Iterable[Process], nodes: Collection[str]) -> list[Process]:
    return sorted(processes, key=lambda process: process.node not in nodes)


class Supervisor:
    """Every wait ends at once when a child exits or a signal arrives; all waits must be within
    `with supervisor.signals`.

    `one_for_all`: the deployment fails when any child exits too often. Otherwise it keeps running
    while it has a server, and an Envoy if it started with one.
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

    def tied_to(self, lifeline: int | None) -> AbstractContextManager[None]:
        """Within `with`, the end of the pipe `lifeline` has the effect of SIGHUP."""
        return self._registered([] if lifeline is None else [lifeline], _LIFELINE)

    @contextlib.contextmanager
    def _registered(self, descriptors: Sequence[int], data: object) -> Iterator[None]:
        for descriptor in descriptors:
            self._selector.register(descriptor, selectors.EVENT_READ, data)
        try:
            yield
        finally:
            for descriptor in descriptors:
                self._selector.unregister(descriptor)

    def start(self, process: Process) -> None:
        """Raises `NodeLost`."""
        before = self.children.get(process.name)
        exits = before.exits if before else ExitHistory()
        child = Child(process, self._runtime.start(process), exits)
        self.children[process.name] = child
        descriptor = child.handle.fileno()
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ, child)

    def wait_ready(
        self,
        unready: Callable[[], Unready | None],
        deadline: float,
        cause: Callable[[Collection[str]], str] = lambda _: "",
    ) -> None:
        """Waits until `unready` returns None. Raises `StartFailed` when a child exits first or
        `deadline` (monotonic) passes, and `Interrupted`. `cause` says what the nodes wait for."""
        while (reason := unready()) is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                text = f"{reason.text}{cause(reason.nodes)}"
                raise StartFailed(f"not ready in time: {text}{self._log_ends(reason.nodes)}")
            for child in self._exited(min(remaining, POLL_SECONDS)):
                raise StartFailed(
                    f"{child.name} {child.handle.describe_exit()} before it was ready{child.cause}; "
                    f"{child.log_end}"
                )

    def hold(
        self,
        command: subprocess.Popen[bytes] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Replaces children that exit, until `command` exits or forever; calls `check` on every
        wake-up. Raises `DeploymentFailed` when the deployment cannot continue, and `Interrupted`."""
        with contextlib.ExitStack() as stack:
            if command is not None:
                pidfd = os.pidfd_open(command.pid)
                stack.callback(os.close, pidfd)
                stack.enter_context(self._registered([pidfd], command))
            while command is None or command.poll() is None:
                for child in self._exited(self._runtime.poll_seconds):
                    self._replace(child)
                check()

    def stop(self) -> None:
        """Sends SIGTERM to every child, and SIGKILL to the process group of each that remains."""
        self._runtime.expect_exits()
        deadline = time.monotonic() + self._stop_seconds
        first, last = stop_order(child.process for child in self.children.values())
        self._stop(first, deadline)
        self._stop(last, max(deadline, time.monotonic() + ENVOY_STOP_SECONDS))
        self.children.clear()

    def _stop(self, processes: Iterable[Process], deadline: float) -> None:
        children = [self.children[process.name] for process in processes]
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

    def _exited(self, timeout: float | None) -> list[Child]:
        """Waits for the first event; returns the children that have exited. Raises `Interrupted`."""
        # For each wait, because a runtime opens and closes descriptors with its nodes.
        with self._registered(self._runtime.events(), self._runtime):
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

    def _replace(self, child: Child) -> None:
        self._forget(child)
        child.exits.add()
        exited = f"{child.name} {child.handle.describe_exit()}"
        if child.exits.too_many:
            minutes = WINDOW_SECONDS / 60
            often = f"{exited}, {len(child.exits)} times within {minutes:.0f} minutes"
            self._give_up(child, often, f"{child.cause}; {child.log_end}")
            return
        try:
            self.start(child.process)
        except NodeLost as failure:
            self._give_up(child, f"{exited} and cannot be replaced: {failure}")
            return
        self._report(f"{exited}; replaced ({len(child.exits)} of {MAX_RESTARTS})")
        self._changed()

    def _give_up(self, child: Child, reason: str, details: str = "") -> None:
        """Raises `DeploymentFailed` when the deployment cannot continue without the child."""
        child.given_up = True
        role = child.process.role
        remaining = [c.process.role for c in self.children.values() if not c.given_up]
        if not can_continue(role, remaining, one_for_all=self._one_for_all):
            raise DeploymentFailed(f"{reason}{details}")
        kind = "Envoy process(es)" if role is Role.ENVOY else "server(s)"
        self._report(f"{reason}; {remaining.count(role)} {kind} are left")
        self._changed()

    def _forget(self, child: Child) -> None:
        descriptor = child.handle.fileno()
        if descriptor is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)
        child.handle.close()

    def _log_ends(self, unhealthy: Collection[str]) -> str:
        processes = unhealthy_first((child.process for child in self.children.values()), unhealthy)
        ends = (
            f"\n{process.log}:\n{text}"
            for process in processes
            if (text := self.children[process.name].handle.tail())
        )
        return "".join(islice(ends, MAX_LOGS_SHOWN))
