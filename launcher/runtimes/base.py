"""What every runtime can do."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from launcher.deployment.placement import Process
from launcher.system.machine import Limits


class Handle(Protocol):
    """A process that a runtime has started, on this node or another."""

    @property
    def pid(self) -> int | None:
        """None until it is known."""
        ...

    @property
    def stdin(self) -> IO[bytes] | None: ...

    @property
    def stdout(self) -> IO[bytes] | None: ...

    def fileno(self) -> int | None:
        """Readable once the process has ended; None where its runtime's `events` tell."""
        ...

    def poll(self) -> int | None:
        """As `Popen.poll`."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen.wait`: raises `subprocess.TimeoutExpired`."""
        ...

    def terminate(self) -> None: ...

    def kill(self) -> None:
        """Ends the process and whatever it has started in its group; also one that has ended."""
        ...

    def ending(self) -> str:
        """How it has ended, as "exited with 1"."""
        ...

    def tail(self) -> str:
        """The end of its log, indented."""
        ...

    def close(self) -> None: ...


class Runtime(Protocol):
    check: Callable[[], None]
    """Called during every wait of its own; what it raises ends the wait."""

    note: Callable[[str], object]
    """Called with every line of the runtime's own that may explain something later."""

    patience: float | None
    """Seconds after which `pump` is to be called although nothing happened."""

    def events(self) -> list[int]:
        """Descriptors that are readable when `pump` has something to do."""
        ...

    def pump(self) -> list[str]:
        """Takes in what happened to processes; what there is to report, a line each.

        Raises `DeploymentEnded` when all of them have lost their place.
        """
        ...

    def prepare(
        self, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
    ) -> None:
        """`folder` must be the same on all nodes.

        Raises `PortTaken`, `StartFailed` or `UsageError` for what would keep the processes from
        running; it has started nothing then."""
        ...

    def start(self, process: Process, *, pipes: bool = False) -> Handle:
        """Starts the process with its output in its log, or with `pipes` to its standard input and
        output. It ends when the caller ends. Raises `NodeLost`."""
        ...

    def free_port(self, node: str) -> int: ...

    def limits(self) -> Limits:
        """The lowest limits of its nodes."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What a run's files say of where it ran."""
        ...

    def fate(self) -> str | None:
        """What ended the nodes' allocation; None while it stands."""
        ...

    def stopping(self) -> None:
        """From now on processes are expected to end, and nodes to go."""
        ...

    def close(self) -> None:
        """Ends whatever is left of it."""
        ...
