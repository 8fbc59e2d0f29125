"""An environment that prints 1 GB delays nobody, and its log stays short."""

import concurrent.futures
import os
import re
from pathlib import Path

import psutil
import pytest

from launcher.system.log_limit import KEPT_BYTES, MAX_BYTES
from tests.helpers.faults import serves, session, step
from tests.helpers.local import deployed, Deployment, wait_for
from tests.helpers.openenv_apps import APPS

MEGABYTES = 1000


def memory(deployment: Deployment) -> int:
    """How many bytes the server, its workers and Envoy use."""
    roots = [psutil.Process(process["pid"]) for process in deployment.state["processes"]]
    every = [child for root in roots for child in (root, *root.children(recursive=True))]
    return sum(process.memory_info().rss for process in every)


def is_short(log: Path) -> bool:
    # While it is shortened, it has only its beginning.
    return 1.5 * KEPT_BYTES < log.stat().st_size < MAX_BYTES


@pytest.mark.timeout(300)
def test_an_environment_that_prints_a_gigabyte(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(APPS)}
    size = ("--nodes", "2", "--workers-per-node", "1", "--app", "faulty:blocking")
    with (
        deployed(tmp_path, "output", *size, env=environment) as deployment,
        session(deployment.url) as printing,
        session(deployment.url) as other,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        (server,) = [p for p in deployment.state["processes"] if p["name"].startswith("server")]
        log = Path(server["log"])
        beginning = log.read_bytes()
        assert other.pid() == printing.pid()
        before = memory(deployment)
        reply = thread.submit(printing.ask, step("print", MEGABYTES))
        steps = 0
        while not reply.done():
            assert other.pid()
            steps += 1
        assert '"type":"observation"' in reply.result()
        assert steps > 10
        printing.ask(step("say", "after it"))
        wait_for(lambda: is_short(log), 10, "the log is short")
        assert memory(deployment) < before + (100 << 20)
        text = log.read_bytes()
        assert text.startswith(beginning)
        assert text.endswith(b"\nafter it\n")
        (removed,) = re.findall(rb"\[([\d,]+) bytes of output were removed here", text)
        assert int(removed.replace(b",", b"")) > (MEGABYTES << 20) - 2 * MAX_BYTES
        shown = deployment.run("logs", "output").stdout
        assert f"[{removed.decode()} bytes of output were removed here" in shown
        assert "after it\n" in shown
        assert serves(deployment.url)
