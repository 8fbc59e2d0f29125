"""The interface between a deployment and the machines that it runs on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from launcher.deployment.placement import Process
from launcher.system.machine import Limits


class Handle(Protocol):
    """A process that a runtime has started. `poll`, `wait` and `terminate` are as in `Popen`.

    `pid` is None until it is known. `fileno` is readable when the process has exited; it is None if
    the runtime's `events` report the exit. `kill` also kills the rest of the process group, and works
    after the process itself has exited. `describe_exit` is for example "exited with 1"; `tail` is the
    end of the log, indented.
    """

    @property
    def pid(self) -> int | None: ...
    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def fileno(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def describe_exit(self) -> str: ...
    def tail(self) -> str: ...
    def close(self) -> None: ...


class Runtime(Protocol):
    """`check` is called during every wait of the runtime and ends it by raising; `log` receives lines that
    may explain a later failure. `pump` must be called when one of `events` is readable, and every
    `poll_seconds` if that is not None. `limits` are the lowest of all nodes; `describe` is for the
    files of a deployment; `termination` says how Slurm ended the job, if it has. After `expect_exits`,
    exits of processes are not failures."""

    check: Callable[[], None]
    log: Callable[[str], object]
    poll_seconds: float | None

    def events(self) -> list[int]: ...

    def pump(self) -> list[str]:
        """Processes pending events and returns lines to report. Raises `DeploymentEnded` if the allocation
        ended, `Interrupted` if another launcher requested the stop."""

    def prepare(
        self, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
    ) -> None:
        """Checks that the processes can start; the nodes must share `folder`. Raises `PortTaken`,
        `StartFailed` or `UsageError`."""

    def start(self, process: Process, *, pipes: bool = False) -> Handle:
        """Starts a process that exits with this one. Its output goes to its log, or with `pipes` to
        the handle. Raises `NodeLost`."""

    def free_port(self, node: str) -> int: ...
    def limits(self) -> Limits: ...
    def describe(self) -> Mapping[str, object]: ...
    def termination(self) -> str | None: ...
    def expect_exits(self) -> None: ...
    def close(self) -> None: ...
