"""The pages that are sampled: Envoy's counters, and the places of a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.envoy import admin
from launcher.sampling.sample import Sample
from launcher.system import http


def envoy_counters(target: Mapping[str, Any], timeout: float) -> Sample:
    pages = {url: Path(socket) for url, socket in target["pages"].items()}
    return admin.counters(pages, target["port"], timeout)


class PlacesPage:
    """The places of a server, and how many of its workers were replaced since the first reading."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self._pids: list[int] = []
        self._replaced = 0

    def __call__(self) -> Sample:
        page = http.get_json(self._url, self._timeout)
        workers = page["workers"]
        pids = [worker["pid"] for worker in workers]
        pairs = zip(self._pids, pids, strict=False)
        self._replaced += sum(before != now for before, now in pairs)
        self._pids = pids
        used = [worker["used"] for worker in workers]
        return {
            "used": page["used"],
            "free": page["free"],
            "limit": page["max_sessions"],
            "refused": page["refused"],
            "count": len(used),
            "most": max(used, default=0),
            "replaced": self._replaced,
            "workers": used,
        }
