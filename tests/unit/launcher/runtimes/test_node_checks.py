"""The checks of nodes on which `up` refuses to start."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.placement import Process, Role
from launcher.errors import LauncherError, PortTaken, UsageError
from launcher.runtimes.findings import Check, fail, Finding, ok, Verdict, warn
from launcher.runtimes.node_checks import (
    image,
    is_up,
    programs,
    refuse_failures,
    requested_ports,
    start_checks,
)
from launcher.runtimes.probe import digest_of

ENVOY = Process("envoy", Role.ENVOY, "n1", (), {}, (8000,), Path("/x.log"))
SERVER = Process("server-1", Role.SERVER, "n2", (), {}, (8000,), Path("/x.log"))
FILE = Path("/i/server.sif")
GOOD: dict[str, Any] = {"taken": None, "shared": True, "files": {str(FILE): {"digest": "d1"}}}


def findings(*others: dict[str, Any]) -> list[Finding]:
    """The findings for n1, which is good, and one more node for each view."""
    views = {f"n{number}": GOOD | other for number, other in enumerate(({}, *others), 1)}
    return list(start_checks(views, [ENVOY, SERVER], [FILE], Path("/srv")))


@pytest.mark.parametrize(
    ("state", "up"),
    [
        *(("idle", True), ("mixed", True), ("mixed*", False), ("down", False), ("down*", False)),
        *(("draining", True), ("allocated", True), ("idle~", True), ("failing", False)),
    ],
)
def test_is_up_depends_on_the_state_that_sinfo_prints(state: str, up: bool) -> None:
    assert is_up(state) == up


def test_start_checks_pass_when_all_nodes_are_good() -> None:
    found = findings({})
    assert [finding.check for finding in found] == [Check.FOLDER, Check.PORTS, Check.IMAGE]
    assert {finding.verdict for finding in found} == {Verdict.OK}
    refuse_failures(found)


@pytest.mark.parametrize(
    ("view", "check", "error", "message"),
    [
        ({"shared": False}, Check.FOLDER, UsageError, "/srv is not shared: .* on n2; choose"),
        ({"missing": ["apptainer"]}, Check.APPTAINER, UsageError, "not on PATH on n2; load its"),
        ({"missing": ["/v/envoy"]}, Check.PROGRAMS, UsageError, "/v/envoy cannot be run on n2;"),
        (
            {"taken": "port 8000 is held"},
            Check.PORTS,
            PortTaken,
            "server-1 on n2: port 8000 is held",
        ),
        (
            {"files": {str(FILE): {"problem": "is cut"}}},
            Check.IMAGE,
            UsageError,
            "n2: is cut; build",
        ),
        (
            {"files": {str(FILE): {"digest": "d2"}}},
            Check.IMAGE,
            UsageError,
            "differs: d2 on n2, d1 ",
        ),
    ],
)
def test_a_failed_check_names_its_node_and_is_refused(
    view: dict[str, Any], check: Check, error: type[LauncherError], message: str
) -> None:
    found = findings(view)
    assert [(f.check, f.nodes) for f in found if not f.passed] == [(check, ("n2",))]
    with pytest.raises(error, match=message):
        refuse_failures(found)


def test_refuse_failures_raises_the_first_failure_and_ignores_warnings() -> None:
    refuse_failures([ok(Check.FOLDER, "fine"), warn(Check.PORTS, ["n1"], "hm", "do")])
    first, second = (fail(Check.IMAGE, ["n1"], what, "do") for what in ("first", "second"))
    with pytest.raises(UsageError, match=r"^first; do$"):
        refuse_failures([warn(Check.PORTS, ["n1"], "hm", "do"), first, second])


def test_ports_name_every_process_of_a_node() -> None:
    views = {"n1": GOOD | {"taken": "port 8000 is held"}, "n2": GOOD, "n3": GOOD}
    second = Process("envoy-2", Role.ENVOY, "n1", (), {}, (8000,), Path("/x.log"))
    found = list(start_checks(views, [ENVOY, SERVER, second], [], None))
    assert [finding.check for finding in found] == [Check.PORTS]
    assert found[0].detail == "envoy, envoy-2 on n1: port 8000 is held"


def test_programs_that_several_nodes_lack_are_one_finding_each() -> None:
    views = {"n1": {"missing": ["a"]}, "n2": {"missing": ["a", "b"]}, "n3": {}}
    assert [finding.nodes for finding in programs(views)] == [("n1", "n2"), ("n2",)]


def test_the_image_of_most_nodes_is_the_right_one() -> None:
    digests = {"n1": "a" * 64, "n2": "b" * 64, "n3": "b" * 64}
    finding = image("/i", {node: {"digest": digest} for node, digest in digests.items()})
    assert (finding.nodes, finding.verdict) == (("n1",), Verdict.FAIL)
    assert finding.detail == f"/i differs: {'a' * 12} on n1, {'b' * 12} elsewhere"


def test_an_image_problem_outweighs_a_difference() -> None:
    views = {"n1": {"digest": "a"}, "n2": {"digest": "b"}, "n3": {"problem": "does not exist"}}
    assert image("/i", views).nodes == ("n3",)


def test_nodes_with_the_same_ports_are_grouped_without_duplicates() -> None:
    ports = {"n1": [(8000, 9901), (8000, 9902)], "n2": [(8000, 8001)], "n3": [(8000, 8001)]}
    processes = [replace(ENVOY, node=node, ports=p) for node, each in ports.items() for p in each]
    assert requested_ports(processes) == [
        (["n1"], [8000, 9901, 9902]),
        (["n2", "n3"], [8000, 8001]),
    ]


def test_digest_of_reports_a_problem_instead_of_raising(tmp_path: Path) -> None:
    (tmp_path / "x.sif").write_text("no image")
    assert digest_of(tmp_path / "x.sif") == {"problem": "is not an Apptainer image (SIF)"}
    assert digest_of(tmp_path / "y.sif") == {"problem": "does not exist"}
