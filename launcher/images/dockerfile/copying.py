"""COPY, ADD and the mounts of RUN."""

import posixpath
import re

from launcher.images.dockerfile.draft import Draft, STAGED
from launcher.images.dockerfile.instructions import CannotConvert, Instruction
from launcher.images.dockerfile.words import escaped, quote, shell


def mount(draft: Draft, instruction: Instruction, value: str) -> tuple[list[str], str]:
    """The commands that put a mount in place, and its path."""
    options = dict(part.partition("=")[::2] for part in value.split(","))
    kind = options.get("type", "bind")
    target = next((options[key] for key in ("target", "dst", "destination") if key in options), "")
    if kind not in ("bind", "cache", "tmpfs") or not target:
        raise CannotConvert(instruction.line, f"RUN --mount={value}")
    path = quote(posixpath.join(draft.folder, draft.text(instruction, target)))
    if kind != "bind":
        return [f"openenv_hide {path}", f"mkdir -p {path}"], path
    source = draft.text(instruction, options.get("source", options.get("src", "/")))
    if stage := options.get("from"):
        place = _stage_copy(draft, stage, source)
    else:
        place = draft.sources.copied(instruction, source)[0]
    return [f"openenv_hide {path}", f"ln -s {quote(place)} {path}"], path


def _stage_copy(draft: Draft, stage: str, source: str) -> str:
    """Where a copy from another stage waits: the path itself, or a folder of what matches a pattern."""
    folder = f"{STAGED}/{len(draft.staged)}"
    path = posixpath.normpath("/" + source.lstrip("/"))
    name = posixpath.basename(path) or "root"
    is_pattern = re.search(r"[*?\[]", path)
    place = f"{folder}/" if is_pattern else f"{folder}/{name}"
    draft.staged.append((stage, path, place))
    return place


def copy(draft: Draft, instruction: Instruction) -> None:
    keyword, line = instruction.keyword, instruction.line
    allowed = {"from", "chown", "chmod", "link"} | ({"checksum"} if keyword == "ADD" else set())
    for name, value in instruction.flags:
        if name not in allowed:
            raise CannotConvert(line, f"{keyword} --{name}={value}")
    *sources, target = instruction.words
    if not sources:
        raise CannotConvert(line, f"{keyword} without a destination")
    places = []
    for source in sources:
        places += _places(draft, instruction, source)
    mode = draft.text(instruction, instruction.flag("chmod") or "")
    into = shell(draft.word(instruction, target))
    draft.lines.append(" ".join([f"openenv_copy {quote(mode)} {into}", *places]))


def _places(draft: Draft, instruction: Instruction, source: str) -> list[str]:
    if source.startswith("<<"):
        return [_document(draft, instruction, source)]
    path = draft.text(instruction, source)
    stage = instruction.flag("from")
    if stage is not None:
        place = _stage_copy(draft, stage, path)
        # Docker's patterns match names that begin with a dot, too.
        return (
            [f"{quote(place)}{match}" for match in ("*", ".[!.]*")]
            if place.endswith("/")
            else [quote(place)]
        )
    if instruction.keyword == "ADD":
        return [quote(place) for place in draft.sources.added(instruction, path)]
    return [quote(place) for place in draft.sources.copied(instruction, path)]


def _document(draft: Draft, instruction: Instruction, source: str) -> str:
    name = re.sub(r"^<<-?|['\"]", "", source)
    document = next(each for each in instruction.documents if each.name == name)
    content = document.content
    if document.expands:
        content = draft.text(instruction, content, quotes=False)
    place = f"{STAGED}/line-{instruction.line}/{name}"
    draft.lines.append(f"openenv_write {quote(place)} {quote(escaped(content))}")
    return quote(place)


def gather(target: str, pattern: str) -> str:
    """The command of a stage that collects what matches a pattern of COPY --from."""
    folder, name = posixpath.split(pattern)
    names = [name, f".{name}"] if name[0] in "*?[" else [name]
    globs = " ".join(_glob(posixpath.join(folder, each)) for each in names)
    return f"openenv_gather {quote(target)} {globs}"


def _glob(pattern: str) -> str:
    pieces = re.findall(r"\[\^?[^\]]+\]|[*?]|[^*?\[]+", pattern)
    return "".join(
        piece.replace("[^", "[!") if piece[0] in "*?[" else quote(piece) for piece in pieces
    )
