"""A Dockerfile: its instructions, its stages, and its words in the shell's writing. Pure."""

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
        super().__init__(f"line {line} of the Dockerfile cannot become part of an image: {what}")


@dataclass(frozen=True)
class Instruction:
    keyword: str
    flags: tuple[tuple[str, str], ...]
    value: str
    line: int
    values: Mapping[str, str] = field(default_factory=dict)
    """An ARG's."""

    def flag(self, name: str) -> str | None:
        return dict(self.flags).get(name)

    @property
    def words(self) -> list[str]:
        """What is copied and where to; an argv. Each as it stands in the Dockerfile."""
        return self.array if self.array is not None else WORD.findall(self.value)

    @property
    def array(self) -> list[str] | None:
        """The value in JSON's writing, if it is in that."""
        if not self.value.startswith("["):
            return None
        try:
            return [str(word) for word in json.loads(self.value)]
        except ValueError:
            return None


@dataclass(frozen=True)
class Stage:
    """A stage: the image it begins with, and what is done in it."""

    name: str
    image: str
    instructions: tuple[Instruction, ...] = ()
    needs: frozenset[str] = field(default=frozenset())


def read(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, continued lines joined. Raises `CannotConvert`."""
    instructions = []
    begun, pending = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip() if not pending else raw.rstrip()
        if re.match(r"#\s*escape\s*=\s*[^\\\s]", line, re.IGNORECASE):
            raise CannotConvert(number, "an escape character of its own")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begun = begun if pending else number
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        instructions.append(_instruction(pending + line, begun))
        pending = ""
    if pending:
        instructions.append(_instruction(pending, begun))
    if not any(instruction.keyword == "FROM" for instruction in instructions):
        raise UsageError("the Dockerfile has no FROM")
    return instructions


def _instruction(text: str, line: int) -> Instruction:
    keyword, _, value = text.partition(" ")
    keyword, value = keyword.upper(), value.strip()
    if keyword not in KEYWORDS:
        raise CannotConvert(line, f"the instruction {keyword}")
    if "{{" in text:
        raise CannotConvert(line, "{{, which Apptainer takes for a build argument")
    if keyword in ("RUN", "COPY", "ADD") and re.search(r"<<-?[\"']?\w", value):
        raise CannotConvert(line, "a here-document; put its text into a file")
    flags = []
    while keyword in ("RUN", "COPY", "ADD", "FROM") and (found := FLAG.match(value)):
        flags.append((found[1], found[2] or "true"))
        value = value[found.end() :]
    return Instruction(keyword, tuple(flags), value, line)


def expand(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: values.get(found[1] or found[2]) or found[3] or "", text)


def stages(instructions: Sequence[Instruction], given: Mapping[str, str]) -> list[Stage]:
    """The stages that the last one needs, and it. `given` are values of ARGs."""
    found: dict[str, Stage] = {}
    common: dict[str, str] = {}
    stage: Stage | None = None
    for instruction in instructions:
        if instruction.keyword == "FROM":
            stage = _stage(instruction, common, found)
        elif stage is None:
            common |= _argument(instruction, given, common)
        else:
            values = _argument(instruction, given, common)
            stage = _with(stage, replace(instruction, values=values), found)
        if stage is not None:
            found[stage.name] = stage
    assert stage is not None
    return _needed(stage, found)


def expand_known(text: str, values: Mapping[str, str]) -> str:
    """The same of these variables only; what else there is stays for the shell."""
    return VARIABLE.sub(lambda found: values.get(found[1] or found[2], found[0]), text)


def _argument(
    instruction: Instruction, given: Mapping[str, str], common: Mapping[str, str]
) -> dict[str, str]:
    """The values of an ARG: as given, else as it says, else as said before the first FROM."""
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


def _stage(instruction: Instruction, values: Mapping[str, str], found: dict[str, Stage]) -> Stage:
    image, *rest = instruction.value.split()
    image = expand(image, values)
    name = rest[1].lower() if len(rest) == 2 else f"stage-{len(found)}"
    if not image:
        raise CannotConvert(instruction.line, f"{instruction.value}: give it with --build-arg")
    if image == "scratch":
        raise CannotConvert(instruction.line, "FROM scratch: there is no shell to run anything")
    if image.lower() in found:
        # Apptainer begins no stage with another one: what is done there is done again.
        return replace(found[image.lower()], name=name)
    return Stage(name, image)


def _with(stage: Stage, instruction: Instruction, found: dict[str, Stage]) -> Stage:
    """The stage with one instruction more. An image that is copied from becomes a stage."""
    source = instruction.flag("from")
    if source is None:
        return replace(stage, instructions=(*stage.instructions, instruction))
    known = list(found)
    name = known[int(source)] if source.isdecimal() and int(source) < len(known) else source.lower()
    if name not in found:
        name = "image-" + re.sub(r"[^a-z0-9]+", "-", source.lower())
        found[name] = Stage(name, source)
    flags = tuple((key, name if key == "from" else value) for key, value in instruction.flags)
    instructions = (*stage.instructions, replace(instruction, flags=flags))
    return replace(stage, instructions=instructions, needs=stage.needs | {name})


def _needed(stage: Stage, found: Mapping[str, Stage]) -> list[Stage]:
    """A stage after all that it copies from."""
    ordered: dict[str, Stage] = {}
    for name in sorted(stage.needs):
        ordered |= {before.name: before for before in _needed(found[name], found)}
    return [*ordered.values(), stage]


def pairs(value: str) -> dict[str, str]:
    """KEY=VALUE words, or the old KEY VALUE, as in ENV and LABEL; values as they stand there."""
    words = WORD.findall(value)
    if words and "=" not in words[0]:
        key, _, rest = value.partition(" ")
        return {key: rest.strip()}
    return {key: text for key, _, text in (word.partition("=") for word in words)}


def shell_word(raw: str) -> str:
    """A word of a Dockerfile in double quotes: $VARIABLE is replaced, nothing else happens to it."""
    return '"' + "".join(_piece(found) for found in PIECE.finditer(raw)) + '"'


def shell_pattern(raw: str) -> str:
    """The same of a path that may hold * and ?."""
    return re.sub(r"([*?]+)", r'"\1"', shell_word(raw))


def _piece(found: re.Match[str]) -> str:
    single, double, escaped, plain = found.groups()
    if single is not None:
        return re.sub(r'([\\"$`])', r"\\\1", single)
    if escaped is not None:
        return f"\\{escaped}" if escaped in '\\"$`' else str(escaped)
    text = str(plain if plain is not None else double)
    return re.sub(r"`|\$(?=\()", lambda special: "\\" + special[0], text)
