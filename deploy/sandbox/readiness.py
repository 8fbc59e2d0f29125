"""Waits until Slurm reports that it can use the nodes."""

import re
import time
from dataclasses import dataclass

from sandbox import paths
from sandbox.errors import StartFailed
from sandbox.nodes import enter, network
from sandbox.system import processes

READY_SECONDS = 60
POLL_SECONDS = 0.1
LOG_LINES = 10


@dataclass(frozen=True)
class Registration:
    state: str
    started: str

    @property
    def usable(self) -> bool:
        return self.state in {"IDLE", "MIXED", "ALLOCATED"} and self.started != "None"


Registrations = dict[str, Registration]


def registrations(folder: paths.Folder) -> Registrations | None:
    argv = ["scontrol", "--oneliner", "show", "nodes"]
    code, text = enter.output(folder, enter.Command(argv, user="root"))
    return parse(text) if code == 0 else None


def parse(text: str) -> Registrations:
    nodes = {}
    for line in text.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        nodes[fields["NodeName"]] = Registration(fields["State"], fields["SlurmdStartTime"])
    return nodes


def wait_ready(folder: paths.Folder, names: list[str], before: Registrations) -> None:
    """Waits until the controller responds and these nodes are usable, registered anew since `before`.
    Raises `StartFailed` when a node dies or the time is over."""
    deadline = time.monotonic() + READY_SECONDS
    while missing := _missing(folder, names, before):
        for name in [network.LOGIN, *names]:
            if not processes.load(folder.init(name)):
                raise StartFailed(f"{name} died while it started{_log_ends(folder, [name])}")
        if time.monotonic() > deadline:
            raise StartFailed(
                f"not ready within {READY_SECONDS} s: {', '.join(missing)}"
                f"{_log_ends(folder, [network.LOGIN, *names])}"
            )
        time.sleep(POLL_SECONDS)


def _missing(folder: paths.Folder, names: list[str], before: Registrations) -> list[str]:
    now = registrations(folder)
    if now is None:
        return ["Slurm's controller on login"]
    return [name for name in names if not (now[name].usable and now[name] != before.get(name))]


def _log_ends(folder: paths.Folder, names: list[str]) -> str:
    logs = [folder.boot_log(name) for name in names]
    logs += [log for name in names for log in sorted(folder.logs(name).glob("*.log"))]
    ends = ""
    for log in logs:
        if log.exists() and (lines := log.read_text(errors="replace").splitlines()):
            ends += "\n".join([f"\n{log}:", *lines[-LOG_LINES:]])
    return ends
