"""Runs commands inside a node as children of this process, with its standard streams."""

import os
import shutil
import signal
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NoReturn

from sandbox import paths
from sandbox.errors import NotRunning
from sandbox.machine import host
from sandbox.nodes import quota
from sandbox.system import kernel, processes, terminal
from sandbox.system.relay import relay, SIGNALS

MIRROR = "OPENENV_SANDBOX_MIRROR"  # the Debian mirror for image builds
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Command:
    argv: list[str]
    node: str = "login"
    user: str = paths.USER
    cwd: str | None = None
    online: bool = False

    @property
    def is_root(self) -> bool:
        return self.user == "root"

    @property
    def number(self) -> int:
        return 0 if self.is_root else paths.USER_ID

    @property
    def home(self) -> str:
        return "/root" if self.is_root else str(paths.USER_HOME)

    @property
    def environment(self) -> dict[str, str]:
        path = PATH if self.is_root else f"{paths.PROJECT}/.venv/bin:{PATH}"
        values = {"HOME": self.home, "USER": self.user, "LOGNAME": self.user, "PATH": path}
        values |= {"SHELL": "/bin/bash", "LANG": "C.UTF-8"}
        if "TERM" in os.environ:
            values["TERM"] = os.environ["TERM"]
        if self.online:
            values |= host.variables() | {MIRROR: host.mirror().uri}
        return values


def run(folder: paths.Folder, command: Command) -> int:
    """Returns the exit code of the command, or 128 + N if signal N terminated it.

    Call it last: this process enters the namespaces of the node and cannot leave them.
    """
    environment = command.environment
    join = quota.joiner(folder.name, command.node)
    init = processes.load(folder.init(command.node))
    try:
        if not init:
            raise ProcessLookupError
        _enter(init, command)
    except (ProcessLookupError, FileNotFoundError):  # the node may die at any time
        raise NotRunning(
            f"{command.node} of the sandbox {folder.name!r} is not up; run `status` to list nodes"
        ) from None
    pty = terminal.Terminal(command.number) if os.isatty(0) and os.isatty(1) else None
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def child() -> None:
        join()
        if pty:
            pty.take()
        else:
            os.setsid()  # it gets the signals of a terminal from this process only
        for number in (*SIGNALS, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _become_user(command.number)
        _change_folder(command)
        _execute(command, environment)

    pid = kernel.fork(child)
    none: AbstractContextManager[dict[int, int]] = nullcontext({})
    with pty.shown() if pty else none as copies:
        relay(pid, copies)
    return kernel.wait(pid)


def output(folder: paths.Folder, command: Command) -> tuple[int, str]:
    reading, writing = os.pipe()

    def child() -> None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, standard in ((nothing, 0), (writing, 1), (writing, 2)):
            os.dup2(descriptor, standard)
        os._exit(run(folder, command))

    pid = kernel.fork(child)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as text:
        written = text.read()
    return kernel.wait(pid), written


def _enter(init: processes.Process, command: Command) -> None:
    kinds = {"mnt": kernel.NEWNS, "uts": kernel.NEWUTS, "ipc": kernel.NEWIPC, "pid": kernel.NEWPID}
    if not command.online:
        kinds["net"] = kernel.NEWNET
    with kernel.namespaces(init.pid, kinds) as enter:
        enter()


def _become_user(number: int) -> None:
    os.setgroups([number])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)
    kernel.die_with_parent(signal.SIGHUP)  # like a lost connection to a login node


def _change_folder(command: Command) -> None:
    project = None if command.is_root else str(paths.PROJECT)
    try:
        os.chdir(command.cwd or project or "/")
    except OSError as failure:
        if command.cwd:
            _exit(2, f"--cwd {command.cwd} on {command.node}: {failure.strerror}")
        os.chdir(command.home)


def _execute(command: Command, environment: dict[str, str]) -> None:
    program = shutil.which(command.argv[0], path=environment["PATH"])
    if program is None:
        _exit(127, f"{command.argv[0]}: no such command on {command.node}")
    os.execve(program, command.argv, environment)


def _exit(code: int, message: str) -> NoReturn:
    os.write(2, f"error: {message}\n".encode())
    os._exit(code)
