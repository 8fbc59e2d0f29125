"""The stages of a Dockerfile that its last one needs, and the values of ARGs before the first FROM. Pure."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from launcher.images.dockerfile.instructions import CannotConvert, Instruction, parse_instruction
from launcher.images.dockerfile.words import BadWord, constant, literal, parse, resolve

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


@dataclass(frozen=True)
class Stage:
    """`image` is its base; `needs` names the stages that it copies from; `arguments` are the values of
    ARGs that hold for every stage, and `given` those that the user chose."""

    name: str
    image: str
    line: int = 0
    instructions: tuple[Instruction, ...] = ()
    needs: frozenset[str] = field(default=frozenset())
    arguments: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)


def platform() -> dict[str, str]:
    """https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope"""
    machine = os.uname().machine
    architecture = ARCHITECTURES.get(machine, machine)
    values = {"PLATFORM": f"linux/{architecture}", "OS": "linux", "ARCH": architecture}
    return {f"{of}{name}": v for of in ("TARGET", "BUILD") for name, v in values.items()}


def stages(instructions: Sequence[Instruction], given: Mapping[str, str]) -> list[Stage]:
    """The last stage, after those that it needs. `given` are values of ARGs. Raises `CannotConvert`."""
    found = _Stages(given)
    for instruction in instructions:
        found.add(instruction)
    return found.needed(found.named[-1])


class _Stages:
    """The stages so far: those of a FROM in order, and the images that COPY --from names."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given, self._common = given, platform()
        self.named: list[str] = []
        self._known: dict[str, Stage] = {}

    def add(self, instruction: Instruction) -> None:
        if instruction.keyword == "FROM":
            stage = self._start(instruction)
            self.named.append(stage.name)
        elif self.named:
            stage = self._with(self._known[self.named[-1]], instruction)
        elif instruction.keyword == "ARG":
            self._add_common(instruction)
            return
        else:
            raise CannotConvert(instruction.line, f"{instruction.keyword} before the first FROM")
        self._known[stage.name] = stage

    def needed(self, name: str) -> list[Stage]:
        ordered: dict[str, Stage] = {}
        for other in sorted(self._known[name].needs):
            ordered |= {stage.name: stage for stage in self.needed(other)}
        return [*ordered.values(), self._known[name]]

    def _add_common(self, instruction: Instruction) -> None:
        for name, default in instruction.pairs:
            if name in self._given:
                self._common[name] = self._given[name]
            elif default is not None:
                self._common[name] = self._expand(instruction, default)

    def _expand(self, instruction: Instruction, word: str) -> str:
        try:
            return literal(resolve(parse(word), constant(self._common))) or ""
        except BadWord as failure:
            raise CannotConvert(
                instruction.line, f"{instruction.keyword} {word}: {failure}"
            ) from None

    def _start(self, instruction: Instruction) -> Stage:
        line, here = instruction.line, self._common["TARGETPLATFORM"]
        for flag, value in instruction.flags:
            wanted = self._expand(instruction, value)
            if (flag, wanted) != ("platform", here):
                raise CannotConvert(line, f"FROM --{flag}={wanted}; this machine is {here}")
        written, *rest = instruction.value.split()
        if rest and (len(rest) != 2 or rest[0].lower() != "as"):
            raise CannotConvert(line, f"FROM {instruction.value}, which is not FROM IMAGE AS NAME")
        name = rest[1].lower() if rest else f"stage-{len(self.named)}"
        image = self._expand(instruction, written)
        if not image:
            raise CannotConvert(line, f"FROM {instruction.value}; set it with --build-arg")
        if image == "scratch":
            raise CannotConvert(line, "FROM scratch, which has no shell")
        stage = Stage(name, image, line, arguments=dict(self._common), given=self._given)
        return self._continue(stage) if image.lower() in self.named else stage

    def _continue(self, stage: Stage) -> Stage:
        """In Apptainer no stage can start from another one, so the instructions of that one are repeated,
        and then those that its ONBUILDs ask for."""
        base = self._known[stage.image.lower()]
        kept = [each for each in base.instructions if each.keyword != "ONBUILD"]
        end = Instruction("FROM", (), base.name, stage.line)
        instructions = (*kept, end)
        stage = replace(stage, image=base.image, instructions=instructions, needs=base.needs)
        for trigger in base.instructions:
            if trigger.keyword == "ONBUILD":
                asked = parse_instruction(trigger.value, trigger.line)
                stage = self._with(stage, replace(asked, documents=trigger.documents))
        return stage

    def _with(self, stage: Stage, instruction: Instruction) -> Stage:
        sources = {each: _source(*each) for each in instruction.flags}
        names = {s: self._name(s, instruction.line) for s in sources.values() if s is not None}
        flags = tuple(_renamed(*each, source, names) for each, source in sources.items())
        added = replace(instruction, flags=flags)
        needs = stage.needs | set(names.values())
        return replace(stage, instructions=(*stage.instructions, added), needs=needs)

    def _name(self, source: str, line: int) -> str:
        """The stage with this name or number; an image that is none becomes one."""
        earlier = self.named[:-1]
        if source.isdecimal() and int(source) < len(earlier):
            return earlier[int(source)]
        if source.lower() in earlier:
            return source.lower()
        name = "image-" + re.sub(r"[^a-z0-9]+", "-", source.lower())
        self._known.setdefault(name, Stage(name, source, line))
        return name


def _source(flag: str, value: str) -> str | None:
    if flag == "mount":
        return dict(part.partition("=")[::2] for part in value.split(",")).get("from")
    return value if flag == "from" else None


def _renamed(
    flag: str, value: str, source: str | None, names: Mapping[str, str]
) -> tuple[str, str]:
    if source is None:
        return flag, value
    if flag == "from":
        return flag, names[source]
    return flag, value.replace(f"from={source}", f"from={names[source]}")
