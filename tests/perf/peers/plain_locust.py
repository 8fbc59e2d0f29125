"""`python -m tests.perf.peers.plain_locust URL SESSIONS WAIT`: Locust with websocket-client, as its users
write it: one user and so one greenlet per session, in one process."""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import json
import logging
import sys
import time
from typing import Any

import gevent
import websocket
from locust import task, User
from locust.env import Environment
from locust.exception import StopUser

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.replies import check, SessionResults

PATIENCE = 120


class SessionUser(User):
    url, pause, results = "", 0.0, SessionResults(0)

    @task
    def session(self) -> None:
        started = time.perf_counter()
        failure: Exception | None = None
        try:
            self._converse()
        except Exception as problem:  # noqa: BLE001 - every failure is counted
            failure = problem
            self.results.add_failure(repr(problem))
        self.environment.events.request.fire(
            request_type="WS",
            name="session",
            response_time=1000 * (time.perf_counter() - started),
            response_length=0,
            exception=failure,
            context={},
        )
        raise StopUser

    def _converse(self) -> None:
        socket = websocket.create_connection(self.url, timeout=PATIENCE)
        try:
            self._exchange(socket, {"type": "reset", "data": {}}, 0.0, 0)
            started = time.perf_counter()
            self._exchange(
                socket, {"type": "step", "data": {"wait_seconds": self.pause}}, self.pause, 1
            )
            self.results.steps.append(time.perf_counter() - started)
            socket.send(json.dumps({"type": "close"}))
        finally:
            socket.close()

    def _exchange(self, socket: Any, message: dict[str, Any], waited: float, step: int) -> None:
        socket.send(json.dumps(message))
        check(socket.recv(), waited, step)


def main(url: str, sessions: int, wait: float) -> None:
    logging.disable(logging.WARNING)
    SessionUser.url, SessionUser.pause, SessionUser.results = url, wait, SessionResults(sessions)
    environment = Environment(user_classes=[SessionUser])
    runner = environment.create_local_runner()
    runner.start(sessions, spawn_rate=sessions)
    while environment.stats.total.num_requests < sessions:
        gevent.sleep(0.05)
    print(SessionUser.results.line(), flush=True)


if __name__ == "__main__":
    raise_descriptor_limit()
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
