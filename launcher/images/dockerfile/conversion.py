"""Converts the instructions of a stage to shell commands and an environment."""

import posixpath
import re
import shlex
from collections.abc import Callable

from launcher.images.dockerfile.copying import copy, mount
from launcher.images.dockerfile.draft import Draft, PUBLISHED_BASE, RUNTIME, STAGED
from launcher.images.dockerfile.instructions import CannotConvert, Instruction
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.stages import Stage
from launcher.images.dockerfile.words import (
    escaped,
    literal,
    Parts,
    quote,
    Reference,
    references,
    shell,
)

NAME = re.compile(r"[A-Za-z_]\w*")


def draft(stage: Stage, sources: Sources) -> Draft:
    """Raises `CannotConvert`."""
    made = Draft(stage, sources)
    if PUBLISHED_BASE.search(stage.image):
        made.folder = "/app"
        made.lines += ["mkdir -p '/app'", "cd '/app'"]
    for instruction in stage.instructions:
        _add(made, instruction)
    if made.lines:
        made.lines.insert(0, f". {RUNTIME}/environment_copy.sh")
    return made


def _add(draft: Draft, instruction: Instruction) -> None:
    # The others, such as EXPOSE and HEALTHCHECK, have no effect on an image for Apptainer.
    if convert := CONVERSIONS.get(instruction.keyword):
        convert(draft, instruction)


def _use_shell(draft: Draft, instruction: Instruction) -> None:
    if not instruction.array:
        raise CannotConvert(instruction.line, "SHELL in a form that is not JSON")
    draft.shell = instruction.array


def _start_with(draft: Draft, instruction: Instruction) -> None:
    if instruction.keyword == "CMD":
        draft.command = instruction
    else:
        draft.entrypoint = instruction


def _add_volumes(draft: Draft, instruction: Instruction) -> None:
    for word in instruction.words:
        path = draft.text(instruction, word)
        draft.volumes.append(path)
        draft.lines.append(f"mkdir -p {quote(path)}")


def _be(draft: Draft, instruction: Instruction) -> None:
    user = draft.text(instruction, instruction.value)
    draft.lines.append(f"openenv_user {quote(user.partition(':')[0])}")
    if user.partition(":")[0] not in ("root", "0"):
        draft.notes.append(f"USER {user} is ignored: an image runs as the user who starts it")


def _move(draft: Draft, instruction: Instruction) -> None:
    draft.folder = posixpath.join(draft.folder, draft.text(instruction, instruction.value))
    draft.lines += [f"mkdir -p {quote(draft.folder)}", f"cd {quote(draft.folder)}"]


def _label(draft: Draft, instruction: Instruction) -> None:
    for key, raw in instruction.pairs:
        name, value = draft.word(instruction, key), draft.word(instruction, raw or "")
        label = " ".join((literal(value) or "").split())
        # A line of %labels has a name without spaces, and a value.
        if label and (words := (literal(name) or "").split()) and "{{" not in label + words[0]:
            draft.labels["-".join(words)] = label


def _set_variables(draft: Draft, instruction: Instruction) -> None:
    """All values of one ENV see the variables from before it."""
    values = {key: draft.word(instruction, raw or "") for key, raw in instruction.pairs}
    for key, parts in values.items():
        if not NAME.fullmatch(key):
            raise CannotConvert(instruction.line, f"ENV {key}, a name that no shell can set")
        if unknown := references(parts) & draft.arguments.keys() - draft.variables.keys():
            raise CannotConvert(
                instruction.line, f"ENV {key}: only the base image knows {', '.join(unknown)}"
            )
    for key in _in_order(values, instruction):
        parts = values[key]
        assignment = f"{key}={shell(parts)}"
        draft.lines.append(f"export {assignment}")
        draft.environment.append(assignment)
        draft.variables[key] = parts if literal(parts) is not None else (Reference(key),)


def _in_order(values: dict[str, Parts], instruction: Instruction) -> list[str]:
    """Each variable is set after those whose values refer to it."""
    left, ordered = dict(values), []
    while left:
        for key in left:
            if not any(key in references(left[other]) for other in left if other != key):
                ordered.append(key)
                del left[key]
                break
        else:
            raise CannotConvert(instruction.line, f"ENV {' '.join(left)}, which swaps variables")
    return ordered


def _set_arguments(draft: Draft, instruction: Instruction) -> None:
    for name, default in instruction.pairs:
        _set_argument(draft, instruction, name, default)


def _set_argument(draft: Draft, instruction: Instruction, name: str, default: str | None) -> None:
    stage = draft.stage
    if name in stage.given:
        value: Parts = (stage.given[name],)
    elif default is not None:
        value = draft.word(instruction, default)
    elif name in stage.arguments:
        value = (stage.arguments[name],)
    else:
        return
    if name in draft.variables:  # an ENV always overrides an ARG
        return
    if not NAME.fullmatch(name):
        raise CannotConvert(instruction.line, f"ARG {name}, a name that no shell can set")
    draft.lines.append(f"export {name}={shell(value)}")
    draft.arguments[name] = value if literal(value) is not None else (Reference(name),)


def _end_arguments(draft: Draft, _: Instruction) -> None:
    for name in draft.arguments:
        draft.lines.append(f"unset {name}")
    draft.arguments.clear()


def _run(draft: Draft, instruction: Instruction) -> None:
    before: list[str] = []
    after: list[str] = []
    for name, value in instruction.flags:
        if name == "mount":
            mounted, path = mount(draft, instruction, value)
            before += mounted
            after.insert(0, f"openenv_show {path}")
        elif (name, value) not in (("network", "default"), ("network", "host")):
            raise CannotConvert(instruction.line, f"RUN --{name}={value}")
    draft.lines += [*before, _command(draft, instruction), *after]


def _command(draft: Draft, instruction: Instruction) -> str:
    if instruction.array is not None:
        return " ".join(map(quote_if_needed, instruction.array))
    interpreter = " ".join(map(quote_if_needed, draft.shell))
    documents = instruction.documents
    text = instruction.value
    if len(documents) == 1 and re.fullmatch(r"<<\s*\S+", text):
        text = documents[0].content
        if text.startswith("#!"):
            place = f"{STAGED}/{documents[0].name}"
            write = f"openenv_write {quote(place)} {quote(escaped(text))}"
            return f"{write}; chmod 755 {quote(place)}; {quote(place)}"
    else:
        text += "".join(f"\n{document.text}{document.name}" for document in documents)
    return f"{interpreter} {quote(text)}"


def quote_if_needed(word: str) -> str:
    return quote(word) if shlex.quote(word) != word else word


CONVERSIONS: dict[str, Callable[[Draft, Instruction], None]] = {
    "ADD": copy,
    "ARG": _set_arguments,
    "CMD": _start_with,
    "COPY": copy,
    "ENTRYPOINT": _start_with,
    "ENV": _set_variables,
    # where the instructions of another stage end that this one starts from
    "FROM": _end_arguments,
    "LABEL": _label,
    "RUN": _run,
    "SHELL": _use_shell,
    "USER": _be,
    "VOLUME": _add_volumes,
    "WORKDIR": _move,
}
