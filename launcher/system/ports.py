"""Ports that somebody else holds."""

import contextlib
import socket
from collections.abc import Iterable

from benchmark.server.workers.sockets import blame, family


def first_taken(host: str, ports: Iterable[int]) -> str | None:
    """What stands in the way of the first port that cannot be bound; None when all can."""
    for port in ports:
        with contextlib.closing(socket.socket(family(host))) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as failure:
                return f"port {port} on {host}: {blame(host, port, failure)}"
    return None
