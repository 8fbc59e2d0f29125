"""A server's control port: answers for all its workers, also while they are busy.

`GET /health` is 200 while the worker named by the Host header (`worker-3`) lives and takes
sessions; without such a name it speaks for all. `GET /ready` tells free and used places, `GET /metrics` the
same and more to Prometheus.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmark.server.places import Board, overview

HUNG_SECONDS = 30.0
"""A worker whose loop has not turned for this long is hung, not busy."""


class ControlServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, board: Board) -> None:
        self.board = board
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of an answer is nothing to report."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="control", daemon=True).start()

    def healthy(self, host_header: str) -> bool:
        name = host_header.partition(":")[0]
        number = name.removeprefix("worker-")
        if number != name and number.isdecimal() and int(number) < self.board.workers:
            indices = [int(number)]
        else:
            indices = list(range(self.board.workers))
        oldest = time.monotonic() - HUNG_SECONDS
        alive = all(self.board.read(index).alive_at > oldest for index in indices)
        return alive and not self.board.draining


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10.0
    """Seconds without a request until a connection ends; health checks come more often."""
    server: ControlServer

    def do_GET(self) -> None:
        if self.path == "/health":
            healthy = self.server.healthy(self.headers.get("Host", ""))
            self._answer(healthy, {"status": "healthy" if healthy else "unhealthy"})
        elif self.path == "/ready":
            answer = overview(list(self.server.board), self.server.board.draining)
            self._answer(bool(answer["ready"]), answer)
        elif self.path == "/metrics":
            from benchmark.server.workers.metrics import CONTENT_TYPE, metrics

            self._send(200, CONTENT_TYPE, metrics(self.server.board))
        else:
            self.send_error(404)

    def _answer(self, good: bool, content: dict[str, object]) -> None:
        self._send(200 if good else 503, "application/json", json.dumps(content).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Health checks come every second; they are not news."""
