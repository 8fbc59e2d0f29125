"""The order in which the processes of the load start and stop."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Process
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.load_processes import LoadProcesses
from launcher.experiment.target import Target
from launcher.runtimes.local import LocalRuntime


class RecordedHandle:
    """A process that runs until it is killed. The master reports that its workers have joined."""

    def __init__(self, process: Process, pipes: bool, killed: list[str]) -> None:
        self.name, self.killed = process.name, killed
        self.pid: int | None = int(process.name[-1]) if process.name[-1].isdecimal() else 0
        self.stdin = BytesIO() if pipes else None
        self.stdout: Any = None
        if pipes:
            reading, writing = os.pipe()
            os.write(writing, b'{"workers": 2}\n')
            os.close(writing)
            self.stdout = os.fdopen(reading, "rb", 0)

    def fileno(self) -> None: ...
    def poll(self) -> None: ...
    def terminate(self) -> None: ...
    def close(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def kill(self) -> None:
        self.killed.append(self.name)

    def describe_exit(self) -> str:
        return ""

    def tail(self) -> str:
        return ""


class RecordingRuntime(LocalRuntime):
    def __init__(self, killed: list[str]) -> None:
        super().__init__()
        self.killed = killed

    def start(self, process: Process, *, pipes: bool = False) -> RecordedHandle:
        return RecordedHandle(process, pipes, self.killed)


class RecordingPlacement(LoadPlacement):
    def runtime(self) -> RecordingRuntime:
        return RecordingRuntime(KILLED)


KILLED: list[str] = []


def test_the_load_stops_its_master_after_its_workers(tmp_path: Path) -> None:
    KILLED.clear()
    placement = RecordingPlacement(Target("http://127.0.0.1:9"), ("127.0.0.1", "127.0.0.1"))
    with LoadProcesses(placement, tmp_path, 1) as load:
        assert load.pids == {"load-master": 0, "load-1": 1, "load-2": 2}
        assert not KILLED
    assert sorted(KILLED[:2]) == ["load-1", "load-2"]
    assert KILLED[2:] == ["load-master"]
