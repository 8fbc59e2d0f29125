"""The control port of a server, which responds for all workers even while they are busy.

`GET /health` returns 200 while the worker named by the Host header (`worker-3`), or every worker
without such a name, is alive and accepts sessions. `GET /ready` returns free and used places, and what
the server waits for until it is ready; `GET /metrics` Prometheus metrics.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmark.server.places import Board, overview

# A worker whose event loop has not run for this long is hung, not busy.
HUNG_SECONDS = 30.0


class ControlServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, board: Board) -> None:
        self.board = board
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that disconnect during a response."""
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
    timeout = 10.0  # seconds until an idle connection is closed; health checks are more frequent
    server: ControlServer

    def do_GET(self) -> None:
        if self.path == "/health":
            healthy = self.server.healthy(self.headers.get("Host", ""))
            self._send_json(healthy, {"status": "healthy" if healthy else "unhealthy"})
        elif self.path == "/ready":
            board = self.server.board
            places = overview(list(board), board.draining)
            ready = bool(places["ready"])
            self._send_json(ready, places if ready else places | {"waits_for": board.activity})
        elif self.path == "/metrics":
            from benchmark.server.workers.metrics import CONTENT_TYPE, metrics

            self._send(200, CONTENT_TYPE, metrics(self.server.board))
        else:
            self.send_error(404)

    def _send_json(self, ok: bool, content: dict[str, object]) -> None:
        self._send(200 if ok else 503, "application/json", json.dumps(content).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Does not log requests: health checks arrive every second."""
