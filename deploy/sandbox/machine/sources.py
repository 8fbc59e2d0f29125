"""Finds the Debian mirror of this machine in its apt sources."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import BuildFailed

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False

    @property
    def keyring(self) -> Path:
        """The key file. Keys inside the sources are assumed to be those of Debian."""
        return Path(self.signed_by) if self.signed_by.startswith("/") else KEYRING


def deb822(text: str) -> Iterator[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        fields = {name.lower(): value.strip() for name, value in pairs}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", ""),
                fields.get("trusted") == "yes",
            )


def one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if match:
            options = dict(
                option.split("=", 1) for option in shlex.split(match[1] or "") if "=" in option
            )
            yield Source(
                match[2],
                (match[3],),
                tuple(match[4].split()),
                options.get("signed-by", ""),
                options.get("trusted") == "yes",
            )


def find_mirror(sources: list[Source], codename: str) -> Source:
    """The source of Debian itself, without security updates and other vendors. Raises `BuildFailed`."""
    for suite in (codename, "stable", "testing", "sid", "unstable"):
        for source in sources:
            usable = source.uri.startswith(("http:", "https:", "file:"))
            if usable and suite in source.suites and "main" in source.components:
                return source
    raise BuildFailed(
        "no mirror of Debian in /etc/apt/sources.list or /etc/apt/sources.list.d; "
        f"add a source with the suite {codename} and the component main"
    )


def read_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    sources: list[Source] = []
    parts = sorted((apt / "sources.list.d").glob("*"))
    for file in [apt / "sources.list", *parts]:
        if file.suffix == ".list" and file.exists():
            sources += one_line(file.read_text())
        elif file.suffix == ".sources":
            sources += deb822(file.read_text())
    return sources
