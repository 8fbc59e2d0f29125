"""The Debian mirror of this machine, from its apt sources; see sources.list(5)."""

import re
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import UsageError

SUITES = {"bookworm", "trixie", "forky", "stable", "testing", "unstable", "sid"}


def find_mirror(apt: Path = Path("/etc/apt")) -> str:
    """Raises `UsageError` if there is none, as on machines without Debian."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text(errors="replace")
            for url, suites in (deb822 if file.suffix == ".sources" else one_line)(text):
                if suites & SUITES and re.match("https?:|file:", url):
                    return url
    raise UsageError(
        "this machine's apt sources name no Debian mirror to build a base from; choose one with "
        "--mirror URL, or a base with --base PATH or REFERENCE"
    )


def deb822(text: str) -> Iterator[tuple[str, set[str]]]:
    """The mirrors of a `.sources` file that have Debian's main component, with their suites."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", lines):
        pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        fields = {name.lower(): set(value.split()) for name, value in pairs}
        on = "no" not in fields.get("enabled", ())
        if on and "deb" in fields.get("types", ()) and "main" in fields.get("components", ()):
            for url in fields.get("uris", ()):
                yield url, fields.get("suites", set())


def one_line(text: str) -> Iterator[tuple[str, set[str]]]:
    for url, suite, components in re.findall(
        r"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)\s+([^#\n]*)", text, re.MULTILINE
    ):
        if "main" in components.split():
            yield url, {suite}
