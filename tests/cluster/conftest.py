"""A virtual Slurm cluster, deploy/sandbox, for the tests that need one.

They run after all others. Where no sandbox can be they are skipped; with CI_REQUIRE_CLUSTER in the
environment they fail instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.cluster import build_images, Cluster, running, SECONDS, why_not

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: HERE in item.path.parents)
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def machine() -> None:
    """A machine that can have a sandbox."""
    if reason := why_not():
        end = pytest.fail if os.environ.get("CI_REQUIRE_CLUSTER") else pytest.skip
        end(reason)


@pytest.fixture(scope="session")
def cluster(machine: None) -> Iterator[Cluster]:
    """Six nodes, and the project installed."""
    with running(f"test-{os.getpid()}", "--nodes", "6") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> None:
    """The three images are where the launcher looks for them."""
    build_images(cluster)
