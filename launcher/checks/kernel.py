"""Checks of the kernel limits of each node. Pure."""

from collections.abc import Callable, Mapping, Sequence

from launcher.runtimes.findings import Check, everywhere, Finding, listed, ok, Verdict, Views, warn
from launcher.system.machine import Machine, SPARE_DESCRIPTORS

LOW_DESCRIPTORS, LOW_PROCESSES, LOW_BACKLOG, LOW_PORTS = 4096, 1024, 1024, 10_000
LOW_MEMORY, MIN_MEMORY = 1 << 30, 1 << 28


def machines_of(views: Views) -> dict[str, Machine]:
    return {node: Machine(**view["machine"]) for node, view in views.items()}


def descriptors(machines: Mapping[str, Machine]) -> Finding:
    # Processes of the launcher raise their soft limit to the hard limit.
    return _lowest(
        Check.DESCRIPTORS,
        {node: machine.descriptors for node, machine in machines.items()},
        SPARE_DESCRIPTORS + 1,
        LOW_DESCRIPTORS,
        "raise the hard limit (ulimit -Hn) there; a Slurm step inherits it from slurmd (LimitNOFILE)",
    )


def processes(machines: Mapping[str, Machine], needed: int) -> Finding:
    """`needed` is the most processes and threads that the deployment runs on one node."""
    limited = {n: m.processes for n, m in machines.items() if m.processes is not None}
    if not limited:
        return ok(Check.PROCESSES, "no limit")
    return _lowest(
        Check.PROCESSES,
        limited,
        needed,
        max(needed, LOW_PROCESSES),
        f"a node runs up to {needed:,} processes and threads; raise the limit (ulimit -Hu) there, or "
        "use fewer --workers-per-node",
    )


def ports(machines: Mapping[str, Machine], listening: Mapping[str, Sequence[int]]) -> Finding:
    """`listening` has the ports that the deployment listens on at each node. An outgoing connection
    may occupy one of them first if it is an ephemeral port."""
    ephemeral = {n: range(m.first_port, m.last_port + 1) for n, m in machines.items()}
    clashes = [n for n in machines if any(p in ephemeral[n] for p in listening.get(n, ()))]
    if clashes:
        node = clashes[0]
        port = next(port for port in listening[node] if port in ephemeral[node])
        low, high = machines[node].first_port, machines[node].last_port
        return warn(
            Check.EPHEMERAL_PORTS,
            clashes,
            f"the deployment listens within {low}-{high} on {listed(clashes)}: an outgoing connection "
            f"may hold port {port} when the deployment starts",
            f"choose ports below {low} (--server-port, --envoy-port, --admin-port)",
        )
    return _lowest(
        Check.EPHEMERAL_PORTS,
        {node: machine.ports for node, machine in machines.items()},
        1,
        LOW_PORTS,
        "widen net.ipv4.ip_local_port_range there, for example to 10240 60999",
    )


def backlog(machines: Mapping[str, Machine], burst: Mapping[str, int]) -> Finding:
    """`burst` is how many connections reach one listening socket of each node at once. The kernel
    queues as many as the backlog allows and drops the rest (listen(2))."""
    low = {n: burst[n] for n, machine in machines.items() if burst.get(n, 0) > machine.backlog}
    least = min(machines.values(), key=lambda machine: machine.backlog)
    values = f"net.core.somaxconn {least.somaxconn:,}, tcp_max_syn_backlog {least.syn_backlog:,}"
    if not low:
        return ok(Check.BACKLOG, f"{values} {everywhere(machines)}")
    needed = max(low.values())
    return warn(
        Check.BACKLOG,
        low,
        f"{values} on {listed(low)}: of {needed:,} connections that reach one socket at once, some "
        "are retried after 1 s or more, which shows in latencies",
        f"set net.core.somaxconn (and, without tcp_syncookies, tcp_max_syn_backlog) to {needed:,} or "
        "more there",
    )


def memory(machines: Mapping[str, Machine]) -> Finding:
    finding = _lowest(
        Check.MEMORY,
        # Available memory differs between healthy nodes; only a low value is worth a warning.
        {node: min(machine.room, LOW_MEMORY) for node, machine in machines.items()},
        MIN_MEMORY,
        LOW_MEMORY,
        "stop the processes that use it, request more with --mem, or leave the node out with --exclude",
        lambda value: f"{value / 2**30:.1f} GiB",
    )
    if finding.verdict is not Verdict.OK:
        return finding
    node, tightest = min(machines.items(), key=lambda item: item[1].room)
    limited = "; limited by a control group" if tightest.room == tightest.memory_limit else ""
    where = f" (least on {node}{limited})" if len(machines) > 1 or limited else ""
    extent = f"{tightest.room / 2**30:.1f} of {tightest.memory / 2**30:.1f} GiB"
    return ok(Check.MEMORY, f"at least {extent} available {everywhere(machines)}{where}")


def _lowest(
    check: Check,
    values: Mapping[str, int],
    fail_below: int,
    warn_below: int,
    advice: str,
    text: Callable[[int], str] = "{:,}".format,
) -> Finding:
    """FAIL for nodes below `fail_below`; WARN for nodes below `warn_below`, or below the value that
    most nodes have."""
    counts = list(values.values())
    usual = max(set(counts), key=lambda value: (counts.count(value), value))
    least = min(counts)
    failing = tuple(node for node, value in values.items() if value < fail_below)
    low = tuple(node for node, value in values.items() if value < max(warn_below, usual))
    if not low:
        return ok(check, f"{text(least)} {everywhere(values)}")
    verdict, nodes = (Verdict.FAIL, failing) if failing else (Verdict.WARN, low)
    highest = max(values[node] for node in nodes)
    extent = text(least) if highest == least else f"{text(least)} and more"
    others = f"; {text(usual)} elsewhere" if usual > highest else ""
    return Finding(check, verdict, nodes, f"{extent} on {listed(nodes)}{others}", advice)
