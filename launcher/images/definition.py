"""Converts the stages of a Dockerfile to an Apptainer definition that contains our server."""

import json
import posixpath
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.images.dockerfile import command
from launcher.images.dockerfile.command import Started
from launcher.images.dockerfile.conversion import draft
from launcher.images.dockerfile.copying import gather
from launcher.images.dockerfile.draft import Draft, RUNTIME
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.stages import Stage
from launcher.images.dockerfile.words import quote


@dataclass(frozen=True)
class Definition:
    """`app` is the one that the command starts with uvicorn, or the given one; `started` is what else the
    command starts."""

    text: str
    app: str | None
    notes: tuple[str, ...]
    started: Started


def define(
    stages: Sequence[Stage], app: str | None = None, sources: Sources | None = None
) -> Definition:
    """The definition of an environment's image. Raises `CannotConvert`."""
    sources = sources or Sources()
    drafts = [draft(stage, sources) for stage in stages]
    _gather(drafts)
    last = drafts[-1]
    argv = command.argv(last.entrypoint, last.command)
    started = command.find(argv, last.folder, command.scripts(last.stage, sources.context))
    if app is None and started.program == "uvicorn" and not started.script:
        app = started.app
    sections = [_stage(each, stages[-1].image) for each in drafts]
    text = "\n\n".join([*sections, *_serve(last, app, argv, started.folder)]) + "\n"
    return Definition(text, app, (*last.notes, *_notes(last, started)), started)


def _gather(drafts: Sequence[Draft]) -> None:
    """Lets each stage collect what patterns of later stages match in it."""
    by_name = {each.stage.name: each for each in drafts}
    for later in drafts:
        for number, (stage, path, into) in enumerate(later.staged):
            if into.endswith("/"):
                gathered = f"/.openenv-gathered/{later.stage.name}-{number}"
                lines = by_name[stage].lines
                if not lines:
                    lines.append(f". {RUNTIME}/environment_copy.sh")
                lines.append(gather(gathered, path))
                later.staged[number] = (stage, gathered, into.rstrip("/"))


def _stage(draft: Draft, base: str) -> str:
    image = draft.stage.image
    header = ("docker", image) if image != base else ("{{ BOOTSTRAP }}", "{{ BASE }}")
    lines = [f"Bootstrap: {header[0]}", f"From: {header[1]}", f"Stage: {draft.stage.name}"]
    for source in dict.fromkeys(stage for stage, _, _ in draft.staged):
        lines += ["", f"%files from {source}"]
        lines += [_files(path, into) for stage, path, into in draft.staged if stage == source]
    if draft.lines:
        lines += ["", "%post", *draft.lines]
    return "\n".join(lines)


def _files(*paths: str) -> str:
    return " ".join(f'"{path}"' if " " in path else path for path in paths)


def _serve(last: Draft, app: str | None, argv: Sequence[str], folder: str) -> list[str]:
    """What is added to the last stage; its %post continues that of the stage."""
    option = f" --app {shlex.quote(app)}" if app else ""
    serve = f'cd {quote(folder)} && exec python -P -m benchmark.server{option} "$@"'
    open_to_all = " ".join(map(quote, dict.fromkeys([last.folder, folder, *last.volumes])))
    post = f"sh {RUNTIME}/environment_server.sh {open_to_all}"
    labels = last.labels | {
        "org.opencontainers.image.version": "{{ VERSION }}",
        "openenv-slurm.sources": "{{ SOURCES }}",
        "openenv-slurm.folder": folder,
    }
    labels |= {"openenv-slurm.app": app} if app else {}
    if argv and "{{" not in json.dumps(argv):
        labels["openenv-slurm.command"] = json.dumps(argv)
    # uvicorn puts its working folder before all others.
    path = f'export PYTHONPATH={quote(folder)}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    sections = [
        post if last.lines else f"%post\n{post}",
        "\n".join(["%labels", *(f"{name} {value}" for name, value in labels.items())]),
        "\n".join(["%environment", *last.environment, path]),
        f"%runscript\n{serve}",
        f"%startscript\n{serve}",
    ]
    test = f"%test\ncd {quote(folder)} && exec python -P /opt/openenv/check.py{option}"
    return [*sections, test] if app else sections


def _notes(last: Draft, started: Started) -> Iterator[str]:
    if last.entrypoint is not None and started.program not in map(
        posixpath.basename, command.argv(last.entrypoint, None)[:3]
    ):
        yield f"ENTRYPOINT {last.entrypoint.value} is not run: the image runs our server"
    if started.program == "uvicorn" and started.left_out:
        yield (
            f"these options of {started.program} in its command are not used: "
            f"{', '.join(started.left_out)}"
        )
    for path in last.volumes:
        yield (
            f"VOLUME {path} cannot be written in the image; serve it with --bind FOLDER:{path} or --writable"
        )
    if started.program == "gunicorn" and started.app:
        yield f"its command starts gunicorn, which our server replaces; the app is {started.app}"
    if started.script:
        yield (
            f"its command is the script {started.script}, which is not run: the image starts only the "
            f"app{' ' + started.app if started.app else ''}, and nothing else that the script starts; "
            "start that with `launcher up --service`"
        )
