"""Converts the stages of a Dockerfile to an Apptainer definition that contains our server.

spython parses and writes. It gets a rewritten Dockerfile: each instruction is one line, each stage has a
name, and everything that it would convert incorrectly is written as shell commands, namely unnamed stages,
the destinations of COPY, ENV as seen by RUN, commands as JSON arrays, and HEALTHCHECK.
"""

import posixpath
import re
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.images.dockerfile import (
    CannotConvert,
    expand_known,
    Instruction,
    pairs,
    shell_pattern,
    shell_word,
    Stage,
)

CONTEXT = "/mnt/context"
RUNTIME = "/mnt/runtime"
STAGED = "/.openenv-stages"
APP = re.compile(r"uvicorn\s[^;&|]*?\b([A-Za-z_][\w.]*:[A-Za-z_]\w*)")
COPIES = ("COPY", "ADD")
ARCHIVE = re.compile(r"\.(tar|tgz|tbz2?|txz|tar\.\w+)$")


@dataclass
class Draft:
    """The conversion of one stage. `staged` lists copies from other stages: the stage, the path in it, and
    the path where the copy waits for its COPY."""

    lines: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    shell: str = "/bin/sh -c"
    folder: str = "/"
    command: str = ""
    notes: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    staged: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Definition:
    text: str
    app: str | None
    notes: tuple[str, ...]


def define(stages: list[Stage], app: str | None = None) -> Definition:
    """The definition of an environment's image; `app` overrides the one that its command starts. Raises
    `CannotConvert`."""
    from spython.main.parse.writers import SingularityWriter  # type: ignore[import-untyped]

    drafts = {stage.name: _draft(stage) for stage in stages}
    last = stages[-1]
    if app is None and (match := APP.search(drafts[last.name].command)):
        app = match[1]
    recipe = _read(stages, drafts)
    _serve(recipe[last.name], drafts[last.name], app)
    runscript = f'exec python -P -m benchmark.server{_option(app)} "$@"'
    text: str = SingularityWriter(recipe).convert(runscript=runscript, force=True)
    header = f"Bootstrap: docker\nFrom: {last.image}\n"
    text = text.replace(header, "Bootstrap: {{ BOOTSTRAP }}\nFrom: {{ BASE }}\n") + "\n"
    return Definition(text, app, tuple(drafts[last.name].notes))


def _option(app: str | None) -> str:
    return f" --app {shlex.quote(app)}" if app else ""


def _serve(final: Any, draft: Draft, app: str | None) -> None:
    final.install.append(f"sh {RUNTIME}/environment_server.sh")
    final.environ.append(f"PYTHONPATH={_python_path(draft)}")
    final.labels = [
        ["org.opencontainers.image.version", "{{ VERSION }}"],
        ["openenv-slurm.sources", "{{ SOURCES }}"],
        *([["openenv-slurm.app", app]] if app else []),
    ]
    final.test = [f"exec python -P /opt/openenv/check.py{_option(app)}"] if app else None
    final.workdir = None


def _read(stages: list[Stage], drafts: dict[str, Draft]) -> dict[str, Any]:
    from spython.main.parse.parsers import DockerParser  # type: ignore[import-untyped]

    lines = []
    for number, stage in enumerate(stages):
        lines += [f"FROM image-{number} AS {stage.name}", *drafts[stage.name].lines]
    with tempfile.TemporaryDirectory(prefix="openenv-dockerfile-") as folder:
        file = Path(folder, "Dockerfile")
        file.write_text("\n".join(lines) + "\n")
        recipe: dict[str, Any] = DockerParser(str(file)).recipe
    for stage in stages:
        recipe[stage.name].fromHeader = stage.image
        recipe[stage.name].environ = list(drafts[stage.name].environment)
        for source, path, into in drafts[stage.name].staged:
            files = recipe[stage.name].layer_files.setdefault(source, [])
            files.append([f'"{name}"' if " " in name else name for name in (path, into)])
    return recipe


def _python_path(draft: Draft) -> str:
    """The working folder of the image's command, where it finds its modules."""
    moved = re.match(r"(?:\S*sh -c\s+)?['\"]?\s*cd\s+([^\s;&]+)", draft.command)
    folder = posixpath.join(draft.folder, moved[1]) if moved else draft.folder
    return f'"${{PYTHONPATH:+$PYTHONPATH:}}{folder}"'


def _draft(stage: Stage) -> Draft:
    draft = Draft()
    if any(instruction.keyword in COPIES for instruction in stage.instructions):
        draft.lines.append(f"RUN . {RUNTIME}/environment_copy.sh")
    for instruction in stage.instructions:
        if instruction.keyword != "FROM":
            _add(draft, instruction)
    return draft


def _add(draft: Draft, instruction: Instruction) -> None:
    value = instruction.value
    match instruction.keyword:  # the others have no effect on an image for Apptainer
        case "RUN":
            draft.lines.append(f"RUN {_run(instruction, draft.shell)}")
        case "COPY" | "ADD":
            _copy(draft, instruction)
        case "ENV":
            for key, raw in pairs(value).items():
                # ARGs do not exist any more when the image runs.
                word = shell_word(expand_known(raw, draft.arguments))
                draft.environment.append(f"{key}={word}")
                draft.lines.append(f"RUN export {key}={word}")
                draft.arguments.pop(key, None)
        case "ARG":
            draft.arguments |= instruction.values
            for key, text in instruction.values.items():
                draft.lines.append(f"RUN export {key}={shlex.quote(text)}")
        case "WORKDIR":
            moved = expand_known(value.strip("\"'"), draft.arguments)
            draft.folder = posixpath.join(draft.folder, moved)
            draft.lines.append(f"WORKDIR {shell_word(draft.folder)}")
        case "SHELL":
            draft.shell = shlex.join(instruction.array or [value])
        case "CMD" | "ENTRYPOINT":
            draft.command = " ".join(instruction.array or [value])
        case "USER":
            draft.notes.append(f"USER {value} is ignored: an image runs as the user who starts it")


def _run(instruction: Instruction, shell: str) -> str:
    for name, value in instruction.flags:
        cache = name == "mount" and re.search(r"type=(cache|tmpfs)\b", value)
        if not cache and (name, value) != ("network", "default"):
            raise CannotConvert(instruction.line, f"RUN --{name}={value}")
    if instruction.array is not None:
        return shlex.join(instruction.array)
    return f"{shell} {shlex.quote(instruction.value)}"


def _copy(draft: Draft, instruction: Instruction) -> None:
    for name, value in instruction.flags:
        if name not in ("from", "chown", "chmod", "link"):
            raise CannotConvert(instruction.line, f"{instruction.keyword} --{name}={value}")
    *sources, target = instruction.words
    if not sources:
        raise CannotConvert(instruction.line, f"{instruction.keyword} without a destination")
    if instruction.keyword == "ADD":
        for source in sources:
            if re.match(r"\w+://|git@", source) or ARCHIVE.search(source):
                raise CannotConvert(
                    instruction.line, f"ADD {source}; download or unpack it with RUN"
                )
    stage = instruction.flag("from")
    places = []
    for source in sources:
        place = posixpath.join(CONTEXT, source.lstrip("/"))
        if stage is not None:
            path = expand_known(source, draft.arguments)
            if "$" in path:
                raise CannotConvert(
                    instruction.line, f"COPY --from of {path}; its variables must be ARGs"
                )
            folder = f"{STAGED}/{len(draft.staged)}"
            place = f"{folder}/{posixpath.basename(path.rstrip('/'))}"
            into = f"{folder}/" if re.search(r"[*?]", path) else place
            draft.staged.append((stage, path, into))
        places.append(shell_pattern(posixpath.normpath(place)))
    mode = shlex.quote(instruction.flag("chmod") or "")
    draft.lines.append(f"RUN openenv_copy {mode} {shell_word(target)} {' '.join(places)}")
