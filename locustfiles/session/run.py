"""One session as a client experiences it: connect → reset → steps → close, each part timed."""

from gevent.event import AsyncResult

from analysis.rows.error_types import ErrorType
from locustfiles.session import http as plain
from locustfiles.session.conversation import Conversation, Gate
from locustfiles.session.engine import engine
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, SessionError, Target


def run(plan: Plan, target: Target, gate: Gate | None = None, due: float | None = None) -> Outcome:
    """Blocks the calling greenlet until the session has ended; a failure is an outcome too. `due` is
    when the session should start, in seconds of `time.perf_counter`; None means now."""
    outcome = Outcome() if due is None else Outcome(due)
    if plan.mode == "ws":
        return _over_websocket(outcome, plan, target, gate)
    try:
        plain.run(outcome, target, plan)
        outcome.success = True
    except OSError as failure:
        outcome.fail(SessionError(ErrorType.DISCONNECTED, f"{type(failure).__name__}: {failure}"))
    except Exception as failure:  # noqa: BLE001 - every session must have a row
        outcome.fail(failure)
    outcome.finish()
    return outcome


def _over_websocket(outcome: Outcome, plan: Plan, target: Target, gate: Gate | None) -> Outcome:
    result: AsyncResult[Outcome] = AsyncResult()
    conversation = Conversation(plan, outcome, gate)
    try:
        engine().start(conversation, target, result.set)
        result.get()
    except BaseException:
        engine().cancel(conversation)
        raise
    return outcome
