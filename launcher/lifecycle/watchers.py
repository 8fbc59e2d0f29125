"""What is looked at while a deployment stands: whom Envoy counts, and whether anybody waits."""

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from launcher.envoy import admin
from launcher.system.signals import Interrupted

LOOK_SECONDS = 1.0
BEAT_SECONDS = 1.0


class Backends:
    """Reports when Envoy counts a node out, and when it counts it in again."""

    def __init__(
        self, admin_urls: Sequence[str], expected: int, report: Callable[[str], None]
    ) -> None:
        """All Envoy processes find the same, but not at the same moment: the first one that answers
        speaks for all."""
        self._admin_urls, self._report = admin_urls, report
        self._healthy = expected
        self._sick: set[str] = set()
        self._next = 0.0

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        for admin_url in self._admin_urls:
            try:
                self._look_at(admin_url)
                return
            except (OSError, ValueError):
                continue  # this Envoy is being replaced

    def _look_at(self, admin_url: str) -> None:
        healthy = admin.healthy(admin_url)
        if healthy == self._healthy:
            return
        sick = {b.node for b in admin.backends(admin_url) if not b.healthy}
        self._healthy = healthy
        if sick - self._sick:
            self._report(f"Envoy counts {_names(sick - self._sick)} as not healthy")
        if self._sick - sick:
            self._report(f"Envoy counts {_names(self._sick - sick)} as healthy again")
        self._sick = sick


class Attached:
    """Somebody waits as long as the file's time goes on changing."""

    def __init__(self, beat: Path, patience: float) -> None:
        """`patience` is in seconds."""
        self._beat, self._patience = beat, patience
        self._seen = 0
        self._since = time.monotonic()

    def look(self) -> None:
        """Raises `Interrupted`."""
        try:
            now = self._beat.stat().st_mtime_ns
        except OSError:
            now = 0
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        elif time.monotonic() - self._since > self._patience:
            raise Interrupted(signal.SIGHUP)


def _names(nodes: set[str]) -> str:
    return ", ".join(sorted(nodes))
