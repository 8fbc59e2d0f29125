"""The result of a check of one or several nodes: its verdict, the nodes, and what to do. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_LISTED = 6

# The answers of `launcher.runtimes.probe` by node.
Views = Mapping[str, Mapping[str, Any]]


class Verdict(StrEnum):
    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Check(StrEnum):
    """Every check of `up`, `doctor` and `preflight`. The values are printed, also as JSON."""

    APP = "app"
    APPTAINER = "apptainer"
    BACKENDS = "backends"
    BACKLOG = "backlog"
    CLOCKS = "clocks"
    DESCRIPTORS = "descriptors"
    DISTRIBUTION = "distribution"
    ENVOY = "envoy"
    EPHEMERAL_PORTS = "ephemeral ports"
    FOLDER = "folder"
    GPUS = "gpus"
    IMAGE = "image"
    LOAD = "load"
    MEMORY = "memory"
    NAMES = "names"
    NODES = "nodes"
    PATHS = "paths"
    PLACES = "places"
    PORTS = "ports"
    PROCESSES = "processes"
    PROGRAMS = "programs"
    PROXY = "proxy"
    PYTHON = "python"
    SERVERS = "servers"
    SESSIONS = "sessions"
    STEPS = "steps"


@dataclass(frozen=True)
class Finding:
    """`nodes` are those that are not OK; empty when no single node is to blame."""

    check: Check
    verdict: Verdict
    nodes: tuple[str, ...]
    detail: str
    advice: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict is not Verdict.FAIL


def ok(check: Check, detail: str) -> Finding:
    return Finding(check, Verdict.OK, (), detail)


def fail(check: Check, nodes: Iterable[str], detail: str, advice: str) -> Finding:
    return Finding(check, Verdict.FAIL, tuple(nodes), detail, advice)


def warn(check: Check, nodes: Iterable[str], detail: str, advice: str) -> Finding:
    return Finding(check, Verdict.WARN, tuple(nodes), detail, advice)


def listed(names: Iterable[str]) -> str:
    """At most `MAX_LISTED` names, and how many more there are."""
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - MAX_LISTED} more" if len(unique) > MAX_LISTED else ""
    return ", ".join(unique[:MAX_LISTED]) + more


def everywhere(nodes: Iterable[str]) -> str:
    names = list(nodes)
    return "on every node" if len(names) > 1 else f"on {names[0]}"
