"""`python boot.py benchmark.server.workers.keeper SERVER ARGUMENTS...` runs a worker of the server with this
pid, and kills what the worker leaves behind when it exits.

Descendants whose parent has exited, daemons for example, become children of the keeper. They cannot
become the worker's: it would have to wait for them, and cannot tell them from the processes that the
app started and waits for itself. With one keeper for each worker, it is known whose they are.
"""

import os
import signal
import sys

from benchmark.server import boot
from benchmark.server.process import adopt_orphans, die_with_parent, exit_like, kill_descendants

MODULE = "benchmark.server.workers.keeper"
WORKER_MODULE = "benchmark.server.workers.worker"
SERVER_EXITED = signal.SIGHUP
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, SERVER_EXITED)


def main() -> None:
    server, *arguments = sys.argv[1:]
    fork_worker(int(server))
    os.execv(sys.executable, [*boot_argv(WORKER_MODULE), *arguments])


def boot_argv(module: str) -> list[str]:
    """`-P` keeps a folder of the working directory from shadowing a package."""
    return [sys.executable, "-P", str(boot.FILE), module]


def fork_worker(server: int) -> None:
    """Returns in the worker. This process becomes its keeper, and exits as the worker does."""
    keeper = os.getpid()
    adopt_orphans()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    die_with_parent(server, SERVER_EXITED)
    if (worker := os.fork()) != 0:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        code = _keep(worker)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        exit_like(code)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.setsid()
    die_with_parent(keeper)


def _keep(worker: int) -> int:
    """Returns the exit code of the worker when no descendants are left."""
    code = None
    while code is None:
        number = signal.sigwait(SIGNALS)
        if number == signal.SIGTERM:
            os.kill(worker, signal.SIGTERM)
        elif number == SERVER_EXITED:
            code = -signal.SIGKILL
        else:
            code = _wait_for_exits(worker)
    kill_descendants()
    return code


def _wait_for_exits(worker: int) -> int | None:
    """Waits for all children that have exited; returns the exit code of the worker if it has."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == worker:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
