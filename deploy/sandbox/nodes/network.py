"""The network of the nodes: a bridge in the namespace of the holder and a veth pair for each node,
without a route to the outside."""

import os
import subprocess
from pathlib import Path

from sandbox.system import kernel

LOGIN = "login"
BRIDGE = "br0"
MAX_NODES = 200


def node_names(count: int) -> list[str]:
    return [f"node{number}" for number in range(1, count + 1)]


def _number(node: str) -> int:
    return 1 if node == LOGIN else 10 + int(node.removeprefix("node"))


def address(node: str) -> str:
    return f"10.90.0.{_number(node)}"


def hosts(nodes: list[str]) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{address(LOGIN)} {LOGIN}"]
    return "\n".join([*lines, *(f"{address(node)} {node}" for node in nodes)]) + "\n"


def ip(commands: list[str], root: Path | None = None) -> None:
    """Runs commands of ip(8) from the root file system of the nodes, as this machine may lack it."""
    argv = ["ip", "-batch", "-"] if root is None else ["chroot", str(root), "ip", "-batch", "-"]
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        argv, input="\n".join(commands), text=True, capture_output=True, env=path, check=False
    )
    if done.returncode:
        raise OSError(f"ip: {done.stderr.strip()}")


def make_bridge(root: Path) -> None:
    ip([f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up", "link set lo up"], root)


def unshare() -> int:
    """Enters a new network namespace; returns a descriptor of the previous one."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    kernel.unshare(kernel.NEWNET)
    return before


def connect(node: str, root: Path, bridge: int) -> None:
    """Connects this process, which is the first of its PID namespace, to the bridge in the given network
    namespace."""
    # A random name, because the interface of a node that was just killed may still exist.
    interface = f"{node}-{os.urandom(2).hex()}"

    def add_pair() -> None:
        kernel.setns(bridge, kernel.NEWNET)
        commands = [
            f"link add {interface} type veth peer name eth0 netns /proc/1/ns/net",
            f"link set {interface} master {BRIDGE} up",
        ]
        ip(commands, root)

    failed = kernel.wait(kernel.fork(add_pair))
    os.close(bridge)
    if failed:
        raise OSError(f"{node} could not be connected to the network")


def set_address(node: str) -> None:
    # A constant MAC address keeps the ARP caches of the other nodes valid.
    ip(
        [
            "link set lo up",
            f"link set eth0 address 02:00:0a:5a:00:{_number(node):02x}",
            f"address add {address(node)}/24 dev eth0",
            "link set eth0 up",
        ]
    )
