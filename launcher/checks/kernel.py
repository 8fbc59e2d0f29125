"""What the kernel of each node allows. Pure."""

from collections.abc import Mapping, Sequence

from launcher.checks.findings import everywhere, Finding, listed, lowest, ok, Verdict, Views
from launcher.system.limits import SPARE_DESCRIPTORS
from launcher.system.machine import Machine

LOW_DESCRIPTORS, LOW_PROCESSES, LOW_BACKLOG, LOW_PORTS = 4096, 1024, 1024, 10_000
LOW_MEMORY, NO_MEMORY = 1 << 30, 1 << 28


def machines(views: Views) -> dict[str, Machine]:
    return {node: Machine.from_dict(view["machine"]) for node, view in views.items()}


def descriptors(seen: Mapping[str, Machine]) -> Finding:
    """The hard limit: our processes raise their soft one to it."""
    return lowest(
        "descriptors",
        {node: machine.descriptors for node, machine in seen.items()},
        SPARE_DESCRIPTORS + 1,
        LOW_DESCRIPTORS,
        lambda value: f"{value:,}",
        "have the hard limit (ulimit -Hn) raised there; on a Slurm node it is that of slurmd "
        "(LimitNOFILE)",
    )


def processes(seen: Mapping[str, Machine], needed: int) -> Finding:
    """`needed` is the most that a node will run of ours, threads included."""
    limited = {n: m.processes for n, m in seen.items() if m.processes is not None}
    if not limited:
        return ok("processes", "no limit")
    return lowest(
        "processes",
        limited,
        needed,
        max(needed, LOW_PROCESSES),
        lambda value: f"{value:,}",
        f"a node runs up to {needed:,} processes and threads; raise the limit (ulimit -Hu) there, or "
        "use fewer --workers-per-node",
    )


def ports(seen: Mapping[str, Machine], listening: Mapping[str, Sequence[int]]) -> Finding:
    """`listening` is what the deployment listens on: a connection may have taken it before."""
    inside = {
        node: clash
        for node, machine in seen.items()
        if (
            clash := [
                port
                for port in listening.get(node, ())
                if machine.first_port <= port <= machine.last_port
            ]
        )
    }
    if inside:
        node, clash = next(iter(inside.items()))
        low, high = seen[node].first_port, seen[node].last_port
        return Finding(
            "ephemeral ports",
            Verdict.WARN,
            tuple(inside),
            f"the deployment listens within {low}-{high} on {listed(inside)}: any connection may hold "
            f"port {clash[0]} when it starts",
            f"choose ports below {low} (--server-port, --envoy-port, --admin-port)",
        )
    return lowest(
        "ephemeral ports",
        {node: machine.ports for node, machine in seen.items()},
        1,
        LOW_PORTS,
        lambda value: f"{value:,}",
        "widen net.ipv4.ip_local_port_range there, as 10240 60999",
    )


def backlog(seen: Mapping[str, Machine], at_once: Mapping[str, int]) -> Finding:
    """`at_once` is how many connections come to one listening socket of a node in a burst. The kernel
    lets so many wait to be accepted, and drops what comes beyond."""
    low = {node: at_once[node] for node, m in seen.items() if at_once.get(node, 0) > m.backlog}
    least = min(seen.values(), key=lambda machine: machine.backlog)
    values = f"net.core.somaxconn {least.somaxconn:,}, tcp_max_syn_backlog {least.syn_backlog:,}"
    if not low:
        return ok("backlog", f"{values} {everywhere(seen)}")
    wanted = max(low.values())
    return Finding(
        "backlog",
        Verdict.WARN,
        tuple(low),
        f"{values} on {listed(low)}: of {wanted:,} connections that come to one socket at once, some "
        "are tried again after 1 s or more, which shows in latencies",
        f"have net.core.somaxconn (and, without tcp_syncookies, tcp_max_syn_backlog) set to "
        f"{wanted:,} or more there",
    )


def memory(seen: Mapping[str, Machine]) -> Finding:
    finding = lowest(
        "memory",
        # what is available differs all the time: only what is little matters
        {node: min(machine.room, LOW_MEMORY) for node, machine in seen.items()},
        NO_MEMORY,
        LOW_MEMORY,
        lambda value: f"{value / 2**30:.1f} GiB",
        "end what uses it there, ask for more with --mem, or leave the node out with --exclude",
    )
    if finding.verdict is not Verdict.OK:
        return finding
    node, tightest = min(seen.items(), key=lambda item: item[1].room)
    limited = "; limited by a control group" if tightest.room == tightest.memory_limit else ""
    where = f" (least on {node}{limited})" if len(seen) > 1 or limited else ""
    extent = f"{tightest.room / 2**30:.1f} of {tightest.memory / 2**30:.1f} GiB"
    return ok("memory", f"at least {extent} to be had {everywhere(seen)}{where}")
