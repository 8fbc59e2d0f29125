"""Listening sockets, and the process that occupies a port."""

import os
import socket

import pytest

from benchmark.server.workers.sockets import is_loopback, listen, PortTaken


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("node-1", False),
    ],
)
def test_loopback_addresses_are_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_an_occupied_port_names_the_process_that_listens_on_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with pytest.raises(PortTaken) as failure:
            listen("127.0.0.1", port)
    message = str(failure.value)
    assert message.startswith(
        f"port {port} on 127.0.0.1 cannot be bound: Address already in use by"
    )
    assert f"pid {os.getpid()} (" in message


@pytest.mark.parametrize(("host", "keepalive"), [("127.0.0.1", 0), ("0.0.0.0", 1)])
def test_only_connections_from_elsewhere_have_keepalive(host: str, keepalive: int) -> None:
    with listen(host, 0) as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == keepalive
        assert not bound.get_inheritable()
