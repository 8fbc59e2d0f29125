"""The conversion of one stage so far: its shell commands, its environment and its variables."""

import re
from dataclasses import dataclass, field

from launcher.images import host
from launcher.images.dockerfile.instructions import CannotConvert, Instruction
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.stages import Stage
from launcher.images.dockerfile.words import (
    BadWord,
    literal,
    parse,
    Parts,
    Reference,
    references,
    resolve,
)

RUNTIME = "/mnt/runtime"
STAGED = "/.openenv-stages"
# OpenEnv's base of environments, under whatever registry and tag, and under the name that it had before.
PUBLISHED_BASE = re.compile(r"(^|/)(openenv|envtorch)-base(?=[:@]|$)")
# Variables that a shell has, or a build of ours, but no image.
UNSET = {
    *("HOME", "PWD", "OLDPWD", "SHLVL", "HOSTNAME", "USER", "LOGNAME", "TERM"),
    *(*host.BUNDLE_VARIABLES, "PIP_CONFIG_FILE", "UV_DEFAULT_INDEX"),
    *(name for each in host.PROXY_VARIABLES for name in (each, each.upper())),
}


@dataclass
class Draft:
    """The conversion of a stage. `staged` lists copies from other stages: the stage, the path in it, and the
    path where the copy waits for its COPY. `variables` are those of ENV, `arguments` those of ARG; a
    value that only the build knows is a reference to itself."""

    stage: Stage
    sources: Sources
    lines: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    staged: list[tuple[str, str, str]] = field(default_factory=list)
    variables: dict[str, Parts] = field(default_factory=dict)
    arguments: dict[str, Parts] = field(default_factory=dict)
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    folder: str = "/"
    entrypoint: Instruction | None = None
    command: Instruction | None = None

    def lookup(self, name: str) -> Parts | None:
        for values in (self.variables, self.arguments):
            if name in values:
                return values[name]
        return None if name in UNSET else (Reference(name),)

    def word(self, instruction: Instruction, text: str, *, quotes: bool = True) -> Parts:
        try:
            return resolve(parse(text, quotes=quotes), self.lookup)
        except BadWord as failure:
            raise CannotConvert(instruction.line, f"{instruction.keyword} {failure}") from None

    def text(self, instruction: Instruction, text: str, *, quotes: bool = True) -> str:
        """A word that must be known before the build."""
        parts = self.word(instruction, text, quotes=quotes)
        found = literal(parts)
        if found is None:
            names = ", ".join(sorted(references(parts)))
            raise CannotConvert(
                instruction.line, f"{instruction.keyword} {text}: only the base image knows {names}"
            )
        return found
