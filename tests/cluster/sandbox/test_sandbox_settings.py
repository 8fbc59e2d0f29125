"""The settings that the virtual cluster takes from its machine: values in, values out."""

import configparser
import sys
from pathlib import Path

import pytest

from tests.helpers.local import ROOT

sys.path.append(str(ROOT / "deploy"))

from sandbox.errors import BuildFailed
from sandbox.machine.host import pip_folders
from sandbox.machine.sources import deb822, find_mirror, one_line, Source
from sandbox.nodes.network import hosts
from sandbox.readiness import parse

DEB822 = """\
# written by a person
Types: deb deb-src
URIs: http://mirror.invalid/debian
# a line between
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/some.gpg

Types: deb-src
URIs: http://mirror.invalid/sources
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://mirror.invalid/off
Suites: bookworm
Components: main
"""


def test_deb822_sources_are_parsed() -> None:
    suites = ("bookworm", "bookworm-updates")
    keys = "/usr/share/keyrings/some.gpg"
    expected = Source("http://mirror.invalid/debian", suites, ("main", "contrib"), keys)
    assert list(deb822(DEB822)) == [expected]


def test_one_line_sources_are_parsed() -> None:
    text = """
        # deb http://mirror.invalid/commented bookworm main
        deb-src http://mirror.invalid/debian bookworm main
        deb [arch=amd64 signed-by=/etc/keys.gpg] http://mirror.invalid/debian bookworm main contrib
        deb [trusted=yes] http://mirror.invalid/other bookworm main # why
    """
    assert list(one_line(text)) == [
        Source("http://mirror.invalid/debian", ("bookworm",), ("main", "contrib"), "/etc/keys.gpg"),
        Source("http://mirror.invalid/other", ("bookworm",), ("main",), trusted=True),
    ]


def test_mirror_is_the_one_of_the_release() -> None:
    security = Source("http://mirror.invalid/security", ("bookworm-security",), ("main",))
    vendor = Source("http://vendor.invalid", ("stable",), ("main",))
    debian = Source("http://mirror.invalid/debian", ("bookworm",), ("main",))
    assert find_mirror([security, vendor, debian], "bookworm") == debian
    with pytest.raises(BuildFailed, match="no mirror of Debian"):
        find_mirror([security], "bookworm")


def test_pip_folders_include_indexes_and_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wheels", "index/simple", "with space"):
        (tmp_path / name).mkdir(parents=True)
    settings = configparser.RawConfigParser()
    settings["global"] = {
        "find-links": f"{tmp_path}/wheels {tmp_path}/gone http://mirror.invalid/wheels",
        "extra-index-url": f"file://{tmp_path}/index/simple",
    }
    monkeypatch.setenv("PIP_FIND_LINKS", f"file://{tmp_path}/with%20space")
    found = {path for path in pip_folders(settings) if tmp_path in path.parents}
    assert found == {tmp_path / "wheels", tmp_path / "index", tmp_path / "with space"}


def test_hosts_file_names_every_node() -> None:
    names = [line.split()[1] for line in hosts(["node1", "node2"]).splitlines()]
    assert names == ["localhost", "localhost", "login", "node1", "node2"]


def test_node_is_usable_once_registered() -> None:
    lines = """\
NodeName=node1 State=IDLE BootTime=None SlurmdStartTime=None Comment=
NodeName=node2 State=MIXED SlurmdStartTime=2026-01-01T00:00:00
NodeName=node3 State=IDLE+NOT_RESPONDING SlurmdStartTime=2026-01-01T00:00:00
"""
    usable = {name: found.usable for name, found in parse(lines).items()}
    assert usable == {"node1": False, "node2": True, "node3": False}
