"""The variables that the user gives to the servers: their names are fields of a `Deployment`, their values
are secrets, which must not reach a file that others read, an argv, a log or a message."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from launcher.errors import UsageError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The launcher sets these for each server; the options that choose their values.
OWN = {
    "WORKERS": "--workers-per-node",
    "PORT": "--server-port",
    "MAX_CONCURRENT_ENVS": "--max-concurrent-envs",
    "NODE_NAME": "",
}

Variables = dict[str, str]
Environment = Mapping[str, str]


def read_variables(
    assignments: Iterable[tuple[str, str]], environment: Environment, file: Path | None = None
) -> Variables:
    """The values of NAME=VALUE, and of NAME as it is set in `environment`, each with where it was
    given; they override those of the file. Raises `UsageError`, which never shows a value."""
    variables = read_env_file(file, environment) if file is not None else {}
    for text, origin in assignments:
        variables |= _assigned(text, origin, environment)
    return variables


def read_env_file(file: Path, environment: Environment) -> Variables:
    """One NAME=VALUE or NAME a line. As Docker Compose does, it ignores `export`, comments and the
    quotes around a value."""
    try:
        text = file.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not a text file"
        raise UsageError(f"--env-file: cannot read {file}: {reason}") from None
    variables: Variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if content and not content.startswith("#"):
            name, equals, value = content.removeprefix("export ").partition("=")
            assignment = f"{name.strip()}{equals}{_unquoted(value.strip())}"
            variables |= _assigned(assignment, f"{file}, line {number}", environment)
    return variables


def yaml_assignments(content: Any, literal: Any, origin: str) -> list[tuple[str, str]]:
    """The assignments of `env:` in YAML: a list of NAME=VALUE or NAME, or a mapping, in which a name
    without a value stands for NAME. `literal` has the same values as they are written."""
    if isinstance(content, dict) and not any(isinstance(v, dict | list) for v in content.values()):
        pairs = zip(content.items(), literal.values(), strict=True)
        texts = [str(k) if v is None else f"{k}={text}" for (k, v), text in pairs]
    elif isinstance(content, list) and all(isinstance(item, str) for item in content):
        texts = content
    else:
        raise UsageError(f"{origin} must be 'NAME: value' lines or a list of NAME=VALUE")
    return [(text, origin) for text in texts]


def name_of(text: str) -> str:
    return text.partition("=")[0]


def _assigned(text: str, origin: str, environment: Environment) -> Variables:
    name, equals, value = text.partition("=")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{origin}: {name!r} is not the name of a variable; write NAME=VALUE or NAME"
        )
    if name in OWN:
        instead = f" (choose it with {OWN[name]})" if OWN[name] else ""
        raise UsageError(f"{origin}: the launcher sets {name} itself{instead}; leave it out")
    if not equals:
        if name not in environment:
            raise UsageError(f"{origin}: {name} is not set here; set it, or write {name}=VALUE")
        value = environment[name]
    return {name: value}


def _unquoted(value: str) -> str:
    quote = value[:1]
    quoted = quote in ("'", '"') and len(value) > 1 and value.endswith(quote)
    return value[1:-1] if quoted and quote not in value[1:-1] else value
