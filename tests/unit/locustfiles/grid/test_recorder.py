"""The requests that Locust's statistics receive for a session."""

from types import SimpleNamespace
from typing import Any

import pytest

from locustfiles.grid.recorder import report
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import SessionError


def requests(outcome: Outcome, mode: str = "ws") -> list[tuple[str, str, float, str | None]]:
    """The (type, name, milliseconds, error) of every reported request."""
    result = []

    def fire(**request: Any) -> None:
        failure = request["exception"]
        error = None if failure is None else str(failure)
        name, milliseconds = request["name"], request["response_time"]
        result.append((request["request_type"], name, milliseconds, error))

    report(
        SimpleNamespace(events=SimpleNamespace(request=SimpleNamespace(fire=fire))), mode, outcome
    )
    return result


def outcome(*steps: float, error: str | None = None, **parts: float) -> Outcome:
    it = Outcome(step_latencies=list(steps), success=error is None, **parts)  # type: ignore[arg-type]
    if error:
        it.fail(SessionError(error, "why"))
    return it


def test_every_part_of_a_session_is_one_request() -> None:
    whole = outcome(0.5, 0.25, connect_latency=0.001, reset_latency=0.002, total_latency=1.0)
    assert requests(whole, "http") == [
        ("HTTP", "connect", 1.0, None),
        ("HTTP", "reset", 2.0, None),
        ("HTTP", "step", 500.0, None),
        ("HTTP", "step", 250.0, None),
    ]


@pytest.mark.parametrize(
    ("it", "part"),
    [
        (outcome(error="TIMEOUT"), "connect"),
        (outcome(error="TIMEOUT", connect_latency=0.1), "reset"),
        (outcome(error="TIMEOUT", connect_latency=0.1, reset_latency=0.1), "step"),
        (outcome(0.1, error="TIMEOUT", connect_latency=0.1, reset_latency=0.1), "close"),
    ],
)
def test_a_failure_is_reported_for_the_part_that_did_not_end(it: Outcome, part: str) -> None:
    assert requests(it)[-1] == ("WS", part, 0.0, "TIMEOUT: why")


def test_a_failure_has_the_total_latency() -> None:
    it = outcome(error="TIMEOUT", total_latency=3.0)
    assert requests(it) == [("WS", "connect", 3000.0, "TIMEOUT: why")]
