"""What a pre-flight concludes from the sessions that it opened."""

from typing import Any

import pytest

from launcher.checks.actions import CannotMake
from launcher.checks.session_client import Outcome, Refused, StepAction, tool_call
from launcher.checks.sessions import places, sessions, steps
from launcher.runtimes.findings import Verdict

SERVERS = ("server-1", "server-2")
WORKS = Outcome()
FULL = Outcome(Refused("CAPACITY_REACHED", "Server at capacity: 1/1"))
SILENT = Outcome(Refused("no answer to reset within 60 s"))


def page(*limits: int) -> dict[str, Any]:
    return {"workers": [{"limit": limit} for limit in limits]}


@pytest.mark.parametrize(
    ("outcomes", "free", "balanced", "verdict", "says"),
    [
        ([WORKS] * 3, 3, True, Verdict.OK, "3 of 3 places held a session at the same time"),
        ([WORKS] * 3, 9, True, Verdict.OK, "(at most 2,000 are tried, for at most 60 s)"),
        ([WORKS, FULL, FULL], 3, True, Verdict.FAIL, "2 of 3 sessions failed: 2 × CAPACITY_REACHED (Server"),
        ([WORKS, FULL, FULL], 3, False, Verdict.WARN, "2 of 3 sessions failed"),
        ([WORKS, FULL, SILENT], 3, False, Verdict.FAIL, "1 × no answer to reset within 60 s"),
        ([], 3, True, Verdict.FAIL, "0 of 0 sessions failed"),
    ],
)  # fmt: skip
def test_every_refused_session_is_a_failure_unless_the_kernel_chose_its_worker(
    outcomes: list[Outcome], free: int, balanced: bool, verdict: Verdict, says: str
) -> None:
    finding = sessions(outcomes, free, balanced=balanced)
    assert finding.verdict is verdict
    assert says in finding.detail


def test_a_server_that_reports_no_places_is_a_failure() -> None:
    finding = places({"server-1": page(4, 4)}, SERVERS, 4)
    assert finding.verdict is Verdict.FAIL
    assert "server-2 did not report" in finding.detail


def test_places_below_the_request_are_a_warning() -> None:
    assert places({"server-1": page(4, 4), "server-2": page(4)}, SERVERS, 4).verdict is Verdict.OK
    finding = places({"server-1": page(4, 1)}, SERVERS[:1], 4)
    assert finding.verdict is Verdict.WARN
    assert (
        "5 in 2 worker(s) on 1 server(s): the app allows 1 session(s) in a worker, not 4"
        in finding.detail
    )


def test_refused_step_is_a_warning() -> None:
    refused = Outcome(step=Refused("EXECUTION_ERROR", "no\n such move"))
    finding = steps([WORKS, refused], StepAction({"const": 7}))
    assert finding.verdict is Verdict.WARN
    assert (
        finding.detail
        == "1 of 2 steps with the action 7 failed: 1 × EXECUTION_ERROR (no such move)"
    )


def test_first_tool_whose_arguments_can_be_made_is_called() -> None:
    hard = {"type": "object", "required": ["x"], "properties": {"x": {"type": "tensor"}}}
    tools = [{"name": "hard", "input_schema": hard}, {"name": "easy", "input_schema": {}}]
    assert tool_call(tools) == {"type": "call_tool", "tool_name": "easy", "arguments": {}}
    with pytest.raises(CannotMake, match=r"^tool hard: action\.x has the unknown type 'tensor'$"):
        tool_call(tools[:1])
