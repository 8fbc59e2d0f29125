"""`python -m benchmark.server.beside --service COMMAND... ARGUMENTS...` runs a server with these arguments,
and the services that its environment needs, such as a simulator, beside it.

A service that ends with 0 has done its work, or left daemons. One that fails stops the server, and everything
that a service started ends with the server.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping

from benchmark.server.process import adopt_orphans, die_with_parent, exit_like, kill_descendants
from benchmark.server.workers.exits import describe_exit
from benchmark.server.workers.keeper import boot_argv

PARENT_EXITED = signal.SIGHUP
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, PARENT_EXITED)
FAILED = 1

Child = subprocess.Popen[bytes]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmark.server.beside", allow_abbrev=False)
    parser.add_argument("--service", action="append", default=[], help="a shell command")
    options, arguments = parser.parse_known_args()
    adopt_orphans()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    die_with_parent(os.getppid(), PARENT_EXITED)
    services = {command: _start(["sh", "-c", command], mask) for command in options.service}
    server = _start([*boot_argv("benchmark.server"), *arguments], mask)
    code = _watch(server, services)
    kill_descendants()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    exit_like(code)


def _start(argv: list[str], mask: Iterable[int]) -> Child:
    parent = os.getpid()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        die_with_parent(parent)

    return subprocess.Popen(argv, preexec_fn=prepare)  # noqa: PLW1509 - no threads


def _watch(server: Child, services: Mapping[str, Child]) -> int:
    """Returns the exit code when the server has exited."""
    failure = ""
    while True:
        number = signal.sigwait(SIGNALS)
        if number == PARENT_EXITED:
            return -signal.SIGKILL
        if number != signal.SIGCHLD:
            server.send_signal(number)
        _reap_orphans({server.pid, *(service.pid for service in services.values())})
        code = server.poll()
        if code is not None:
            return FAILED if failure else code
        if not failure and (failure := _failed(services)):
            print(f"error: {failure}; its server stops", file=sys.stderr, flush=True)
            server.terminate()


def _failed(services: Mapping[str, Child]) -> str:
    for command, service in services.items():
        if code := service.poll():
            return f"the service {command!r} {describe_exit(code)}"
    return ""


def _reap_orphans(own: set[int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (exited := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if exited.si_pid in own:
                return  # the others are reaped once their own exit is known
            os.waitpid(exited.si_pid, 0)


if __name__ == "__main__":
    main()
