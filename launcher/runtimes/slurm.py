import contextlib
import os
import shlex
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Process
from launcher.images.apptainer import PROGRAM as APPTAINER
from launcher.runtimes.agents import Agents, POLL_SECONDS
from launcher.runtimes.base import Handle
from launcher.runtimes.handles import RemoteProcess, SrunProcess
from launcher.runtimes.node_checks import refuse_failures, requested_ports, start_checks
from launcher.runtimes.node_state import NodeState
from launcher.runtimes.surroundings import surroundings_request
from launcher.slurm.srun import spawn_srun, step_argv
from launcher.system.files import check_writable
from launcher.system.machine import Limits, Machine


class SlurmRuntime(Agents):
    """Runs processes as children of agents, of which each node has one."""

    poll_seconds: float | None = POLL_SECONDS

    def prepare(
        self, processes: Sequence[Process], files: Sequence[Path], folder: Path | None
    ) -> None:
        self.open(list(self.nodes.values()), self.start_seconds)
        request = {"ports": requested_ports(processes), "files": [str(file) for file in files]}
        request |= surroundings_request(processes)
        if files:
            request |= {"programs": [APPTAINER]}
        with folder_token(folder) as token:
            views = self.probe(request | token)
        refuse_failures(start_checks(dict(sorted(views.items())), processes, files, folder))
        images = next(iter(views.values()))["files"]
        self.images = {file: image["digest"] for file, image in images.items()}

    def start(self, process: Process, *, pipes: bool = False) -> Handle:
        node = self.nodes[process.node]
        if pipes:
            return self._start_piped(node, process)
        if node.loss is not None:
            self.reopen(node)
        remote = node.processes[process.name] = RemoteProcess(self, process)
        if process.variables:  # every server's are the same
            self.variables = dict(process.variables)
        node.to_start.append(
            {
                "name": process.name,
                "argv": process.argv,
                "environment": dict(process.environment),
                "variables": bool(process.variables),
                "folder": process.folder and str(process.folder),
                "scratch": process.scratch and str(process.scratch),
                "log": str(process.log),
            }
        )
        return remote

    def _start_piped(self, node: NodeState, process: Process) -> Handle:
        name = f"{process.name}-{uuid.uuid4().hex[:8]}"
        argv = step_argv(self.allocated, [node.name], name, process.argv)
        popen = spawn_srun(argv, process.environment, process.log)
        piped = SrunProcess(popen, process, self.allocated.job_of(node.name), name)
        node.piped.append(piped)
        return piped

    def free_port(self, node: str) -> int:
        return int(self.probe({"free_port": True}, [node])[node]["free_port"])

    def limits(self) -> Limits:
        views = self.probe({"machine": True}).values()
        each = [Machine(**view["machine"]).limits for view in views]
        return Limits(min(one.descriptors for one in each), min(one.ports for one in each))

    def describe(self) -> Mapping[str, object]:
        steps = self.steps
        return {
            "job": self.allocated.job_id,
            "allocation": asdict(self.allocated),
            "images": self.images,
            "steps": len(steps),
            "srun": shlex.join(steps[0].argv) if steps else None,
        }


@contextlib.contextmanager
def folder_token(folder: Path | None) -> Iterator[dict[str, Any]]:
    """A file in the folder that a probe finds on nodes that share the folder. Raises `UsageError`."""
    if folder is None:
        yield {}
        return
    check_writable(folder)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".openenv-token-") as file:
        text = f"{os.uname().nodename} {time.time_ns()}"
        # Written and closed by itself: on NFS other nodes see only closed files (nfs(5)).
        Path(file.name).write_text(text)
        yield {"token": [file.name, text]}
