"""A virtual Slurm cluster (deploy/sandbox) for the tests that need one. They run after all others. They are
skipped where a sandbox cannot run; with CI_REQUIRE_CLUSTER in the environment they fail instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.cluster import build_images, Cluster, obstacle, running, SECONDS

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: HERE in item.path.parents)
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def machine() -> None:
    """Skips or fails unless a sandbox can run on this machine."""
    if reason := obstacle():
        end = pytest.fail if os.environ.get("CI_REQUIRE_CLUSTER") else pytest.skip
        end(reason)


@pytest.fixture(scope="session")
def cluster(machine: None) -> Iterator[Cluster]:
    """Six nodes with the project installed."""
    with running(f"test-{os.getpid()}", "--nodes", "6") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> None:
    """The three images, built in the launcher's default folder."""
    build_images(cluster)
