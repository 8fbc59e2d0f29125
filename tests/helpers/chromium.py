"""Headless Chromium, none of whose processes outlives a test."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from selenium import webdriver

from tests.helpers.local import MARK, processes_of

BROWSER_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
]


@contextlib.contextmanager
def browsing(folder: Path, *options: str) -> Iterator[webdriver.Chrome]:
    """Starts Chromium with a new profile in `folder` and these additional options."""
    wanted = webdriver.ChromeOptions()
    wanted.binary_location = program("chromium")
    for option in (*BROWSER_OPTIONS, f"--user-data-dir={folder / 'browser'}", *options):
        wanted.add_argument(option)
    wanted.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    mark = f"browser-{folder}"
    service = webdriver.ChromeService(program("chromedriver"), env=os.environ | {MARK: mark})
    try:
        with webdriver.Chrome(wanted, service) as driver:
            yield driver
    finally:
        # Its child processes exit on their own, shortly after it.
        _, left = psutil.wait_procs(processes_of(mark), timeout=10)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is not installed; run: apt-get install chromium chromium-driver"
    return found
