"""An allocation for a moment."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from launcher.deployment.spec import Deployment, SLURM_OPTIONS
from launcher.slurm import commands
from launcher.slurm.allocation import Allocation, allocation
from launcher.slurm.commands import SlurmFailed
from launcher.system.process import spawn

MINUTES = "5"
CLOSE_SECONDS = 6.0
JOB = re.compile(r"job allocation (\d+)")
HOLD = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
"""What salloc runs: it tells Slurm's variables, and ends when its input does, however we end."""


def salloc_argv(deployment: Deployment) -> tuple[str, ...]:
    """As sbatch is asked by `up`, but for a few minutes at most."""
    given = {name: getattr(deployment, name) for name in SLURM_OPTIONS}
    wanted = given | {"time": given["time"] or MINUTES}
    options = [f"--{n.replace('_', '-')}={v}" for n, v in wanted.items() if v is not None]
    return (
        *("salloc", "--job-name=openenv-doctor"),
        f"--nodes={deployment.nodes + deployment.client_nodes}",
        *("--ntasks-per-node=1", "--no-kill"),
        *options,
        *deployment.sbatch,
        *(sys.executable, "-P", "-c", HOLD),
    )


@contextlib.contextmanager
def momentary(deployment: Deployment, report: Callable[[str], None]) -> Iterator[Allocation]:
    """Until the end of `with`, or of this process. Raises `SlurmFailed` when Slurm gives none."""
    commands.call(("salloc", "--version"))
    argv = salloc_argv(deployment)
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    salloc = spawn(argv, {}, Path(os.devnull), signal.SIGTERM, bufsize=0, **pipes)
    moment = _Moment(salloc, report)
    try:
        yield moment.wait(argv)
    finally:
        moment.close()


class _Moment:
    def __init__(self, salloc: "subprocess.Popen[bytes]", report: Callable[[str], None]) -> None:
        self._salloc, self._report = salloc, report
        self._job_id: str | None = None
        self._complaint = ""
        self._granted = False

    def wait(self, argv: tuple[str, ...]) -> Allocation:
        assert self._salloc.stdout is not None
        assert self._salloc.stderr is not None
        while True:
            ready, _, _ = select.select([self._salloc.stdout, self._salloc.stderr], [], [])
            if self._salloc.stderr in ready:
                self._heed(self._salloc.stderr.readline().decode(errors="replace").strip())
            if self._salloc.stdout in ready:
                break
        line = self._salloc.stdout.readline()
        found = allocation(json.loads(line)) if line else None
        if found is None:
            rest = self._salloc.stderr.read().decode(errors="replace")
            for said in rest.splitlines():
                self._heed(said.strip())
            raise SlurmFailed(argv, self._complaint or "salloc allocated no nodes", rest)
        self._granted = True
        return found

    def _heed(self, line: str) -> None:
        line = line.removeprefix("salloc: ")
        if job := JOB.search(line):
            self._job_id = job[1]
        if line.startswith("error: "):
            self._complaint = line.removeprefix("error: ")
        elif "queued and waiting" in line:
            self._report(line)

    def close(self) -> None:
        """Ends the job, which may still be waiting for its nodes."""
        assert self._salloc.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._salloc.stdin.close()
        if not self._granted:
            self._salloc.terminate()
        for stronger in (self._salloc.terminate, self._salloc.kill):
            try:
                self._salloc.wait(CLOSE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                stronger()
        else:
            self._salloc.wait()
        if self._salloc.returncode and self._job_id:
            with contextlib.suppress(SlurmFailed):
                commands.cancel(self._job_id)
        for pipe in (self._salloc.stdout, self._salloc.stderr):
            assert pipe is not None
            pipe.close()
