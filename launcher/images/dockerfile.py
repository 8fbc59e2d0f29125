"""Parses a Dockerfile into stages, and quotes its words for a shell. Pure.

https://docs.docker.com/reference/dockerfile/
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from launcher.errors import UsageError

KEYWORDS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
FLAG = re.compile(r"--([a-z]+)(?:=(\S+))?\s+")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
WORD = re.compile(r"""((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+)""")
PIECE = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|([^'"\\]+)""")


class CannotConvert(UsageError):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line} of the Dockerfile cannot be converted: {what}")


@dataclass(frozen=True)
class Instruction:
    """`values` are those of an ARG."""

    keyword: str
    flags: tuple[tuple[str, str], ...]
    value: str
    line: int
    values: Mapping[str, str] = field(default_factory=dict)

    def flag(self, name: str) -> str | None:
        return dict(self.flags).get(name)

    @property
    def words(self) -> list[str]:
        """The words of the value, with their quotes."""
        return self.array if self.array is not None else WORD.findall(self.value)

    @property
    def array(self) -> list[str] | None:
        if not self.value.startswith("["):
            return None
        try:
            return [str(word) for word in json.loads(self.value)]
        except ValueError:
            return None


@dataclass(frozen=True)
class Stage:
    """`image` is its base; `needs` names the stages that it copies from."""

    name: str
    image: str
    instructions: tuple[Instruction, ...] = ()
    needs: frozenset[str] = field(default=frozenset())


def read(text: str) -> list[Instruction]:
    """Raises `CannotConvert`, and `UsageError` without a FROM."""
    instructions = []
    start, pending = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip() if not pending else raw.rstrip()
        if re.match(r"#\s*escape\s*=\s*[^\\\s]", line, re.IGNORECASE):
            raise CannotConvert(number, "the escape directive")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start if pending else number
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        instructions.append(_instruction(pending + line, start))
        pending = ""
    if pending:
        instructions.append(_instruction(pending, start))
    if not any(instruction.keyword == "FROM" for instruction in instructions):
        raise UsageError("the Dockerfile has no FROM")
    return instructions


def _instruction(text: str, line: int) -> Instruction:
    keyword, _, value = text.partition(" ")
    keyword, value = keyword.upper(), value.strip()
    if keyword not in KEYWORDS:
        raise CannotConvert(line, f"the instruction {keyword}")
    if "{{" in text:
        raise CannotConvert(line, "{{, which Apptainer reads as a build argument")
    if keyword in ("RUN", "COPY", "ADD") and re.search(r"<<-?[\"']?\w", value):
        raise CannotConvert(line, "a here-document; put its text into a file")
    flags = []
    while keyword in ("RUN", "COPY", "ADD", "FROM") and (flag := FLAG.match(value)):
        flags.append((flag[1], flag[2] or "true"))
        value = value[flag.end() :]
    return Instruction(keyword, tuple(flags), value, line)


def expand(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[1] or match[2]) or match[3] or "", text)


def stages(instructions: Sequence[Instruction], given: Mapping[str, str]) -> list[Stage]:
    """The last stage, after those that it needs. `given` are values of ARGs; `common` are those of the
    ARGs before the first FROM. Raises `CannotConvert`."""
    known: dict[str, Stage] = {}
    common: dict[str, str] = {}
    stage: Stage | None = None
    for instruction in instructions:
        if instruction.keyword == "FROM":
            stage = _stage(instruction, common, known)
        elif stage is None:
            common |= _argument(instruction, given, common)
        else:
            values = _argument(instruction, given, common)
            stage = _with(stage, replace(instruction, values=values), known)
        if stage is not None:
            known[stage.name] = stage
    assert stage is not None
    return _needed(stage, known)


def expand_known(text: str, values: Mapping[str, str]) -> str:
    """Expands these variables only, and leaves the others to the shell."""
    return VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), text)


def _argument(
    instruction: Instruction, given: Mapping[str, str], common: Mapping[str, str]
) -> dict[str, str]:
    """The values of an ARG: the given one, its default, or the one from before the first FROM."""
    values: dict[str, str] = {}
    if instruction.keyword != "ARG":
        return values
    for word in WORD.findall(instruction.value):
        name, equals, default = word.partition("=")
        if name in given:
            values[name] = given[name]
        elif equals:
            values[name] = expand(default.strip("\"'"), {**common, **values})
        elif name in common:
            values[name] = common[name]
    return values


def _stage(instruction: Instruction, values: Mapping[str, str], known: dict[str, Stage]) -> Stage:
    image, *rest = instruction.value.split()
    image = expand(image, values)
    name = rest[1].lower() if len(rest) == 2 else f"stage-{len(known)}"
    if not image:
        raise CannotConvert(instruction.line, f"{instruction.value}; set it with --build-arg")
    if image == "scratch":
        raise CannotConvert(instruction.line, "FROM scratch, which has no shell")
    if image.lower() in known:
        # In Apptainer no stage can start from another one, so its instructions are repeated.
        return replace(known[image.lower()], name=name)
    return Stage(name, image)


def _with(stage: Stage, instruction: Instruction, known: dict[str, Stage]) -> Stage:
    """The stage with another instruction. An image that it copies from becomes a stage."""
    source = instruction.flag("from")
    if source is None:
        return replace(stage, instructions=(*stage.instructions, instruction))
    names = list(known)
    name = names[int(source)] if source.isdecimal() and int(source) < len(names) else source.lower()
    if name not in known:
        name = "image-" + re.sub(r"[^a-z0-9]+", "-", source.lower())
        known[name] = Stage(name, source)
    flags = tuple((key, name if key == "from" else value) for key, value in instruction.flags)
    instructions = (*stage.instructions, replace(instruction, flags=flags))
    return replace(stage, instructions=instructions, needs=stage.needs | {name})


def _needed(stage: Stage, known: Mapping[str, Stage]) -> list[Stage]:
    ordered: dict[str, Stage] = {}
    for name in sorted(stage.needs):
        ordered |= {needed.name: needed for needed in _needed(known[name], known)}
    return [*ordered.values(), stage]


def pairs(value: str) -> dict[str, str]:
    """The pairs of ENV or LABEL, KEY=VALUE or the old KEY VALUE; values keep their quotes."""
    words = WORD.findall(value)
    if words and "=" not in words[0]:
        key, _, rest = value.partition(" ")
        return {key: rest.strip()}
    return {key: text for key, _, text in (word.partition("=") for word in words)}


def shell_word(raw: str) -> str:
    """Quotes a word of a Dockerfile so that a shell expands its $VARIABLEs and nothing else."""
    return '"' + "".join(_piece(match) for match in PIECE.finditer(raw)) + '"'


def shell_pattern(raw: str) -> str:
    """Quotes a path so that a shell also expands * and ?."""
    return re.sub(r"([*?]+)", r'"\1"', shell_word(raw))


def _piece(match: re.Match[str]) -> str:
    single, double, escaped, plain = match.groups()
    if single is not None:
        return re.sub(r'([\\"$`])', r"\\\1", single)
    if escaped is not None:
        return f"\\{escaped}" if escaped in '\\"$`' else str(escaped)
    text = str(plain if plain is not None else double)
    return re.sub(r"`|\$(?=\()", lambda special: "\\" + special[0], text)
