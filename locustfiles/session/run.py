"""One session as a client sees it: connect → reset → step(wait) → close, each part timed."""

from gevent.event import AsyncResult

from analysis.rows.error_types import ErrorType
from locustfiles.session import http as plain
from locustfiles.session.conversation import Conversation, Gate
from locustfiles.session.engine import engine
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, SessionError, Target

__all__ = ["Gate", "Outcome", "Plan", "SessionError", "Target", "run"]


def run(
    plan: Plan, target: Target, gate: Gate | None = None, begun: float | None = None
) -> Outcome:
    """One whole session, never longer than the plan's timeout; the greenlet waits for it. Never
    raises: a failure is an outcome too. `begun` (of `time.perf_counter`) is when it was due; None is
    now."""
    outcome = Outcome() if begun is None else Outcome(begun)
    if plan.mode == "ws":
        return _over_websocket(outcome, plan, target, gate)
    try:
        plain.run(outcome, target, plan)
        outcome.success = True
    except OSError as failure:
        outcome.failed(SessionError(ErrorType.DISCONNECTED, f"{type(failure).__name__}: {failure}"))
    except Exception as failure:  # noqa: BLE001 - a session that has no row would be lost
        outcome.failed(failure)
    outcome.ended()
    return outcome


def _over_websocket(outcome: Outcome, plan: Plan, target: Target, gate: Gate | None) -> Outcome:
    ended: AsyncResult[Outcome] = AsyncResult()
    talk = Conversation(plan, outcome, gate)
    try:
        engine().start(talk, target, ended.set)
        ended.get()
    except BaseException:
        engine().cancel(talk)
        raise
    return outcome
