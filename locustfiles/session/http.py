"""One session over plain HTTP, in a greenlet of its own: connect → reset → step."""

import http.client
import time
from typing import Any

import gevent
import orjson

from analysis.rows.error_types import ErrorType
from locustfiles.session.outcome import observed, Outcome, parsed
from locustfiles.session.plan import Plan, SessionError, Target


def run(outcome: Outcome, target: Target, plan: Plan) -> None:
    """Raises `SessionError` or `OSError` for a session that failed."""
    limit = gevent.Timeout.start_new(plan.timeout)
    try:
        _session(outcome, target, plan)
    except gevent.Timeout as expired:
        if expired is not limit:
            raise
        raise plan.too_long from None
    finally:
        limit.close()


def _session(outcome: Outcome, target: Target, plan: Plan) -> None:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = target.open()
    outcome.connect_latency = time.perf_counter() - outcome.begun
    try:
        begun = time.perf_counter()
        outcome.saw(_post(connection, f"{target.path}/reset", {}))
        outcome.reset_latency = time.perf_counter() - begun
        for _ in range(plan.steps):
            begun = time.perf_counter()
            action = {"action": {"wait_seconds": plan.wait}}
            observation = _post(connection, f"{target.path}/step", action)
            outcome.step_latencies.append(time.perf_counter() - begun)
        outcome.saw_last(observation)
    finally:
        connection.close()


def _post(
    connection: http.client.HTTPConnection, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    try:
        connection.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    except http.client.HTTPException as failure:
        raise SessionError(ErrorType.DISCONNECTED, f"{type(failure).__name__}: {failure}") from None
    if answer.status != 200:
        raise SessionError(f"HTTP_{answer.status}", content[:200].decode(errors="replace"))
    reply = parsed(content)
    return observed(reply, reply)
