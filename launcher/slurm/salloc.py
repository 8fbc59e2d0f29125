import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.deployment.spec import Deployment
from launcher.slurm import commands
from launcher.slurm.allocation import Allocation, allocation
from launcher.slurm.commands import SlurmFailed
from launcher.slurm.sbatch import resource_options
from launcher.system.process import spawn, stop

MINUTES = "5"
CLOSE_SECONDS = 6.0
JOB = re.compile(r"job allocation (\d+)")
# salloc runs this: it prints Slurm's variables, and exits when its input closes, however we exit.
HOLD = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


def salloc_argv(deployment: Deployment) -> tuple[str, ...]:
    """Requests the same nodes as the job of `up`, for a few minutes unless --time is given."""
    return (
        *("salloc", "--job-name=openenv-doctor"),
        f"--nodes={deployment.nodes + deployment.client_nodes}",
        *("--ntasks-per-node=1", "--no-kill"),
        *resource_options(deployment, time=MINUTES),
        *deployment.sbatch,
        *(sys.executable, "-P", "-c", HOLD),
    )


@contextlib.contextmanager
def temporary_allocation(
    deployment: Deployment, report: Callable[[str], None]
) -> Iterator[Allocation]:
    """Lasts until the end of `with` or of this process. Raises `SlurmFailed` if Slurm grants no
    nodes."""
    commands.call(("salloc", "--version"))
    salloc = Salloc(salloc_argv(deployment), report)
    try:
        yield salloc.wait()
    finally:
        salloc.close()


class Salloc:
    """A running salloc; what it reports while the job is queued goes to `report`."""

    def __init__(self, argv: Sequence[str], report: Callable[[str], None]) -> None:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._argv, self._report = argv, report
        self._salloc = spawn(argv, {}, Path(os.devnull), signal.SIGTERM, bufsize=0, **pipes)
        assert self._salloc.stdin is not None
        assert self._salloc.stdout is not None
        assert self._salloc.stderr is not None
        self._stdin, self._stdout = self._salloc.stdin, self._salloc.stdout
        self._stderr = self._salloc.stderr
        self._job_id: str | None = None
        self._error = ""
        self._granted = False

    def wait(self) -> Allocation:
        while self._stdout not in select.select([self._stdout, self._stderr], [], [])[0]:
            self._take_message(self._stderr.readline())
        line = self._stdout.readline()
        granted = allocation(json.loads(line)) if line else None
        if granted is None:
            output = self._stderr.read()
            for message in output.splitlines():
                self._take_message(message)
            error = self._error or "salloc allocated no nodes"
            raise SlurmFailed(self._argv, error, output.decode(errors="replace"))
        self._job_id, self._granted = granted.job_id, True
        return granted

    def _take_message(self, message: bytes) -> None:
        text = message.decode(errors="replace").strip().removeprefix("salloc: ")
        if job := JOB.search(text):
            self._job_id = job[1]
        if text.startswith("error: "):
            self._error = text.removeprefix("error: ")
        elif "queued and waiting" in text:
            self._report(text)

    def close(self) -> None:
        """Ends the job, which may still be queued."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        if not self._granted:
            self._salloc.terminate()
        if stop(self._salloc, CLOSE_SECONDS) and self._job_id:
            with contextlib.suppress(SlurmFailed):
                commands.cancel(self._job_id)
        self._stdout.close()
        self._stderr.close()
