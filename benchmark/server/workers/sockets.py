"""Listening sockets, and the process that occupies a port."""

import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import psutil

from benchmark.server.settings import Ports
from benchmark.server.workers import keeper

# The same values, for the same reason, as in envoy/envoy.yaml.j2.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 60, 2, 15


@dataclass(frozen=True)
class WorkerSockets:
    """The shared port, the worker's own, and the sockets by which workers hand over connections: each
    receives from its inbox, and sends to the outbox with the index of another."""

    shared: socket.socket
    own: socket.socket
    inbox: socket.socket
    outboxes: Sequence[socket.socket]

    @property
    def fds(self) -> list[int]:
        return [each.fileno() for each in (self.shared, self.own, self.inbox, *self.outboxes)]

    @property
    def own_port(self) -> int:
        return cast(int, self.own.getsockname()[1])


@dataclass(frozen=True)
class ServerSockets:
    shared: socket.socket
    own: Sequence[socket.socket]
    inboxes: Sequence[socket.socket]
    outboxes: Sequence[socket.socket]

    def of(self, index: int) -> WorkerSockets:
        return WorkerSockets(self.shared, self.own[index], self.inboxes[index], self.outboxes)


def listen_all(host: str, ports: Ports, workers: int, stack: ExitStack) -> ServerSockets:
    """The sockets of a server, which `stack` closes. Raises `PortTaken`."""
    shared = stack.enter_context(listen(host, ports.shared))
    own = [stack.enter_context(listen(host, ports.own(index))) for index in range(workers)]
    kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
    pairs = [socket.socketpair(socket.AF_UNIX, kind) for _ in range(workers)]
    for pair in pairs:
        for end in pair:
            stack.enter_context(end)
    return ServerSockets(shared, own, *zip(*pairs, strict=True))


def inherited(fds: Sequence[int]) -> WorkerSockets:
    """The sockets of a worker, which the programs that its sessions run do not inherit."""
    for fd in fds:
        os.set_inheritable(fd, False)
    shared, own, inbox, *outboxes = (socket.socket(fileno=fd) for fd in fds)
    return WorkerSockets(shared, own, inbox, outboxes)


class PortTaken(Exception):
    """A port cannot be bound; the message names the process that occupies it."""

    def __init__(self, host: str, port: int, failure: OSError) -> None:
        super().__init__(f"port {port} on {host} cannot be bound: {blame(host, port, failure)}")


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises `PortTaken`."""
    bound = socket.socket(family(host), socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit TCP keep-alive. Loopback peers cannot disappear silently, and the
    # probes of 100,000 loopback connections come in bursts that the kernel itself drops.
    if not is_loopback(host):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    try:
        bound.bind((host, port))
    except OSError as failure:
        bound.close()
        raise PortTaken(host, port, failure) from None
    return bound


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def blame(host: str, port: int, failure: OSError) -> str:
    owner = holder(host, port)
    return f"{failure.strerror or failure}" + (f" by {owner}" if owner else "")


def holder(host: str, port: int) -> str | None:
    """The process that listens on the port, as "pid 123 (name)"; None when it is not visible."""
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        ip, occupied = connection.laddr
        if occupied == port and (ip in (host, "0.0.0.0", "::") or host == "0.0.0.0"):
            return describe(connection.pid)
    return None


def describe(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        if keeper.WORKER_MODULE in process.cmdline():  # it inherited the socket from its server
            process = (process.parents() or [process])[:2][-1]
        return f"pid {process.pid} ({process.name()})"
    except psutil.Error:
        return f"pid {pid}"
