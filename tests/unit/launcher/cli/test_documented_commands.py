"""The commands of the READMEs and the runbook exist, with each of their options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from launcher.cli.main import main

ROOT = Path(__file__).parents[4]
DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("deploy/**/*.md"),
    ]
    if path.name != "CHANGELOG.md"
)
FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:launcher|make) [^`]+)`")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# The words that end one command of a shell line.
SEPARATORS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "<", "(", ")"}


def shell_words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    return list(lexer)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in the code of a document."""
    blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [" ".join(code.split()) for code in INLINE.findall(FENCE.sub("", text))]
    for line in lines:
        if not re.search(r"\b(launcher|make|test_scaling\.py)\b", line):
            continue
        command: list[str] = []
        for word in [*shell_words(line.strip().removeprefix("$ ")), ";"]:
            if word in SEPARATORS:
                yield command
                command = []
            else:
                command.append(word)


def problem(words: list[str]) -> str | None:
    """Why the command cannot be run as it is written; None if it can, or is none of ours."""
    names = [word.rpartition("/")[2] for word in words]
    if names[:1] == ["make"]:
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        return next((f"no target {each}" for each in targets if each not in TARGETS), None)
    if "test_scaling.py" in names:
        return wrong_option(main.commands["grid"], words[names.index("test_scaling.py") + 1 :])
    if "launcher" not in names:
        return None
    name, *arguments = [*words[names.index("launcher") + 1 :], ""]
    if name in main.commands:
        return wrong_option(main.commands[name], arguments)
    is_name = re.fullmatch("[a-z]+", name) is not None  # and not an option or a placeholder
    return f"no command {name}" if is_name else wrong_option(main, [name])


def wrong_option(command: click.Command, arguments: list[str]) -> str | None:
    context = click.Context(command, help_option_names=["-h", "--help"])
    known = {name for parameter in command.get_params(context) for name in parameter.opts}
    for word in arguments:
        if word == "--":
            break
        name = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z0-9-]*", name) and name not in known:
            return f"{command.name} has no option {name}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_exist(document: Path) -> None:
    found = [(" ".join(words), problem(words)) for words in commands(document.read_text())]
    assert [each for each in found if each[1] is not None] == []


def test_commands_are_found_in_the_documents() -> None:
    found = [words for path in DOCUMENTS for words in commands(path.read_text())]
    assert sum("launcher" in words for words in found) > 10
    assert any(words[:1] == ["make"] for words in found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```\nlauncher up --nodes 3 -- python --any-option\n```", None),
        ("```\nlauncher up --nodse 3\n```", "up has no option --nodse"),
        ("```bash\n$ salloc -N3 launcher up --local && launcher nope\n```", "no command nope"),
        ("```\nlauncher grid \\\n  -n 3 \\\n  --nope=1\n```", "grid has no option --nope"),
        ("```\n.venv/bin/launcher status x | grep -v y\n```", None),
        ("Run `launcher report DIR --nope`.", "report has no option --nope"),
        ("```\npython tests/test_scaling.py --nope\n```", "grid has no option --nope"),
        ("```\nmake demo ONLY=1\n```", None),
        ("`make nope`", "no target nope"),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, why: str | None) -> None:
    problems = [each for words in commands(text) if (each := problem(words)) is not None]
    assert problems == ([why] if why else [])
