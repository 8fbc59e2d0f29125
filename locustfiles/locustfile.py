"""The locustfile of `launcher ui`: every user runs one session after another."""

from typing import Any

import gevent
from locust import events, task, User

from locustfiles.grid.recorder import report
from locustfiles.session import run as session
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, SessionError, Target

# In seconds. Without a pause, users of a server that is down would only consume CPU time.
PAUSE_AFTER_FAILURE = 1.0


@events.init_command_line_parser.add_listener
def add_fields(parser: Any) -> None:
    parser.add_argument("--wait-seconds", type=float, default=1.0, help="the wait of each step")
    parser.add_argument("--steps", type=int, default=1, help="the number of steps of each session")
    parser.add_argument("--session-timeout", type=float, default=120.0, help="in seconds")


class OpenEnvUser(User):
    @task
    def run_session(self) -> None:
        outcome = self._session()
        report(self.environment, "ws", outcome)
        if not outcome.success:
            gevent.sleep(PAUSE_AFTER_FAILURE)

    def _session(self) -> Outcome:
        fields = self.environment.parsed_options
        assert fields is not None
        try:
            plan = Plan("ws", fields.wait_seconds, fields.session_timeout, fields.steps)
            return session.run(plan, Target.from_url(self.host or ""))
        except SessionError as failure:
            outcome = Outcome()
            outcome.fail(failure)
            return outcome
