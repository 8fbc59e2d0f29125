"""Converts the stages of a Dockerfile to an Apptainer definition that contains our server."""

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spython.main.parse.recipe import Recipe  # type: ignore[import-untyped]
from spython.main.parse.writers import SingularityWriter  # type: ignore[import-untyped]

from launcher.images import labels
from launcher.images.dockerfile import command
from launcher.images.dockerfile.command import Started
from launcher.images.dockerfile.conversion import draft
from launcher.images.dockerfile.copying import gather
from launcher.images.dockerfile.draft import Draft, RUNTIME
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.stages import Stage
from launcher.images.dockerfile.words import quote

# The writer drops empty lines, which a here-document may contain: this stands for them meanwhile.
EMPTY = "\0"


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
    recipes = {each.stage.name: _recipe(each) for each in drafts}
    _serve(recipes[last.stage.name], last, app, argv, started.folder)
    text = _write(recipes, _start(app), stages[-1].image)
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


def _recipe(draft: Draft) -> Recipe:
    recipe = Recipe()
    recipe.fromHeader = draft.stage.image
    for source, path, into in draft.staged:
        recipe.layer_files.setdefault(source, []).append([_quoted(path), _quoted(into)])
    recipe.install = [_marked(draft.lines)] if draft.lines else []
    return recipe


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _start(app: str | None, program: str = "-m benchmark.server") -> str:
    return f"exec python -P {program}" + (f" --app {shlex.quote(app)}" if app else "")


def _serve(recipe: Recipe, last: Draft, app: str | None, argv: Sequence[str], folder: str) -> None:
    """Adds our server to the last stage."""
    open_to_all = " ".join(map(quote, dict.fromkeys([last.folder, folder, *last.volumes])))
    recipe.install.append(f"sh {RUNTIME}/environment_server.sh {open_to_all}")
    added = last.labels | {
        "org.opencontainers.image.version": "{{ VERSION }}",
        labels.SOURCES: "{{ SOURCES }}",
        labels.FOLDER: folder,
    }
    added |= {labels.APP: app} if app else {}
    if argv and "{{" not in json.dumps(argv):
        added[labels.COMMAND] = json.dumps(argv)
    recipe.labels = [list(label) for label in added.items()]
    # uvicorn puts its working folder before all others.
    path = f'PYTHONPATH={quote(folder)}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    recipe.environ = [_marked([each]) for each in (*last.environment, path)]
    recipe.workdir = quote(folder)
    if app:
        recipe.test = f"cd {recipe.workdir} && {_start(app, '/opt/openenv/check.py')}"


def _write(recipes: dict[str, Recipe], start: str, base: str) -> str:
    """The text. Stages that begin with the image `base` begin with the base that is built from."""
    written: str = SingularityWriter(recipes).convert(runscript=start, force=True)
    ours = "Bootstrap: {{ BOOTSTRAP }}\nFrom: {{ BASE }}\n"
    return written.replace(f"Bootstrap: docker\nFrom: {base}\n", ours).replace(EMPTY, "") + "\n"


def _marked(lines: Sequence[str]) -> str:
    return re.sub(r"\n(?=\n)", f"\n{EMPTY}", "\n".join(lines))


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
