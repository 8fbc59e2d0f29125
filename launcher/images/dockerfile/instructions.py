"""Reads the instructions of a Dockerfile, as Docker's own parser does. Pure.

https://docs.docker.com/reference/dockerfile/
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from launcher.errors import UsageError
from launcher.images.dockerfile.words import BadWord, literal, parse, resolve, split

KEYWORDS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
WITH_DOCUMENTS = ("ADD", "COPY", "RUN")
CONTINUED = re.compile(r"(?<!\\)\\[ \t]*$")
DIRECTIVE = re.compile(r"#\s*([a-zA-Z]\w*)\s*=\s*(.+?)\s*$")
FLAG = re.compile(r"""--([^\s=]+)(?:=((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])*))?(?:\s+|$)""")
DOCUMENT = re.compile(r"(\d*)<<(-?)\s*([^<]+)$")


class CannotConvert(UsageError):
    """What no image for Apptainer can be made of, with its line; `file` is added by who read it."""

    def __init__(self, line: int, what: str) -> None:
        self.line, self.what = line, what
        super().__init__(f"line {line} of the Dockerfile cannot be converted: {what}")


@dataclass(frozen=True)
class Document:
    """A here-document; `expands` unless its name is quoted, `chomps` leading tabs after <<-."""

    name: str
    expands: bool
    chomps: bool
    text: str = ""

    @property
    def content(self) -> str:
        return re.sub("(?m)^\t+", "", self.text) if self.chomps else self.text


@dataclass(frozen=True)
class Instruction:
    keyword: str
    flags: tuple[tuple[str, str], ...]
    value: str
    line: int
    documents: tuple[Document, ...] = ()

    def flag(self, name: str) -> str | None:
        return dict(self.flags).get(name)

    @property
    def array(self) -> list[str] | None:
        """The strings of the JSON form; what is not valid JSON is a command for the shell."""
        if not self.value.startswith("["):
            return None
        try:
            words = json.loads(self.value)
        except ValueError:
            return None
        if not all(isinstance(word, str) for word in words):
            raise CannotConvert(self.line, f"{self.value}: the JSON form consists of strings")
        return list(words)

    @property
    def words(self) -> list[str]:
        """The words of COPY, ADD and VOLUME."""
        return self.array if self.array is not None else self.value.split()

    @property
    def pairs(self) -> list[tuple[str, str | None]]:
        """The pairs of ENV, LABEL and ARG, KEY=VALUE or the old KEY VALUE; values keep their quotes."""
        words = split(self.value)
        if self.keyword != "ARG" and words and "=" not in words[0]:
            key, *rest = self.value.split(maxsplit=1)
            if not rest:
                raise CannotConvert(self.line, f"{self.keyword} {key} has no value")
            return [(key, rest[0])]
        found: list[tuple[str, str | None]] = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals and self.keyword != "ARG":
                raise CannotConvert(self.line, f"{self.keyword} {word} has no =")
            found.append((key, value if equals else None))
        return found


def read(text: str) -> list[Instruction]:
    """Raises `CannotConvert`, and `UsageError` without a FROM."""
    lines = enumerate(text.removeprefix("\ufeff").split("\n"), 1)
    instructions = []
    top = True
    for number, raw in lines:
        line = raw.strip()
        directive = DIRECTIVE.match(line)
        if top and directive and directive[1].lower() == "escape" and directive[2] != "\\":
            raise CannotConvert(number, "the escape directive")
        top = top and bool(directive)
        if line and not line.startswith("#"):
            instructions.append(_instruction(_continued(raw.lstrip(), lines), number, lines))
    if not any(instruction.keyword == "FROM" for instruction in instructions):
        raise UsageError("the Dockerfile has no FROM")
    return instructions


def _continued(first: str, lines: Iterator[tuple[int, str]]) -> str:
    """The line with those that it continues on, without comments and empty lines."""
    text, end = "", first.rstrip("\r")
    while found := CONTINUED.search(end):
        text += end[: found.start()]
        end = ""
        for _, raw in lines:
            if raw.strip() and not raw.lstrip().startswith("#"):
                end = raw.rstrip("\r")
                break
    return (text + end).strip()


def _instruction(text: str, line: int, lines: Iterator[tuple[int, str]]) -> Instruction:
    instruction = parse_instruction(text, line)
    body = instruction
    if instruction.keyword == "ONBUILD":
        body = parse_instruction(instruction.value, line)
    if body.keyword in WITH_DOCUMENTS and "<<" in body.value and body.array is None:
        documents = [_read(document, line, lines) for document in _documents(body.value)]
        instruction = replace(instruction, documents=tuple(documents))
    return instruction


def parse_instruction(text: str, line: int) -> Instruction:
    keyword, *rest = text.split(maxsplit=1)
    keyword = keyword.upper()
    if keyword not in KEYWORDS:
        raise CannotConvert(line, f"the instruction {keyword}")
    value = rest[0].strip() if rest else ""
    flags = []
    while found := FLAG.match(value):
        given = "true" if found[2] is None else literal(resolve(parse(found[2]), lambda _: None))
        flags.append((found[1], given or ""))
        value = value[found.end() :]
    if not value:
        raise CannotConvert(line, f"{keyword} without a value")
    return Instruction(keyword, tuple(flags), value, line)


def _documents(value: str) -> Iterator[Document]:
    for word in split(re.sub(r"<<[ \t]+", "<<", value)):
        if found := DOCUMENT.fullmatch(word):
            name = found[3]
            try:
                plain = literal(resolve(parse(name), lambda _: None)) or ""
            except BadWord:
                continue
            expands = plain.count("'") + plain.count('"') == name.count("'") + name.count('"')
            yield Document(plain, expands, bool(found[2]))


def _read(document: Document, line: int, lines: Iterator[tuple[int, str]]) -> Document:
    text = ""
    for _, raw in lines:
        end = raw.rstrip("\r")
        if (end.lstrip("\t") if document.chomps else end) == document.name:
            return replace(document, text=text)
        text += raw + "\n"
    raise CannotConvert(line, f"the here-document {document.name} has no end")
