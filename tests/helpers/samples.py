"""Samples of a cell, made by hand, and the bound that is found from them."""

from typing import Any

from analysis.cells.bound import bound

Samples = list[dict[str, Any]]


def process(
    name: str, busiest: float = 0.2, *, node: str = "n1", seconds: float = 1.0, **fields: Any
) -> dict[str, Any]:
    sample = {"time": "", "node": node, "cell": 1, "kind": "process", "name": name, "pid": 7}
    sample |= {"seconds": seconds, "cpu": 1.0, "wait": 0.0, "busiest": busiest}
    return sample | {"rss": 1, "fds": 50, "fd_limit": 1000, "processes": 1} | fields


def running(name: str, busiest: float, runnable: float, node: str = "n1") -> Samples:
    """Three seconds of samples of a process with this many threads that run or wait for a CPU."""
    return [process(name, busiest, node=node, cpu=second * runnable) for second in range(3)]


def places(used: list[int], limit: int = 10, refused: int = 0, **fields: Any) -> dict[str, Any]:
    """A server's workers, each of which may hold `limit` sessions."""
    every = limit * len(used)
    sample = {"time": "", "node": "n2", "cell": 1, "kind": "places", "name": "server-1"}
    sample |= {"used": sum(used), "free": every - sum(used), "limit": every, "refused": refused}
    return sample | {"count": len(used), "most": max(used), "replaced": 0, "workers": used} | fields


def envoy(cell: int | None = 1, **counters: int) -> dict[str, Any]:
    return {"time": "", "node": "n1", "cell": cell, "kind": "envoy"} | counters


def node(name: str = "n1", **fields: Any) -> dict[str, Any]:
    sample = {"time": "", "node": name, "cell": 1, "kind": "node", "tcp_inuse": 10, "tcp_tw": 0}
    return sample | {"ports": 28_000, "listen_overflows": 0, "listen_drops": 0} | fields


def by_envoy(sessions: int = 100) -> Samples:
    return [envoy(None, downstream_cx_total=40), envoy(downstream_cx_total=40 + sessions)]


def judge(
    samples: Samples,
    errors: dict[str, int] | None = None,
    *messages: str,
    facts: dict[str, Any] | None = None,
    caps: dict[str, Any] | None = None,
    batch: int = 100,
) -> dict[str, Any]:
    line = {"batch_size": batch, "errors": errors or {}}
    return bound(line, messages, samples, facts or {}, caps or {})


def by(*arguments: Any, **options: Any) -> str:
    return str(judge(*arguments, **options)["by"])
