"""Checks that run while a deployment is held."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from launcher.deployment.placement import Placement
from launcher.envoy import admin
from launcher.system.signals import Interrupted

CHECK_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0


class BackendWatcher:
    def __init__(self, placement: Placement, report: Callable[[str], None]) -> None:
        self._admin_urls, self._report = placement.admin_urls, report
        self._healthy = placement.endpoints
        self._unhealthy: set[str] = set()
        self._next = 0.0

    def check(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + CHECK_SECONDS
        # All Envoy processes come to the same view, though not at the same time: the first that
        # answers is enough.
        for admin_url in self._admin_urls:
            try:
                self._check(admin_url)
                return
            except (OSError, ValueError):
                continue  # this Envoy process is being replaced

    def _check(self, admin_url: str) -> None:
        healthy = admin.healthy(admin_url)
        if healthy == self._healthy:
            return
        unhealthy = {b.node for b in admin.backends(admin_url) if not b.healthy}
        self._healthy = healthy
        if failed := unhealthy - self._unhealthy:
            self._report(f"Envoy reports {', '.join(sorted(failed))} as unhealthy")
        if recovered := self._unhealthy - unhealthy:
            self._report(f"Envoy reports {', '.join(sorted(recovered))} as healthy again")
        self._unhealthy = unhealthy


class HeartbeatWatcher:
    """The launcher on the login node changes the time of a file as long as it waits for the deployment."""

    def __init__(self, heartbeat: Path, timeout: float) -> None:
        self._heartbeat, self._timeout = heartbeat, timeout
        self._last = 0
        self._changed_at = time.monotonic()

    def check(self) -> None:
        """Raises `Interrupted` when the file has not changed for `timeout` seconds."""
        try:
            modified = self._heartbeat.stat().st_mtime_ns
        except OSError:
            modified = 0
        if modified != self._last:
            self._last, self._changed_at = modified, time.monotonic()
        elif time.monotonic() - self._changed_at > self._timeout:
            raise Interrupted(signal.SIGHUP)
