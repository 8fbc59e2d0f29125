"""Figure 5: the cost of a session in Envoy, with the kit's configuration and with the usual one, in front of
the same servers."""

import contextlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.perf.deployments import capacity_options, deployed, Deployment
from tests.perf.peers.envoy import configuration
from tests.perf.processes import get_json, running, tree, wait_for
from tests.perf.run import Run
from tests.perf.servers import burst, held, load

NODES = 3
WARM = 64


def envoy(run: Run) -> None:
    run.note(
        "5", "plain: one process, one thread per core, round robin, breakers raised from 1,024"
    )
    for round_ in run.rounds():
        run.settle()
        room = capacity_options(2 * run.sizes.sessions)
        with deployed(run, f"envoy-{round_}", NODES, *room) as kit, _plain(run, kit) as plain:
            host = urlsplit(kit.url)
            assert host.hostname is not None
            assert host.port is not None
            _measure(run, round_, "kit", (host.hostname, host.port), lambda: kit.pids("envoy"))
            _measure(run, round_, "plain Envoy", *plain)


def _measure(
    run: Run, round_: int, name: str, where: tuple[str, int], pids: Callable[[], list[int]]
) -> None:
    sessions = run.sizes.sessions
    load(run, *where, min(WARM, sessions), "--wait", "0")
    outcome, growth, _ = held(run, *where, sessions, pids, "--wait", "0")
    run.record("5 memory", name, round_, {"memory_kb": growth / sessions / 1e3}, outcome)
    outcome, used = burst(run, *where, sessions, pids)
    run.record(
        "5", name, round_, used.per_session(sessions) | {"wall": outcome.get("wall")}, outcome
    )


@contextlib.contextmanager
def _plain(run: Run, kit: Deployment) -> Iterator[tuple[tuple[str, int], Callable[[], list[int]]]]:
    """Starts a plain Envoy; yields its address and a function that returns its pids."""
    address = run.new_address()
    file = run.folder / f"plain-envoy-{address}.yaml"
    file.write_text(configuration(address, 8000, kit.workers))
    argv = ["envoy", "--config-path", str(file), "--disable-hot-restart", "--log-level", "error"]
    with running(argv, run.log("plain-envoy")) as process:
        page = f"http://{address}:8000/health"
        wait_for(lambda: get_json(page), 30, "the plain Envoy answers", process)
        yield (address, 8000), lambda: tree(process.pid)
