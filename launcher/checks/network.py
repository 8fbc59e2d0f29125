"""Whether nodes find each other, by name, port and clock. Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.checks.findings import Finding, listed, ok, SHOWN, Verdict, Views
from launcher.system.machine import Machine

CLOCK_WARN, CLOCK_FAIL = 0.1, 1.0
"""Seconds. Rows of a batch bear the clocks of the nodes that loaded it, and its wall time is from the
first to the last of them."""
HERE = "this machine"


def taken(views: Views) -> Finding:
    held = {node: view["taken"] for node, view in views.items() if view["taken"]}
    if not held:
        return ok("ports", "those of the deployment are free")
    return Finding(
        "ports",
        Verdict.FAIL,
        tuple(held),
        "; ".join(f"{node}: {who}" for node, who in held.items()),
        "end what holds them, choose others (--server-port, --envoy-port, --admin-port) or leave the "
        "node out with --exclude",
    )


def proxies(seen: Mapping[str, Machine], names: Sequence[str]) -> Finding:
    """A client that honours these variables asks the proxy for the deployment, which it cannot
    reach. Ours do not."""
    caught = {
        node: machine
        for node, machine in seen.items()
        if machine.proxies and not all(bypassed(name, machine.no_proxy) for name in names)
    }
    if not caught:
        return ok("proxy", "none stands between clients and the deployment")
    variables = dict.fromkeys(name for machine in caught.values() for name in machine.proxies)
    return Finding(
        "proxy",
        Verdict.WARN,
        tuple(caught),
        f"{', '.join(variables)} on {listed(caught)}, and no_proxy does not name every node: the "
        "launcher uses no proxy, but other clients and curl would",
        f"export no_proxy=$no_proxy,{','.join(names[:SHOWN])}{',...' if len(names) > SHOWN else ''}",
    )


def bypassed(name: str, no_proxy: str) -> bool:
    """As curl and Python take no_proxy: names, with or without a dot, stand for what is below them
    too."""
    entries = [entry.strip().lower().lstrip(".") for entry in no_proxy.split(",")]
    name = name.lower()
    return any(entry in ("*", name) or name.endswith(f".{entry}") for entry in entries if entry)


def names(views: Views) -> Finding:
    """Each node must find every other; by what its own name is known to itself does not matter."""
    unknown: list[str] = []
    loopback: list[str] = []
    known: dict[str, set[str]] = {}
    blamed: dict[str, None] = {}
    for node, view in views.items():
        for name, answer in view["names"].items():
            if name == node:
                continue
            if "problem" in answer:
                unknown.append(f"{node} does not know {name}: {answer['problem']}")
            elif ipaddress.ip_address(answer["address"]).is_loopback:
                loopback.append(f"{node} takes {name} for itself ({answer['address']})")
            else:
                known.setdefault(name, set()).add(answer["address"])
                continue
            blamed[node] = None
    if unknown or loopback:
        return Finding(
            "names",
            Verdict.FAIL,
            tuple(blamed),
            "; ".join([*unknown, *loopback][:SHOWN]),
            "mend DNS or /etc/hosts on the nodes, or leave them out with --exclude",
        )
    many = {name: sorted(found) for name, found in known.items() if len(found) > 1}
    if many:
        told = "; ".join(f"{name} is {' and '.join(found)}" for name, found in many.items())
        advice = "see that these are one network, and that it is the fast one"
        return Finding("names", Verdict.WARN, tuple(many), f"nodes disagree: {told}", advice)
    return ok("names", "every node finds every other")


@dataclass(frozen=True)
class Skew:
    """By how many seconds a clock is ahead of another: somewhere from `low` to `high`, as far as the
    time that the answer took lets one tell."""

    low: float
    high: float

    @property
    def certain(self) -> float:
        """The least that it is off by; 0 where it may be right."""
        return max(0.0, self.low, -self.high)

    def narrowed(self, other: "Skew") -> "Skew":
        return Skew(max(self.low, other.low), min(self.high, other.high))

    def against(self, other: "Skew") -> "Skew":
        return Skew(self.low - other.high, self.high - other.low)


def clocks(skews: Mapping[str, Skew]) -> Finding:
    """`skews` are against this machine's clock, which may itself be the wrong one: what most clocks
    say is right."""
    every = {HERE: Skew(0.0, 0.0), **skews}
    order = sorted(every.values(), key=lambda skew: skew.low + skew.high)
    right = order[(len(order) - 1) // 2]
    off = {name: skew.against(right) for name, skew in every.items()}
    wrong = {name: skew for name, skew in off.items() if skew.certain >= CLOCK_WARN}
    if not wrong:
        least = max(max(abs(skew.low), abs(skew.high)) for skew in skews.values())
        return ok("clocks", f"at most {least:.2f} s from this machine's on every node")
    far = any(s.certain >= CLOCK_FAIL for name, s in wrong.items() if name != HERE)
    told = "; ".join(f"{name} is {_way(skew)}" for name, skew in list(wrong.items())[:SHOWN])
    return Finding(
        "clocks",
        Verdict.FAIL if far else Verdict.WARN,
        tuple(wrong),
        f"{told}: what rows of different nodes say of times does not compare",
        "have NTP (chronyd) run there, or leave the nodes out with --exclude",
    )


def _way(skew: Skew) -> str:
    return f"{skew.certain:.1f} s {'ahead' if skew.low > 0 else 'behind'}"
