"""The page of a report: sections of sentences, figures and tables, rendered into one file."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from analysis.report.formatting import listed, plural
from analysis.report.series import Curve, Line, Panel, records
from analysis.results.folder import Results


@dataclass(frozen=True)
class Row:
    cells: Sequence[str]
    bad: bool = False


@dataclass(frozen=True)
class Table:
    heads: Sequence[str]
    rows: Sequence[Row]
    numeric: frozenset[int] = frozenset()
    caption: str = ""
    id: str = ""


@dataclass(frozen=True)
class Drawn:
    name: str
    svg: str
    caption: str
    alt: str
    number: int = 0


@dataclass(frozen=True)
class Part:
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    parts: Sequence[Part] = ()


@dataclass(frozen=True)
class Content:
    results: Sequence[Results]
    panels: Sequence[Panel]
    ceilings: Sequence[Line]
    scaling: Sequence[Line]
    criterion: str
    output: Path
    curves: Sequence[Curve] = ()
    caveats: Sequence[str] = ()

    @property
    def lines(self) -> list[Line]:
        several = len(self.results) > 1
        return [
            line | ({"folder": one.name} if several else {})
            for one in self.results
            for line in records(one.summary)
        ]


def template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report"),
        undefined=jinja2.StrictUndefined,
        autoescape=name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tied": tied, "basename": os.path.basename}
    return environment.get_template(name)


def render(content: Content, sections: Sequence[Section]) -> str:
    runs = ", ".join(sorted({str(one.run.get("run_id", "unknown")) for one in content.results}))
    return template("report.html.j2").render(
        title=f"Report: {_title(content)}",
        subtitle=f"{plural(len(content.lines), 'cell')} of run {runs}. Criterion: {content.criterion}.",
        sections=sections,
    )


def _title(content: Content) -> str:
    names = listed([one.name for one in content.results])
    if len(content.results) == 1:
        return names
    return f"{content.output.absolute().name} ({names})"


def tied(sentence: str) -> str:
    return re.sub(r"(?<=\d) (?=(?:%|s)(?!\w))", "\u00a0", sentence)
