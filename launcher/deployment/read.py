"""Reads a Deployment from flags, a YAML file and environment variables, in this order of precedence."""

import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from launcher.deployment.spec import Deployment
from launcher.deployment.variables import name_of, read_variables, yaml_assignments
from launcher.errors import UsageError
from launcher.system.debug_log import redacted

logger = logging.getLogger(__name__)

CORES = "SLURM_CPUS_PER_TASK"

# The environment variables that set a field; the first one that is set counts.
VARIABLES: dict[str, tuple[str, ...]] = {
    "workers_per_node": ("WORKERS_PER_NODE", "WORKERS", CORES),
    "max_concurrent_envs": ("MAX_CONCURRENT_ENVS",),
    "server_port": ("OPENENV_PORT", "PORT"),
    "envoy_port": ("ENVOY_PORT",),
    "runtime": ("USE_CONTAINER",),
    "images": ("OPENENV_IMAGES",),
}

USE_CONTAINER = dict.fromkeys(("true", "1", "yes"), "apptainer")
USE_CONTAINER |= dict.fromkeys(("false", "0", "no"), "venv")


def read_deployment(
    flags: Mapping[str, Any], file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Deployment:
    """Raises `UsageError`, which names the flag, key or variable that is wrong."""
    values: dict[str, tuple[Any, str]] = {}
    for field, names in VARIABLES.items():
        for name in names:
            if environment.get(name):
                value = environment[name]
                if name == "USE_CONTAINER":
                    value = USE_CONTAINER.get(value.lower(), value)
                values[field] = value, f"variable {name}"
                break
    for key, value in (read_yaml(file) if file else {}).items():
        values[key] = value, f"key {key!r} in {file}"
    assignments = _yaml_env(file, *values["env"]) if file and "env" in values else []
    for field, value in flags.items():
        if value is not None and value != ():
            values[field] = value, f"--{field.replace('_', '-')}"
    assignments += [(text, "--env") for text in flags.get("env") or ()]
    if assignments:
        given = dict.fromkeys(name_of(text) for text, _ in assignments)
        values["env"] = tuple(given), "--env"
    if "sessions" in values and values.get("workers_per_node", ("", ""))[1] == f"variable {CORES}":
        # The user did not choose the number of cores with these sessions in mind.
        del values["workers_per_node"]
    for field, (value, origin) in values.items():
        logger.debug("%s from %s", *redacted([f"{field}={value}"]), origin)
    env_file = values.get("env_file", (None, ""))[0]
    variables = read_variables(assignments, environment, env_file and Path(env_file))
    try:
        deployment = Deployment(**{field: value for field, (value, _) in values.items()})
    except ValidationError as failure:
        raise UsageError(_explain(failure, values)) from None
    return deployment.with_variables(variables)


def with_values(
    deployment: Deployment, known: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> Deployment:
    """A deployment that was stored without the values of its variables, with those that are `known`
    and the others as they are set here. Raises `UsageError`."""
    names = [(name, "--env") for name in deployment.env if name not in known]
    read = read_variables(names, environment, deployment.env_file)
    return deployment.with_variables({**read, **known})


def _yaml_env(file: Path, content: Any, origin: str) -> list[tuple[str, str]]:
    """The base loader reads every value as it is written, such as 007 and yes."""
    literal = yaml.load(file.read_text(), yaml.BaseLoader)
    return yaml_assignments(content, literal["env"], origin)


def read_yaml(file: Path) -> dict[str, Any]:
    """Raises `UsageError` for a file that is unreadable or not a YAML mapping, and for unknown keys."""
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as failure:
        raise UsageError(f"cannot read {file}: {failure.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        where = " ".join(str(failure).split())
        raise UsageError(f"{file} is not valid YAML: {where}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{file} must contain 'key: value' lines, not a {type(content).__name__}")
    content = {str(key).replace("-", "_"): value for key, value in content.items()}
    for key in content:
        if key not in Deployment.model_fields:
            (nearest,) = difflib.get_close_matches(key, Deployment.model_fields, n=1, cutoff=0.0)
            raise UsageError(f"{file}: unknown key {key!r}; did you mean {nearest!r}?")
    return content


def _explain(failure: ValidationError, values: Mapping[str, tuple[Any, str]]) -> str:
    problem = failure.errors()[0]
    message = problem["msg"].removeprefix("Input ")
    if problem["type"] == "value_error":  # raised by Deployment itself
        message = f"is invalid: {problem['ctx']['error']}"
    if not problem["loc"]:
        return message.removeprefix("is invalid: ")
    value, origin = values[str(problem["loc"][0])]
    if isinstance(
        value, tuple | list
    ):  # its message quotes the one that is wrong, if it may be shown
        return f"{origin} {message}"
    return f"{origin}: {value!r} {message}"
