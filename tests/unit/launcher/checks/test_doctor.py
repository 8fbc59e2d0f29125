"""The findings of the doctor and of preflight, and which limit binds first."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.server.describe import Description
from launcher.checks import kernel, network, preflight_nodes, software
from launcher.checks.doctor import burst_per_socket, diagnose, Diagnosis, fit, stage
from launcher.checks.network import Skew
from launcher.checks.survey import clock_skews, Survey
from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.envoy.capacity import envoy_sessions
from launcher.planning.capacity import Bound, bounds, ENVOY, Limit, LOAD, load_bounds, SERVER
from launcher.runtimes import node_checks
from launcher.runtimes.findings import Check, fail, Finding, listed, Verdict, warn
from launcher.runtimes.probe import addresses
from launcher.slurm.salloc import salloc_argv
from launcher.system.machine import Machine, machine, memory_limit, parse_meminfo
from tests.helpers.machines import GIB, GOOD

NODES = ("n1", "n2", "n3", "n4")
KNOWN = {name: {"address": f"10.0.0.{number}"} for number, name in enumerate(NODES, 1)}
WELL = {"version": "1.4.5", "ran": "", "fuse": True, "namespaces": True}
OURS = Description("benchmark.server.app:app", "WaitEnvironment")
IMAGE = {node: {"digest": "a" * 64} for node in NODES}


def nodes(**others: Machine) -> dict[str, Machine]:
    return dict.fromkeys(NODES, GOOD) | others


def views(values: Mapping[str, Any], **others: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {node: {**values, **others.get(node, {})} for node in NODES}


def surveyed(machine: Machine = GOOD, **fields: Any) -> Survey:
    """A survey of n1 to n4 without a problem; the last of them is a client."""
    deployment = Deployment(client_nodes=1, **fields)
    there = [Node(name, f"10.0.0.{number}", 2) for number, name in enumerate(NODES, 1)]
    placement = place(deployment, there, RunDir(Path("/run"), "test"), Programs("envoy"))
    found = views(
        {
            "machine": asdict(machine),
            "shared": True,
            "taken": None,
            "missing": [],
            "files": {"/i/server.sif": {"digest": "a" * 64}},
            "names": KNOWN,
            "apptainer": WELL,
        }
    )
    return Survey(placement, there, found, dict.fromkeys(NODES, Skew(-0.01, 0.01)), OURS, "7")


def assert_finding(
    found: Finding, verdict: Verdict, nodes: tuple[str, ...], says: str = "", advises: str = ""
) -> None:
    assert (found.verdict, found.nodes) == (verdict, nodes), found
    assert says in found.detail
    assert advises in found.advice
    assert "\n" not in found.detail + found.advice
    assert bool(found.advice) == (verdict is not Verdict.OK)


def test_diagnose_reports_ok_for_every_check_on_good_nodes() -> None:
    diagnosis = diagnose(surveyed(), GOOD, 300)
    assert diagnosis.ok
    assert {finding.verdict for finding in diagnosis.findings} == {Verdict.OK}
    assert [finding.check for finding in diagnosis.findings] == [
        *("descriptors", "processes", "ephemeral ports", "backlog", "memory", "python"),
        *("app", "apptainer", "folder", "ports", "image", "names", "clocks", "proxy"),
    ]


def test_diagnose_skips_apptainer_without_containers() -> None:
    checks = {finding.check for finding in diagnose(surveyed(runtime="venv"), GOOD, 1).findings}
    assert not checks & {"apptainer", "image"}


class TestKernel:
    def test_descriptors_fail_when_too_few_to_start(self) -> None:
        found = kernel.descriptors(nodes(n2=replace(GOOD, descriptors=64)))
        assert_finding(found, Verdict.FAIL, ("n2",), "64 on n2; 20,000 elsewhere", "ulimit -Hn")

    def test_descriptors_warn_when_fewer_than_on_other_nodes(self) -> None:
        found = kernel.descriptors(nodes(n2=replace(GOOD, descriptors=5000)))
        assert_finding(found, Verdict.WARN, ("n2",), "5,000 on n2; 20,000 elsewhere")

    def test_descriptors_warn_when_few_on_every_node(self) -> None:
        few = replace(GOOD, descriptors=1024)
        assert_finding(kernel.descriptors(dict.fromkeys(NODES, few)), Verdict.WARN, NODES, "1,024")

    def test_descriptors_pass_when_one_node_has_more(self) -> None:
        found = kernel.descriptors(nodes(n1=replace(GOOD, descriptors=1_000_000)))
        assert_finding(found, Verdict.OK, ())

    def test_processes(self) -> None:
        none = replace(GOOD, processes=None)
        assert_finding(
            kernel.processes(dict.fromkeys(NODES, none), 100), Verdict.OK, (), "no limit"
        )
        found = kernel.processes(nodes(n3=replace(GOOD, processes=99)), 100)
        assert_finding(found, Verdict.FAIL, ("n3",), "99 on n3", "up to 100 processes")
        found = kernel.processes(nodes(n3=none, n2=replace(GOOD, processes=500)), 100)
        assert_finding(found, Verdict.WARN, ("n2",), "500 on n2")

    def test_ports_warn_when_few_are_ephemeral(self) -> None:
        found = kernel.ports(nodes(n4=replace(GOOD, last_port=33767)), {})
        assert_finding(found, Verdict.WARN, ("n4",), "1,000 on n4", "ip_local_port_range")

    def test_ports_warn_when_the_deployment_listens_on_ephemeral_ones(self) -> None:
        wide = replace(GOOD, first_port=9000)
        found = kernel.ports(nodes(n1=wide), {"n1": [8000, 9901], "n2": [9901]})
        assert_finding(found, Verdict.WARN, ("n1",), "port 9901", "below 9000")

    def test_backlog(self) -> None:
        burst = {"n1": 5000, "n2": 2500, "n3": 2500}
        assert_finding(
            kernel.backlog(nodes(), burst), Verdict.WARN, ("n1",), "of 5,000 conn", "5,000"
        )
        assert_finding(kernel.backlog(nodes(), {"n1": 4096}), Verdict.OK, ())

    def test_backlog_counts_half_open_connections_without_syn_cookies(self) -> None:
        cookieless = replace(GOOD, syncookies=False)
        found = kernel.backlog(nodes(n3=cookieless), dict.fromkeys(NODES, 2000))
        assert_finding(found, Verdict.WARN, ("n3",), "tcp_max_syn_backlog 2,048")

    def test_burst_is_distributed_over_listening_sockets(self) -> None:
        survey = surveyed(workers_per_node=4, envoy_threads=2)
        assert burst_per_socket(survey, 8000) == {"n1": 4000, "n2": 1000, "n3": 1000}

    def test_memory(self) -> None:
        full = replace(GOOD, memory_available=GIB // 8)
        assert_finding(
            kernel.memory(nodes(n2=full)), Verdict.FAIL, ("n2",), "0.1 GiB on n2", "--mem"
        )
        tight = replace(GOOD, memory_limit=GIB // 2)
        assert_finding(kernel.memory(nodes(n2=tight)), Verdict.WARN, ("n2",), "0.5 GiB on n2")
        limited = replace(GOOD, memory_limit=4 * GIB)
        found = kernel.memory(nodes(n2=limited))
        assert_finding(found, Verdict.OK, (), "at least 4.0 of 64.0 GiB")
        assert "(least on n2; limited by a control group)" in found.detail


class TestSoftware:
    def test_python_fails_when_a_version_differs(self) -> None:
        found = software.python(nodes(n2=replace(GOOD, python="3.9.2")), GOOD)
        assert_finding(found, Verdict.FAIL, ("n2",), "Python 3.9.2, launcher 0.1.0 on n2")

    def test_programs_fail_when_missing(self) -> None:
        found = list(node_checks.programs(views({"missing": []}, n3={"missing": ["/venv/envoy"]})))
        assert_finding(found[0], Verdict.FAIL, ("n3",), "/venv/envoy cannot be run on n3")
        assert len(found) == 1

    def test_shared_folder_fails_when_a_node_does_not_see_it(self) -> None:
        found = node_checks.shared_folder(
            views({"shared": True}, n4={"shared": False}), Path("/tmp/x")
        )
        assert_finding(found, Verdict.FAIL, ("n4",), "/tmp/x is not shared", "--dir")

    def test_apptainer_fails_when_not_installed(self) -> None:
        found = software.apptainer(
            views({"apptainer": WELL}, n2={"apptainer": {"version": None}}),
        )
        assert_finding(found, Verdict.FAIL, ("n2",), "not on PATH on n2", "--runtime venv")

    def test_apptainer_fails_when_it_cannot_run_an_image(self) -> None:
        sees = WELL | {"ran": "FATAL: no user namespaces", "namespaces": False}
        found = software.apptainer(views({"apptainer": WELL}, n2={"apptainer": sees}))
        assert_finding(
            found, Verdict.FAIL, ("n2",), "FATAL: no user namespaces; users may not create"
        )
        assert "user.max_user_namespaces" in found.advice

    def test_apptainer_passes_without_user_namespaces_when_setuid(self) -> None:
        found = software.apptainer(views({"apptainer": WELL | {"namespaces": False}}))
        assert_finding(found, Verdict.OK, (), "1.4.5 runs images on every node")

    def test_apptainer_warns_without_user_namespaces_and_without_an_image(self) -> None:
        sees = WELL | {"ran": None, "namespaces": False}
        found = software.apptainer(
            views({"apptainer": WELL | {"ran": None}}, n3={"apptainer": sees})
        )
        assert_finding(found, Verdict.WARN, ("n3",), "user namespaces on n3")

    def test_apptainer_warns_without_fuse(self) -> None:
        found = software.apptainer(
            views({"apptainer": WELL}, n3={"apptainer": WELL | {"fuse": False}})
        )
        assert_finding(found, Verdict.WARN, ("n3",), "/dev/fuse is not accessible on n3")

    def test_apptainer_warns_when_versions_differ(self) -> None:
        old = WELL | {"version": "1.1.9"}
        found = software.apptainer(views({"apptainer": WELL}, n3={"apptainer": old}))
        assert_finding(found, Verdict.WARN, NODES, "1.1.9 on n3; 1.4.5 on n1, n2, n4")

    def test_image_fails_when_missing(self) -> None:
        found = node_checks.image("/i/server.sif", IMAGE | {"n2": {"problem": "does not exist"}})
        assert_finding(found, Verdict.FAIL, ("n2",), "/i/server.sif on n2: does not exist", "build")

    def test_image_fails_when_it_differs(self) -> None:
        found = node_checks.image("/i/server.sif", IMAGE | {"n2": {"digest": "b" * 64}})
        assert_finding(
            found, Verdict.FAIL, ("n2",), "differs: bbbbbbbbbbbb on n2, aaaaaaaaaaaa elsewhere"
        )


class TestNetwork:
    def test_ports_fail_when_one_is_taken(self) -> None:
        held = "port 8000 on 0.0.0.0: Address already in use by pid 12 (python)"
        found = node_checks.ports(views({"taken": None}, n3={"taken": held}))
        assert_finding(found, Verdict.FAIL, ("n3",), f"n3: {held}", "--server-port")

    def test_names_fail_when_one_node_cannot_resolve_another(self) -> None:
        lost = {"names": KNOWN | {"n3": {"problem": "Name or service not known"}}}
        found = network.names(views({"names": KNOWN}, n2=lost))
        assert_finding(found, Verdict.FAIL, ("n2",), "n2 cannot resolve n3: Name or service", "DNS")

    def test_names_fail_when_a_name_resolves_to_loopback(self) -> None:
        lost = {"names": KNOWN | {"n3": {"address": "127.0.1.1"}}}
        found = network.names(views({"names": KNOWN}, n2=lost))
        assert_finding(found, Verdict.FAIL, ("n2",), "n2 resolves n3 to itself (127.0.1.1)")

    def test_names_allow_a_loopback_address_for_the_node_itself(self) -> None:
        own = {"names": KNOWN | {"n2": {"address": "127.0.1.1"}}}
        assert_finding(network.names(views({"names": KNOWN}, n2=own)), Verdict.OK, ())

    def test_names_warn_when_nodes_resolve_different_addresses(self) -> None:
        other = {"names": KNOWN | {"n3": {"address": "10.1.0.3"}}}
        found = network.names(views({"names": KNOWN}, n2=other))
        assert_finding(found, Verdict.WARN, ("n3",), "n3 is 10.0.0.3 and 10.1.0.3")

    def test_clocks(self) -> None:
        near = dict.fromkeys(NODES, Skew(-0.02, 0.03))
        assert_finding(network.clocks(near), Verdict.OK, (), "within 0.03 s of this machine")
        found = network.clocks(near | {"n3": Skew(0.4, 0.5)})
        assert_finding(found, Verdict.WARN, ("n3",), "n3 is 0.4 s ahead", "NTP")
        found = network.clocks(near | {"n3": Skew(-7.0, -6.9)})
        assert_finding(found, Verdict.FAIL, ("n3",), "n3 is 6.9 s behind")

    def test_clocks_compare_a_single_node_with_this_machine(self) -> None:
        found = network.clocks({"n1": Skew(2.0, 2.1)})
        assert_finding(found, Verdict.FAIL, ("n1",), "n1 is 2.0 s ahead")

    def test_clocks_blame_this_machine_when_all_nodes_agree(self) -> None:
        found = network.clocks(dict.fromkeys(NODES, Skew(3.0, 3.01)))
        assert_finding(found, Verdict.WARN, ("this machine",), "this machine is 3.0 s behind")

    def test_clocks_accept_a_slow_answer(self) -> None:
        found = network.clocks(dict.fromkeys(NODES, Skew(-0.01, 0.01)) | {"n2": Skew(-0.5, 3.0)})
        assert_finding(found, Verdict.OK, (), "within 3.00 s")

    def test_skews_are_bounded_by_the_fastest_answers(self) -> None:
        clock = iter([100.0, 101.0, 102.0, 102.1, 103.0, 104.0])
        answers = iter([105.5, 107.04, 108.5])
        skews = clock_skews(lambda _: {"n1": {"time": next(answers)}}, lambda: next(clock))
        assert skews["n1"].low == pytest.approx(4.94)
        assert skews["n1"].high == pytest.approx(5.04)

    def test_proxies(self) -> None:
        proxied = replace(GOOD, proxies=("http_proxy",), no_proxy="localhost,n1")
        found = network.proxies(nodes(n2=proxied), NODES)
        assert_finding(found, Verdict.WARN, ("n2",), "http_proxy on n2", "no_proxy=$no_proxy,n1,n2")
        for fine in ("n1,n2, n3,n4", "*"):
            named = replace(proxied, no_proxy=fine)
            assert_finding(network.proxies(nodes(n2=named), NODES), Verdict.OK, ())

    @pytest.mark.parametrize(
        ("name", "no_proxy", "passed"),
        [
            ("n1", "", False),
            ("n1", "n1", True),
            ("n1", "n11,xn1", False),
            ("n1.cluster", ".cluster", True),
            ("n1.cluster", "cluster", True),
            ("n1", "cluster", False),
            ("N1", " n1 ,", True),
        ],
    )
    def test_no_proxy(self, name: str, no_proxy: str, passed: bool) -> None:
        assert network.bypassed(name, no_proxy) == passed


class TestBounds:
    """n1 has Envoy, n2 and n3 a server with two workers each, n4 two load workers."""

    def ranked(self, sessions: int | None = None, **fields: Any) -> dict[Limit, Bound]:
        found = bounds(stage(surveyed(**fields), GOOD), sessions)
        assert [bound.sessions for bound in found] == sorted(bound.sessions for bound in found)
        return {bound.limit: bound for bound in found}

    def test_bounds_are_computed_for_every_limit(self) -> None:
        assert {limit: bound.sessions for limit, bound in self.ranked().items()} == {
            "places of the servers": 400,
            "descriptors of Envoy": 9_900,
            "ports from the load to the URL": 28_232,
            "descriptors of the load workers": 39_800,
            "descriptors of the servers": 79_600,
            "ports from Envoy to the servers": 112_928,
            "health checks of the servers": envoy_sessions(20_000, 875),
            "memory of Envoy": (60 * GIB - ENVOY.process) // ENVOY.session,
            "memory of the load workers": (60 * GIB - 2 * LOAD.process) // LOAD.session,
            "memory of the servers": 2 * ((60 * GIB - 2 * SERVER.process) // SERVER.session),
        }

    def test_changes_make_room_for_the_sessions(self) -> None:
        found = self.ranked(30_000)
        assert "--max-concurrent-envs 7500" in found[Limit.PLACES].change
        assert "--envoy-processes 4" in found[Limit.ENVOY_DESCRIPTORS].change
        assert "raise the hard limit there to 60,200" in found[Limit.ENVOY_DESCRIPTORS].change
        several = self.ranked(30_000, envoy_processes=4)[Limit.ENVOY_DESCRIPTORS]
        assert several.sessions >= 30_000
        assert "--client-nodes 2" in found[Limit.LOAD_PORTS].change
        more = self.ranked(30_000, max_concurrent_envs=7500)
        assert more[Limit.PLACES].sessions == 30_000
        raised = replace(GOOD, descriptors=60_200)
        machines = dict.fromkeys(NODES, raised)
        enough = bounds(replace(stage(surveyed(), GOOD), machines=machines), 30_000)
        assert {b.limit: b.sessions for b in enough}[Limit.ENVOY_DESCRIPTORS] == 30_000
        assert self.ranked(60_000)[Limit.LOAD_DESCRIPTORS].change.endswith(" 4")

    def test_bounds_use_the_lowest_node(self) -> None:
        low = replace(GOOD, descriptors=1_100)
        machines = dict.fromkeys(NODES, GOOD) | {"n3": low}
        found = bounds(replace(stage(surveyed(), GOOD), machines=machines), None)
        held = next(bound for bound in found if bound.limit is Limit.SERVER_DESCRIPTORS)
        assert held.sessions == 4 * 1_000
        assert "on n3" in held.why

    def test_load_bounds_are_zero_with_too_few_descriptors(self) -> None:
        found = load_bounds({"n4": 2}, {"n4": replace(GOOD, descriptors=50)}, 10)
        assert next(found).sessions == 0

    def test_bounds_of_a_local_deployment_share_one_memory(self) -> None:
        deployment = Deployment(local=True, nodes=3)
        there = [Node(f"127.0.0.{n}", f"127.0.0.{n}", 1) for n in (2, 3, 4)]
        placed = place(deployment, there, RunDir(Path("/run"), "test"), Programs("envoy"))
        survey = Survey(placed, there, {"here": {"machine": asdict(GOOD)}}, {}, OURS)
        found = {bound.limit: bound for bound in bounds(stage(survey, GOOD), None)}
        load = stage(survey, GOOD).load[os.uname().nodename]
        processes = 2 * SERVER.process + ENVOY.process + load * LOAD.process
        each = SERVER.session + ENVOY.session + LOAD.session
        assert found[Limit.LOCAL_MEMORY].sessions == (GOOD.room - processes) // each
        assert "on this machine" in found[Limit.ENVOY_DESCRIPTORS].why

    def test_bounds_without_envoy_leave_out_its_limits(self) -> None:
        deployment = Deployment(nodes=1)
        there = [Node("n1", "10.0.0.1", 4)]
        placed = place(deployment, there, RunDir(Path("/run"), "test"), Programs("envoy"))
        survey = Survey(placed, there, {"n1": {"machine": asdict(GOOD)}}, {}, OURS)
        assert not [b for b in bounds(stage(survey, GOOD), None) if "Envoy" in b.limit]

    def test_fit_passes_when_all_limits_suffice(self) -> None:
        found = list(
            fit(
                [Bound(Limit.PLACES, 400, "", "more nodes"), Bound(Limit.ENVOY_PORTS, 500, "", "")],
                400,
            )
        )
        assert [finding.verdict for finding in found] == [Verdict.OK]
        assert found[0].detail == f"400 fit; the {Limit.PLACES} bind first, at 400"

    def test_fit_fails_for_every_limit_below_the_sessions(self) -> None:
        tight = [
            Bound(Limit.PLACES, 10, "", "do a"),
            Bound(Limit.ENVOY_PORTS, 20, "", "do b"),
            Bound(Limit.LOAD_PORTS, 30, "", "do c"),
        ]
        found = list(fit(tight, 25))
        assert [(f.verdict, f.advice) for f in found] == [
            (Verdict.FAIL, "do a"),
            (Verdict.FAIL, "do b"),
        ]
        assert not Diagnosis(surveyed(), (), tuple(tight), tuple(found)).ok


class TestPreflight:
    def test_a_warning_passes_and_a_failure_does_not(self) -> None:
        assert warn(Check.CLOCKS, ["n1"], "detail", "advice").passed
        assert not fail(Check.CLOCKS, ["n1"], "detail", "advice").passed

    def test_images_are_one_finding(self) -> None:
        same = {"/a": {"digest": "1"}, "/b": {"digest": "2"}}
        assert preflight_nodes.images(views({"files": same})).detail == "the same 2 on 4 node(s)"
        other = {"files": same | {"/b": {"digest": "3"}}}
        finding = preflight_nodes.images(views({"files": same}, n2=other))
        assert_finding(finding, Verdict.FAIL, ("n2",), "/b differs: 3 on n2, 2 elsewhere", "copy")

    @pytest.mark.parametrize(("places", "verdict"), [(56_464, Verdict.OK), (56_465, Verdict.WARN)])
    def test_load_warns_when_it_cannot_fill_the_places(self, places: int, verdict: Verdict) -> None:
        found = views({"machine": asdict(GOOD)})
        _, finding = preflight_nodes.load(found, {"n3": 2, "n4": 2}, places)
        detail = f"allow 56,464 sessions; there are {places:,} places"
        advice = "" if verdict is Verdict.OK else "--client-nodes 3"
        assert_finding(finding, verdict, (), detail, advice)

    def test_load_fails_when_a_client_node_can_open_nothing(self) -> None:
        none = {"machine": asdict(replace(GOOD, descriptors=80))}
        found = views({"machine": asdict(GOOD)}, n4=none)
        limit, load = preflight_nodes.load(found, {"n4": 2}, 10)
        assert (limit.passed, load.passed) == (False, False)


def test_machine_survives_json_without_proxy_values() -> None:
    here = machine({"http_proxy": "http://user:secret@proxy", "NO_PROXY": "a,b"})
    assert here.proxies == ["http_proxy"]
    assert here.no_proxy == "a,b"
    assert "secret" not in str(asdict(here))
    assert Machine(**json.loads(json.dumps(asdict(here)))) == here
    assert 0 < here.room <= here.memory


def test_memory_limit_reads_both_control_group_versions(tmp_path: Path) -> None:
    job = tmp_path / "slurm/job_1"
    (job / "step_0").mkdir(parents=True)
    (job / "memory.max").write_text("1000\n")
    (job / "step_0/memory.max").write_text("max\n")
    assert memory_limit("0::/slurm/job_1/step_0\n", 5000, tmp_path) == 1000
    assert memory_limit("0::/slurm/job_1/step_0\n", 900, tmp_path) is None
    assert memory_limit("0::/\n", 5000, tmp_path) is None
    first = tmp_path / "memory"
    first.mkdir()
    (first / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit("4:memory:/elsewhere\n0::/\n", 5000, tmp_path) is None
    (first / "memory.limit_in_bytes").write_text("2000\n")
    assert memory_limit("4:cpu,memory:/elsewhere\n", 5000, tmp_path) == 2000
    assert parse_meminfo("MemTotal:  4 kB\nHugePages_Total: 0\n") == {"MemTotal": 4096}


def test_addresses_report_names_that_cannot_be_resolved() -> None:
    found = addresses(["localhost", "no-such-host.invalid"])
    assert found["localhost"] == {"address": "127.0.0.1"}
    assert found["no-such-host.invalid"]["problem"]


def test_temporary_allocation_requests_the_nodes_of_the_deployment() -> None:
    argv = salloc_argv(Deployment(nodes=3, client_nodes=1, partition="p", sbatch=("--exclusive",)))
    assert argv[:3] == ("salloc", "--job-name=openenv-doctor", "--nodes=4")
    assert {"--partition=p", "--time=5", "--exclusive"} <= set(argv)
    assert "--time=1:00:00" in salloc_argv(Deployment(time="1:00:00"))


def test_listed_shortens_long_lists() -> None:
    assert listed(f"n{i}" for i in range(8)) == "n0, n1, n2, n3, n4, n5 and 2 more"
