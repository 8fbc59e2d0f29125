"""What the command of an image starts: the app, the folder that it is imported from, and what is not kept."""

import posixpath
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.images.dockerfile.instructions import Instruction
from launcher.images.dockerfile.stages import Stage

APP = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(\))?")
ENDS = {"&&", "||", ";", "&", "|", "(", ")", "\n"}
# Options of uvicorn for what our server decides itself, or that change nothing for a session.
OURS = {
    *(
        "--host",
        "--port",
        "--workers",
        "--reload",
        "--no-access-log",
        "--access-log",
        "--log-level",
    ),
    *(
        "--proxy-headers",
        "--no-proxy-headers",
        "--forwarded-allow-ips",
        "--uds",
        "--fd",
        "--app-dir",
    ),
    *("--timeout-keep-alive", "--use-colors", "--no-use-colors"),
}
GUNICORN_FLAGS = {"--reload", "--preload", "--daemon", "--check-config", "--capture-output"}


@dataclass(frozen=True)
class Started:
    """`program` is uvicorn or gunicorn, or "" when neither is found; `script` is the script that starts it;
    `left_out` are the options that our server does not take over."""

    program: str = ""
    app: str | None = None
    folder: str = "/"
    left_out: tuple[str, ...] = ()
    script: str = ""


def argv(entrypoint: Instruction | None, command: Instruction | None) -> list[str]:
    """The argv of the image's process: CMD is appended to ENTRYPOINT, unless that is a shell command."""
    if entrypoint is not None and entrypoint.array is None:
        return _argv(entrypoint)
    first = _argv(entrypoint) if entrypoint else []
    return first + (_argv(command) if command else [])


def _argv(instruction: Instruction) -> list[str]:
    return ["/bin/sh", "-c", instruction.value] if instruction.array is None else instruction.array


def find(words: Sequence[str], folder: str, script: Callable[[str], str | None]) -> Started:
    """`folder` is the working folder, `script` reads a script of the image by its path."""
    found = _find(_tokens(words), folder)
    if found.program or not words:
        return found
    for word in words:
        text = script(word)
        if text is not None:
            return replace(_find(_split(text), folder), script=word)
    return found


def _tokens(words: Sequence[str]) -> list[str]:
    """The words, and instead of `sh -c COMMAND` those of the command."""
    if len(words) > 2 and posixpath.basename(words[0]) in ("sh", "bash", "ash", "dash"):
        for place, word in enumerate(words[1:-1], 1):
            if re.fullmatch(r"-\w*c", word):
                return _split(words[place + 1])
    return list(words)


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(re.sub(r"\\\n", " ", text), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    try:
        return list(lexer)
    except ValueError:
        return re.findall(r"[^\s\"']+|\n", text)


def _find(tokens: Sequence[str], folder: str) -> Started:
    for place, token in enumerate(tokens):
        if token == "cd" and place + 1 < len(tokens):
            folder = posixpath.normpath(posixpath.join(folder, tokens[place + 1]))
        program = posixpath.basename(token)
        if program in ("uvicorn", "gunicorn"):
            arguments = []
            for argument in tokens[place + 1 :]:
                if argument in ENDS:
                    break
                arguments.append(argument)
            found = _arguments(program, arguments, folder)
            if found.app:
                return found
    return Started(folder=folder)


def _arguments(program: str, arguments: Sequence[str], folder: str) -> Started:
    flags = _uvicorn_flags() if program == "uvicorn" else GUNICORN_FLAGS
    app, options = None, []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            app = app or (word if APP.fullmatch(word) else None)
            continue
        name, equals, value = word.partition("=")
        if not equals and name not in flags and left:
            value = left.pop(0)
        options.append((name, value))
    for name, value in options:
        if name in ("--app-dir", "--chdir"):
            folder = posixpath.normpath(posixpath.join(folder, value))
    left_out = tuple(f"{n} {v}".strip() for n, v in options if n not in OURS)
    return Started(program, app, folder, left_out)


def _uvicorn_flags() -> set[str]:
    from uvicorn.main import main

    return {
        name
        for option in main.params
        if getattr(option, "is_flag", False)
        for name in (*option.opts, *option.secondary_opts)
    }


def scripts(stage: Stage, context: Path | None) -> Callable[[str], str | None]:
    """Reads a script that the command runs: the file of the context whose path ends most alike, or the RUN
    that wrote it."""

    def read(path: str) -> str | None:
        name = posixpath.basename(path)
        if "/" not in path and not path.endswith(".sh"):
            return None
        files = [file for file in context.rglob(name) if file.is_file()] if context and name else []
        if files:
            alike = max(files, key=lambda file: _alike(file.parts, path.split("/")))
            return alike.read_text(errors="replace")
        written = re.compile(rf">\s*{re.escape(path)}(?!\S)")
        for instruction in stage.instructions:
            if instruction.keyword == "RUN" and written.search(instruction.value):
                return re.sub(r"\\n\\?", "\n", instruction.value)
        return None

    return read


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
