"""Checks of name resolution, clocks and proxies between nodes. Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.runtimes.findings import (
    Check,
    fail,
    Finding,
    listed,
    MAX_LISTED,
    ok,
    Verdict,
    Views,
    warn,
)
from launcher.system.machine import Machine

# Seconds. The rows of a batch carry the clocks of the nodes that made its load, and the wall time of the
# batch is the difference of the earliest and the latest of them.
CLOCK_WARN, CLOCK_FAIL = 0.1, 1.0
HERE = "this machine"


def proxies(machines: Mapping[str, Machine], names: Sequence[str]) -> Finding:
    """Warns of proxy variables that do not exempt every node: a client that honours them sends
    requests for the deployment to a proxy that cannot reach it."""
    proxied = {
        node: machine
        for node, machine in machines.items()
        if machine.proxies and not all(bypassed(name, machine.no_proxy) for name in names)
    }
    if not proxied:
        return ok(Check.PROXY, "no proxy between clients and the deployment")
    variables = dict.fromkeys(name for machine in proxied.values() for name in machine.proxies)
    more = ",..." if len(names) > MAX_LISTED else ""
    return warn(
        Check.PROXY,
        proxied,
        f"{', '.join(variables)} on {listed(proxied)}, and no_proxy does not name every node: the "
        "launcher ignores proxies, but other clients and curl use them",
        f"export no_proxy=$no_proxy,{','.join(names[:MAX_LISTED])}{more}",
    )


def bypassed(name: str, no_proxy: str) -> bool:
    """Whether no_proxy exempts the name. As in curl and Python, an entry with or without a leading
    dot matches the name itself and every name below it."""
    entries = [entry.strip().lower().lstrip(".") for entry in no_proxy.split(",")]
    name = name.lower()
    return any(entry in ("*", name) or name.endswith(f".{entry}") for entry in entries if entry)


def names(views: Views) -> Finding:
    """Every node must resolve every other node; its own name may resolve to anything."""
    unknown, loopback = list[str](), list[str]()
    resolved: dict[str, set[str]] = {}
    failing: dict[str, None] = {}
    for node, view in views.items():
        for name, answer in view["names"].items():
            if name == node:
                continue
            if "problem" in answer:
                unknown.append(f"{node} cannot resolve {name}: {answer['problem']}")
            elif ipaddress.ip_address(answer["address"]).is_loopback:
                loopback.append(f"{node} resolves {name} to itself ({answer['address']})")
            else:
                resolved.setdefault(name, set()).add(answer["address"])
                continue
            failing[node] = None
    if failing:
        return fail(
            Check.NAMES,
            failing,
            "; ".join([*unknown, *loopback][:MAX_LISTED]),
            "correct DNS or /etc/hosts on these nodes, or leave them out with --exclude",
        )
    ambiguous = {name: sorted(each) for name, each in resolved.items() if len(each) > 1}
    if ambiguous:
        pairs = "; ".join(f"{name} is {' and '.join(each)}" for name, each in ambiguous.items())
        advice = "make sure that these addresses are on one network, and that it is the fast one"
        return warn(Check.NAMES, ambiguous, f"nodes disagree: {pairs}", advice)
    return ok(Check.NAMES, "every node resolves every other node")


@dataclass(frozen=True)
class Skew:
    """How many seconds a clock is ahead of another: between `low` and `high`, because the delay of the answer
    is unknown in each direction."""

    low: float
    high: float

    @property
    def certain(self) -> float:
        """The smallest possible error in seconds; 0 when the clock may be right."""
        return max(0.0, self.low, -self.high)

    def narrowed(self, other: "Skew") -> "Skew":
        return Skew(max(self.low, other.low), min(self.high, other.high))

    def against(self, other: "Skew") -> "Skew":
        return Skew(self.low - other.high, self.high - other.low)


def clocks(skews: Mapping[str, Skew]) -> Finding:
    """`skews` are relative to this machine's clock, which may itself be wrong: the median clock
    counts as right."""
    clocks = {HERE: Skew(0.0, 0.0), **skews}
    order = sorted(clocks.values(), key=lambda skew: skew.low + skew.high)
    right = order[(len(order) - 1) // 2]
    relative = {name: skew.against(right) for name, skew in clocks.items()}
    wrong = {name: skew for name, skew in relative.items() if skew.certain >= CLOCK_WARN}
    if not wrong:
        bound = max(max(abs(skew.low), abs(skew.high)) for skew in skews.values())
        return ok(Check.CLOCKS, f"every node within {bound:.2f} s of this machine")
    far = any(s.certain >= CLOCK_FAIL for name, s in wrong.items() if name != HERE)
    each = "; ".join(f"{name} is {_offset(s)}" for name, s in list(wrong.items())[:MAX_LISTED])
    return Finding(
        Check.CLOCKS,
        Verdict.FAIL if far else Verdict.WARN,
        tuple(wrong),
        f"{each}: times in rows of different nodes cannot be compared",
        "run NTP (chronyd) there, or leave the nodes out with --exclude",
    )


def _offset(skew: Skew) -> str:
    return f"{skew.certain:.1f} s {'ahead' if skew.low > 0 else 'behind'}"
