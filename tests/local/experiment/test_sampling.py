"""Samples of real deployments, also when sampling fails."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket
from prometheus_client.parser import text_string_to_metric_families

from analysis.cells.bound import bound
from launcher.deployment.state import DeploymentState
from launcher.sampling import Sampler
from launcher.sampling.targets import Targets
from tests.helpers.local import deployed, Deployment, serving, wait_for

HERE = os.uname().nodename
QUICK = 0.2


def sampling(deployment: Deployment, folder: Path, **options: Any) -> Sampler:
    output, run_file = folder / "samples.jsonl", folder / "run.json"
    state = DeploymentState.from_dict(deployment.state)
    return Sampler(output, state, run_file, deployment.url, QUICK, **options)


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def sources(samples: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(sample["kind"], sample.get("name", "")) for sample in samples}


def await_all(sampler: Sampler) -> None:
    """Waits until every process has been sampled once more."""
    assert sampler.wait_for(lambda seen: sampler.expected <= set(seen), 20), sampler.warnings


@contextlib.contextmanager
def sessions(url: str, count: int) -> Iterator[None]:
    opened = [websocket.create_connection(f"{url}/ws", timeout=20) for _ in range(count)]
    try:
        yield
    finally:
        for session in opened:
            session.shutdown()


def test_samples_cover_every_source_of_a_cell(deployment: Deployment, tmp_path: Path) -> None:
    load = {"load-master": os.getpid(), "load-1": os.getpid()}
    placement = {"load": load, "load_nodes": ["127.0.0.1"]}
    with sampling(deployment, tmp_path) as sampler:
        # The load is known once it has begun.
        (tmp_path / "run.json").write_text(json.dumps({"placement": placement}))
        wait_for(lambda: (HERE, "process", "load-1") in sampler.expected, 10, "the load is known")
        await_all(sampler)
        sampler.cell = 7
        with sessions(deployment.url.replace("http", "ws", 1), 6):

            def used() -> int:
                places = [s for s in sampler.latest().values() if s["kind"] == "places"]
                return sum(s["used"] for s in places if s["cell"] == 7)

            wait_for(lambda: used() == 6, 10, "the sessions are seen")
        sampler.cell = None
        samples = sampler.cell_samples(7)
        assert sampler.changes(7) == []
        assert sampler.cell_samples(8) == []
    assert sampler.warnings == []
    within = [sample for sample in samples if sample["cell"] == 7]
    assert samples == [s | {"cell": None} for s in samples if s not in within] + within
    servers = {("process", "server-1"), ("process", "server-2")}
    servers |= {("places", "server-1"), ("places", "server-2")}
    others = {("process", "envoy"), ("envoy", ""), ("node", ""), ("process", "load-1")}
    assert servers | others | {("process", "load-master")} == sources(within)
    (grown,) = {s["downstream_cx_total"] for s in within[-9:] if s["kind"] == "envoy"}
    before = next(s for s in samples if s["kind"] == "envoy")
    assert grown - before["downstream_cx_total"] == 6
    for sample in within:
        if sample["kind"] == "process":
            assert 0 <= sample["busiest"] <= 1
            assert 0 < sample["fds"] <= sample["fd_limit"]
    assert [s for s in written(tmp_path) if s["cell"] == 7] == within
    line = {"batch_size": 6, "failed": 0, "errors": {}}
    evidence = bound(line, [], samples, {}, {})["evidence"]
    assert evidence.startswith("no session failed; inspected: ")


def test_samples_cover_cells_that_follow_each_other_immediately(
    deployment: Deployment, tmp_path: Path
) -> None:
    with sampling(deployment, tmp_path) as sampler:
        for cell in (1, 2, 3):
            sampler.cell = cell
            sampler.cell = None
            assert {"envoy", "places"} <= {
                s["kind"] for s in sampler.cell_samples(cell) if s["cell"]
            }
        sampler.cell = 4
        sampler.cell = 5
        sampler.cell = None
        assert sampler.cell_samples(5)
    assert {s["cell"] for s in written(tmp_path)} == {None, 1, 2, 3, 4, 5}


def test_sampler_appends_to_an_existing_file(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"cell":1}\n{"cell":1,"ki')
    with sampling(deployment, tmp_path) as sampler:
        await_all(sampler)
    samples = written(tmp_path)
    assert samples[0] == {"cell": 1}
    assert ("process", "envoy") in sources(samples[1:])


def test_sampler_reports_processes_replaced_during_a_cell(tmp_path: Path) -> None:
    options = ("--nodes", "3", "--workers-per-node", "2", "--drain", "0")
    with (
        deployed(tmp_path, "replaced", *options) as deployment,
        sampling(deployment, tmp_path) as sampler,
    ):
        await_all(sampler)
        before = deployment.pid("server-1")
        worker = psutil.Process(deployment.pid("server-2")).children()[0]
        sampler.cell = 1
        os.kill(before, signal.SIGKILL)
        worker.kill()

        def both_seen() -> bool:
            latest = sampler.latest().values()
            names = [s["name"] for s in latest if s["kind"] == "places" and s["replaced"]]
            pids = [s["pid"] for s in latest if s.get("name") == "server-1" and "pid" in s]
            return "server-2" in names and pids not in ([], [before])

        wait_for(both_seen, 30, "both are seen")
        sampler.cell = None
        changes = [str(change) for change in sampler.changes(1)]
    assert any(
        text.startswith("server-1 on ") and f"(pid {before}, then" in text for text in changes
    )
    assert any("1 worker(s) of server-2" in text for text in changes), changes


def test_samples_have_a_gap_when_a_server_does_not_answer(tmp_path: Path) -> None:
    with (
        deployed(tmp_path, "silent", "--nodes", "3", "--drain", "0") as deployment,
        sampling(deployment, tmp_path) as sampler,
    ):
        await_all(sampler)
        stopped = psutil.Process(deployment.pid("server-1"))
        stopped.suspend()
        try:
            key = deployment.state["processes"][1]["node"], "places", "server-1"
            wait_for(lambda: key not in sampler.latest(), 20, "it is a gap")
            assert {"server-2", "envoy"} <= {s.get("name") for s in sampler.latest().values()}
        finally:
            stopped.resume()
        wait_for(lambda: key in sampler.latest(), 20, "it is there again")
    assert sampler.warnings == []


def test_sampler_reads_the_places_of_a_server_without_a_launcher(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=2, MAX_CONCURRENT_ENVS=5) as server:
        output = tmp_path / "samples.jsonl"
        with Sampler(output, None, tmp_path / "run.json", server.url, QUICK) as sampler:
            sampler.cell = 1
            sampler.cell = None
            samples = sampler.cell_samples(1)
    places = [sample for sample in samples if sample["kind"] == "places"]
    assert {(s["node"], s["limit"], s["count"]) for s in places} == {(server.address, 10, 2)}


def test_sampler_covers_only_this_machine_for_an_unknown_url(tmp_path: Path) -> None:
    with Sampler(tmp_path / "samples.jsonl", None, None, "http://127.0.0.1:1", QUICK) as sampler:
        await_all(sampler)
    assert sources(written(tmp_path)) == {("node", "")}


def test_sampling_ends_but_not_the_run_when_its_file_is_not_writable(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "nowhere" / "samples.jsonl"
    state = DeploymentState.from_dict(deployment.state)
    with Sampler(output, state, None, deployment.url, QUICK) as sampler:
        sampler.cell = 1
        sampler.cell = None
        assert sampler.cell_samples(1) == []
    (warning,) = sampler.warnings
    assert "samples.jsonl: No such file or directory" in warning


FULL = """
import resource, signal, sys
from pathlib import Path
from launcher.deployment.state import DeploymentState
from launcher.sampling import Sampler
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
output, state = Path(sys.argv[1]), DeploymentState.load(Path(sys.argv[2]))
with Sampler(output, state, None, state.url, 0.1) as sampler:
    sampler.wait_for(lambda _: bool(sampler.warnings), 30)
    sampler.cell = 1
    sampler.cell = None
    sampler.cell_samples(1)
print(sampler.warnings)
"""


def test_samples_are_whole_lines_when_the_disk_is_full(
    deployment: Deployment, tmp_path: Path
) -> None:
    state = deployment.folder / "openenv-deployment.json"
    argv = [sys.executable, "-c", FULL, str(tmp_path / "samples.jsonl"), str(state)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sampling has ended" in done.stdout
    assert 0 < (tmp_path / "samples.jsonl").stat().st_size <= 5000
    assert written(tmp_path)


def test_sampler_threads_receive_no_signals(deployment: Deployment, tmp_path: Path) -> None:
    tasks = Path("/proc/self/task")
    before = set(tasks.iterdir())
    with sampling(deployment, tmp_path) as sampler:
        await_all(sampler)
        threads = set(tasks.iterdir()) - before
        statuses = [(thread / "status").read_text() for thread in threads]
    assert len(threads) >= 2
    for status in statuses:
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        assert blocked & 1 << (signal.SIGINT - 1)
        assert blocked & 1 << (signal.SIGTERM - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_sampler_works_with_many_open_descriptors(deployment: Deployment, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with sampling(deployment, tmp_path) as sampler:
            await_all(sampler)
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sampler.warnings == []


def test_sampler_finds_a_load_master_by_its_port(tmp_path: Path) -> None:
    """Like a client node, where the run only knows the pid of its srun."""
    from launcher.sampling.collector import Collector

    def pretend(module: str, option: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", "input()", "-m", module, option, "54321"]
        return subprocess.Popen(argv, stdin=subprocess.PIPE)

    with (
        pretend("locustfiles.grid.master", "--port") as master,
        pretend("locustfiles.grid.worker", "--master-port") as worker,
    ):
        processes = {"load-master": None, "load-1": worker.pid}
        targets: Targets = {"n1": {"processes": processes}}
        collector = Collector(None, QUICK)
        # Until a child calls exec, its command line is that of this process.
        for process in (master, worker):
            argv = Path(f"/proc/{process.pid}/cmdline")
            wait_for(lambda argv=argv: b"54321" in argv.read_bytes(), 10, "both have started")
        collector.set_targets(targets)
        collector.collect()
        found: list[dict[str, Any]] = []
        wait_for(lambda: found.extend(collector.collect()) or found, 10, "samples")
        collector.close()
        for process in (master, worker):
            process.communicate(b"\n")
    pids = {sample["name"]: sample["pid"] for sample in found}
    assert pids == {"load-master": master.pid, "load-1": worker.pid}


def test_server_exports_metrics_for_prometheus(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=2, MAX_CONCURRENT_ENVS=3) as server:
        with sessions(server.url.replace("http", "ws", 1), 2):
            url = f"http://{server.address}:8001/metrics"
            wait_for(lambda: server.ready()["used"] == 2, 10, "they are held")
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=")
                text = answer.read().decode()
        workers = server.ready()["workers"]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert sum(sample.value for sample in families["openenv_places_used"].samples) == 2
    limits = {s.labels["worker"]: s.value for s in families["openenv_places_limit"].samples}
    assert limits == {"0": 3, "1": 3}
    assert {s.name for s in families["openenv_places_refused"].samples} == {
        "openenv_places_refused_total"
    }
    names = ("cpu_seconds", "resident_memory_bytes", "open_fds", "alive_age_seconds")
    for name in names:
        values = [sample.value for sample in families[f"openenv_worker_{name}"].samples]
        assert len(values) == len(workers)
        assert all(value >= 0 for value in values)
    assert families["openenv_draining"].samples[0].value == 0


def test_envoy_exports_metrics_for_prometheus(deployment: Deployment) -> None:
    with urllib.request.urlopen(f"{deployment.admin_url}/stats/prometheus", timeout=5) as answer:
        assert "envoy_cluster_upstream_cx_active" in answer.read().decode()


@pytest.mark.parametrize("path", ["/metrics/", "/metric"])
def test_unknown_pages_return_404(server: Any, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{server.address}:8001{path}", timeout=5)
