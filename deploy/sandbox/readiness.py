"""Whether Slurm can use the nodes: asked of Slurm itself."""

import re
import time
from dataclasses import dataclass

from sandbox import enter, network, paths, processes
from sandbox.errors import StartFailed

READY_SECONDS = 60
POLL_SECONDS = 0.1
LOG_LINES = 10


@dataclass(frozen=True)
class Registration:
    """What the controller knows of a node since its slurmd registered at `started`."""

    state: str
    started: str

    @property
    def usable(self) -> bool:
        return self.state in {"IDLE", "MIXED", "ALLOCATED"} and self.started != "None"


Registrations = dict[str, Registration]


def registrations(folder: paths.Folder) -> Registrations | None:
    """None when the controller does not answer."""
    argv = ["scontrol", "--oneliner", "show", "nodes"]
    code, text = enter.output(folder, enter.Command(argv, user="root"))
    return parse(text) if code == 0 else None


def parse(text: str) -> Registrations:
    found = {}
    for line in text.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        found[fields["NodeName"]] = Registration(fields["State"], fields["SlurmdStartTime"])
    return found


def wait_ready(folder: paths.Folder, names: list[str], before: Registrations) -> None:
    """Until the controller answers and these nodes, which may have registered `before`, did so
    anew and are usable."""
    deadline = time.monotonic() + READY_SECONDS
    while missing := _missing(folder, names, before):
        for name in [network.LOGIN, *names]:
            if not processes.load(folder.init(name)):
                raise StartFailed(f"{name} ended while it started{_log_ends(folder, [name])}")
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
