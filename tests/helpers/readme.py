"""Tables in the README of a folder."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def section(file: str, heading: str) -> list[str]:
    """The lines below `## HEADING`, up to the next heading."""
    lines = (ROOT / file).read_text().splitlines()
    start = lines.index(f"## {heading}") + 1
    ends = (n for n, text in enumerate(lines) if n >= start and text.startswith("#"))
    return lines[start : next(ends, len(lines))]


def rows(file: str, heading: str) -> list[list[str]]:
    """The cells of each row of the section's table, without its heading."""
    table = [line for line in section(file, heading) if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
