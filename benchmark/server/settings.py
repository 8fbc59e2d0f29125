"""The settings that a server reads from environment variables."""

import argparse
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_APP = "benchmark.server.app:app"
DEFAULT_PORT = 8000
DEFAULT_MAX_CONCURRENT_ENVS = 100
# In seconds. OpenEnv's client waits 60 s for a reply; before that it is told why there is none.
DEFAULT_CONSTRUCTOR_TIMEOUT = 55


class SettingError(ValueError):
    """An environment variable has an invalid value; the message names it."""


@dataclass(frozen=True)
class Settings:
    workers: int
    port: int
    max_concurrent_envs: int
    node_name: str
    constructor_timeout: int = DEFAULT_CONSTRUCTOR_TIMEOUT

    @property
    def host_url(self) -> str:
        return f"{self.node_name}:{self.port}"


@dataclass(frozen=True)
class Serving:
    """What the workers of a server serve, and how. `strict_sessions` refuses the first step of a
    connection that was never reset; `idle_timeout` is in seconds, None for each path's default."""

    app: str = DEFAULT_APP
    strict_sessions: bool = False
    idle_timeout: float | None = None

    def arguments(self) -> list[str]:
        """The options with which `add_serving_options` gives the same `Serving`."""
        strict = ["--strict-sessions"] if self.strict_sessions else []
        idle = [] if self.idle_timeout is None else ["--idle-timeout", str(self.idle_timeout)]
        return ["--app", self.app, *strict, *idle]


def add_serving_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", default=DEFAULT_APP, help="the ASGI app, as module:attribute")
    parser.add_argument(
        "--strict-sessions",
        action="store_true",
        help="refuse the first step of a connection that was never reset",
    )
    idle_help = "end sessions that were not used for this many seconds"
    parser.add_argument("--idle-timeout", type=_seconds, metavar="SECONDS", help=idle_help)


def serving_from(options: argparse.Namespace) -> Serving:
    return Serving(options.app, options.strict_sessions, options.idle_timeout)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


@dataclass(frozen=True)
class Ports:
    """`shared` is for direct clients, `control` for health checks, and worker `i` listens on
    `first_own + i` for the load balancer."""

    shared: int
    control: int
    first_own: int

    def own(self, index: int) -> int:
        return self.first_own + index

    def all(self, workers: int) -> list[int]:
        return [self.shared, self.control, *(self.own(index) for index in range(workers))]


def ports_from(shared: int) -> Ports:
    return Ports(shared, shared + 1, shared + 2)


def settings_from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises `SettingError` when a variable is not a whole number in its range."""
    return Settings(
        workers=_number(environment, ("WORKERS", "SLURM_CPUS_PER_TASK"), 1, high=4096),
        port=_number(environment, ("PORT",), DEFAULT_PORT, high=60_000),
        max_concurrent_envs=_number(
            environment, ("MAX_CONCURRENT_ENVS",), DEFAULT_MAX_CONCURRENT_ENVS, high=10_000_000
        ),
        node_name=environment.get("NODE_NAME") or socket.gethostname(),
        constructor_timeout=_number(
            environment, ("CONSTRUCTOR_TIMEOUT",), DEFAULT_CONSTRUCTOR_TIMEOUT, high=1_000_000
        ),
    )


def _number(environment: Mapping[str, str], names: tuple[str, ...], default: int, high: int) -> int:
    for name in names:
        value = environment.get(name)
        if value:
            if not value.isdecimal() or not 1 <= int(value) <= high:
                raise SettingError(f"{name}={value!r} is not a whole number from 1 to {high}")
            return int(value)
    return default
