import contextlib
import socket
from collections.abc import Iterable

from benchmark.server.workers.sockets import blame, family


def first_taken(host: str, ports: Iterable[int]) -> str | None:
    """Describes the first port that cannot be bound; None if all can."""
    for port in ports:
        with contextlib.closing(socket.socket(family(host))) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as failure:
                return f"port {port} on {host}: {blame(host, port, failure)}"
    return None


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
