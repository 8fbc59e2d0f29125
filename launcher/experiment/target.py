"""The server or deployment that answers at a URL, looked up once for each command."""

import ipaddress
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from launcher.deployment.state import DeploymentState, DeploymentStatus, ProcessState
from launcher.envoy.capacity import DESCRIPTORS_PER_SESSION
from launcher.errors import LoadFailed, PreflightFailed
from launcher.lifecycle import registry
from launcher.sampling.changes import Change, Kind
from launcher.system import http
from launcher.system.debug_log import redacted

logger = logging.getLogger(__name__)

PROBE_SECONDS = 10.0


# By name and node.
Processes = Mapping[tuple[str, str], ProcessState]


@dataclass(frozen=True)
class Target:
    """`state` is the state of this user's deployment behind the URL when the target was resolved;
    None when there is no such deployment."""

    url: str
    state: DeploymentState | None = None

    @property
    def is_deployment(self) -> bool:
        """Whether the URL is a deployment's own, not the URL of one of its servers."""
        return self.state is not None and self.url == self.state.url

    @property
    def servers(self) -> int | None:
        """None when the deployment is unknown."""
        if self.state is None:
            return None
        return len(self.state.servers) if self.is_deployment else 1

    @property
    def envoy_sessions(self) -> int | None:
        """How many sessions Envoy can hold; None when the deployment is unknown or has no Envoy, or
        when the URL bypasses Envoy."""
        if self.state is None or not self.is_deployment:
            return None
        return self.state.envoy_sessions if self.state.connection["ENVOY_NODE"] else None

    @property
    def shares_node(self) -> bool:
        """Whether this machine runs processes of the target, as far as its state and URL show."""
        nodes = {process.node for process in self.state.processes} if self.state else set()
        if {socket.gethostname(), os.environ.get("SLURMD_NODENAME")} & nodes:
            return True
        try:
            with socket.socket() as probe:
                probe.bind((_address(self.url), 0))
        except OSError:
            return False
        return True

    def check_server(self) -> None:
        """Raises `PreflightFailed` when no OpenEnv server answers at the URL."""
        try:
            content = http.get_json(f"{self.url}/schema", PROBE_SECONDS)
        except http.Unreachable as failure:
            if failure.status == 503:
                raise PreflightFailed(
                    f"{self.url} answers 503: no healthy server behind it"
                ) from None
            if failure.status is not None:
                raise self._no_openenv(f"/schema returned {failure}") from None
            raise PreflightFailed(
                f"{self.url} does not answer: {failure}; is the deployment up? (launcher status)"
            ) from None
        except ValueError:
            raise self._no_openenv("/schema is not JSON") from None
        if not isinstance(content, dict) or "action" not in content:
            raise self._no_openenv("/schema has no action")

    def check_envoy(self, batch: int) -> None:
        """Raises `LoadFailed` when Envoy cannot hold `batch` sessions."""
        limit = self.envoy_sessions
        if self.state is not None and limit is not None and batch > limit:
            raise LoadFailed(
                f"batch {batch} is more than Envoy of deployment {self.state.name!r} can hold: "
                f"its {len(self.state.envoys)} process(es) hold {limit} sessions at "
                f"{DESCRIPTORS_PER_SESSION} descriptors each; run `launcher up --sessions {batch}`, "
                "raise ulimit -n first, or load a server directly"
            )

    def caps(self) -> dict[str, Any]:
        """The limits on the sessions of the target, for run.json; None where unknown."""
        if self.state is None:
            try:
                ready = http.get_json(f"{self.url}/ready", PROBE_SECONDS)
                return {
                    "capacity": ready["max_sessions"],
                    "workers_per_node": len(ready["workers"]),
                }
            except (http.Unreachable, ValueError, KeyError, TypeError):
                return {"capacity": None}
        servers = self.servers or 1
        return {
            "max_concurrent_envs": self.state.deployment.max_concurrent_envs,
            "workers_per_node": int(self.state.connection["WORKERS_PER_NODE"]),
            "servers": servers,
            "capacity": self.state.capacity * servers // len(self.state.servers),
            "envoy_sessions": self.state.envoy_sessions,
        }

    # What changes while cells run

    def is_running(self) -> bool:
        """Whether the deployment still serves; True for a server outside any known deployment."""
        if self.state is None:
            return True
        known = registry.known(self.state.name)
        return (
            known is not None
            and self.url in _urls(known.state)
            and known.state.status is DeploymentStatus.READY
            and known.alive
        )

    def sessions_open(self) -> int | None:
        """How many sessions the servers hold; None when a server does not answer."""
        try:
            if self.state is None:
                return int(http.get_json(f"{self.url}/ready", PROBE_SECONDS)["used"])
            counts = registry.places(self.state)
            names = self.state.server_names
            if not self.is_deployment:
                names = [f"server-{_server_urls(self.state).index(self.url) + 1}"]
            return sum(int(counts[name]["used"]) for name in names)
        except (http.Unreachable, ValueError, KeyError, TypeError):
            return None

    def processes(self) -> Processes:
        """The processes of the deployment as they are now."""
        processes = registry.read_state(self.state.folder).processes if self.state else ()
        return {(process.name, process.node): process for process in processes}

    def _no_openenv(self, reason: str) -> PreflightFailed:
        return PreflightFailed(f"{self.url} answers but is not an OpenEnv server: {reason}")


def resolve(url: str) -> Target:
    for deployment in registry.all_known():
        if url in _urls(deployment.state) and deployment.alive:
            logger.debug("%s is deployment %s", *redacted([url, deployment.state.name]))
            return Target(url, deployment.state)
    logger.debug("%s is none of this user's deployments", *redacted([url]))
    return Target(url)


def replaced(before: Processes, after: Processes) -> list[Change]:
    """The processes that were replaced or given up between two calls of `Target.processes`."""
    both = [(key, process, after[key]) for key, process in before.items() if key in after]
    return [
        Change(Kind.GIVEN_UP if now.given_up else Kind.REPLACED, *key)
        for key, then, now in both
        if (then.restarts, then.given_up) != (now.restarts, now.given_up)
    ]


def is_loopback(url: str) -> bool:
    """Whether only this machine can reach the URL."""
    try:
        return ipaddress.ip_address(_address(url)).is_loopback
    except (OSError, ValueError):
        return False


def _urls(state: DeploymentState) -> list[str]:
    """The URLs that reach a deployment or one of its servers; none without a state."""
    return [state.url, *_server_urls(state)] if state.url else []


def _server_urls(state: DeploymentState) -> list[str]:
    port = state.deployment.server_port
    return [f"http://{server.address}:{port}" for server in state.servers]


def _address(url: str) -> str:
    """The address of the URL's host. Raises OSError when it cannot be resolved."""
    return str(socket.getaddrinfo(urlsplit(url).hostname, None)[0][4][0])
