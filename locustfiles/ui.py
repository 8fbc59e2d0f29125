"""The locustfile behind `launcher ui`: users loop sessions; wait and steps are fields of the page."""

from typing import Any

import gevent
from locust import events, task, User

from locustfiles import session
from locustfiles.session import Target
from locustfiles.users import report

PAUSE_AFTER_FAILURE = 1.0
"""Seconds; without it, users of a server that is down would only burn CPU."""


@events.init_command_line_parser.add_listener
def add_fields(parser: Any) -> None:
    parser.add_argument(
        "--wait-seconds", type=float, default=1.0, help="seconds that each step waits"
    )
    parser.add_argument("--steps", type=int, default=1, help="steps of each session")
    parser.add_argument(
        "--session-timeout", type=float, default=120.0, help="seconds until a session has failed"
    )


class OpenEnvUser(User):
    """Connect → reset → steps → close, again and again."""

    @task
    def run_session(self) -> None:
        options = self.environment.parsed_options
        assert options is not None
        target = Target.from_url(self.host or "")
        outcome = session.run(
            "ws", target, options.wait_seconds, options.session_timeout, options.steps
        )
        report(self.environment, "ws", outcome)
        if not outcome.success:
            gevent.sleep(PAUSE_AFTER_FAILURE)
