"""One session over plain HTTP in a greenlet of its own: connect → reset → steps."""

import http.client
import time
from typing import Any

import gevent
import orjson

from analysis.rows.error_types import ErrorType
from locustfiles.session.outcome import observation_in, Outcome, parse_json
from locustfiles.session.plan import Plan, SessionError, Target


def run(outcome: Outcome, target: Target, plan: Plan) -> None:
    """Raises `SessionError` or `OSError` when the session fails."""
    limit = gevent.Timeout.start_new(plan.timeout)
    try:
        _session(outcome, target, plan)
    except gevent.Timeout as expired:
        if expired is not limit:
            raise
        raise plan.timeout_error from None
    finally:
        limit.close()


def _session(outcome: Outcome, target: Target, plan: Plan) -> None:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = target.open()
    outcome.connect_latency = time.perf_counter() - outcome.due
    try:
        started = time.perf_counter()
        outcome.observe(_post(connection, f"{target.path}/reset", {}))
        outcome.reset_latency = time.perf_counter() - started
        for _ in range(plan.steps):
            started = time.perf_counter()
            action = {"action": {"wait_seconds": plan.wait}}
            observation = _post(connection, f"{target.path}/step", action)
            outcome.step_latencies.append(time.perf_counter() - started)
        outcome.observe_last(observation)
    finally:
        connection.close()


def _post(
    connection: http.client.HTTPConnection, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    try:
        connection.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as failure:
        raise SessionError(ErrorType.DISCONNECTED, f"{type(failure).__name__}: {failure}") from None
    if response.status != 200:
        raise SessionError(f"HTTP_{response.status}", content[:200].decode(errors="replace"))
    reply = parse_json(content)
    return observation_in(reply, reply)
