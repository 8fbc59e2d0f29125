"""The types of the options of a deployment whose values need more than a range."""

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from launcher.deployment.surroundings import check_container_options, parse_bind
from launcher.deployment.variables import NAME as NAME_OF_VARIABLE

# Names of Slurm steps that run next to those of a deployment.
RESERVED = ("load", "samples")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("a name consists of letters, digits, '.', '_' and '-'")
    if name in RESERVED:
        raise ValueError("the launcher reserves this name for its own Slurm steps")
    return name


def _check_names_of_variables(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not NAME_OF_VARIABLE.fullmatch(name):
            raise ValueError("it has something that is not the name of a variable")
    return names


def _check_binds(binds: tuple[str, ...]) -> tuple[str, ...]:
    for bind in binds:
        parse_bind(bind)
    return binds


def _check_sbatch(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if not option.startswith("-"):
            raise ValueError(f"{option!r} is not an option; write it like --sbatch=--gres=gpu:1")
    return options


def _check_quoted(value: Any) -> Any:
    if isinstance(value, int):
        raise ValueError("put it in quotes, as in '2:00:00' or '100G'; YAML reads it as a number")
    return value


def _check_loopback(address: str) -> str:
    try:
        is_loopback = ipaddress.IPv4Address(address).is_loopback
    except ValueError:
        raise ValueError("it is not an IPv4 address; write it like 127.0.0.2") from None
    if not is_loopback:
        raise ValueError("it is outside the loopback range 127.0.0.0/8")
    return address


Port = Annotated[int, Field(ge=1, le=65_535)]
EnvoyCount = Annotated[int | None, Field(ge=1, le=1024)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
OptionalSeconds = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, AfterValidator(_check_name)]
NamesOfVariables = Annotated[tuple[str, ...], AfterValidator(_check_names_of_variables)]
Binds = Annotated[tuple[str, ...], AfterValidator(_check_binds)]
ContainerOptions = Annotated[tuple[str, ...], AfterValidator(check_container_options)]
SbatchOptions = Annotated[tuple[str, ...], AfterValidator(_check_sbatch)]
Quoted = Annotated[str | None, BeforeValidator(_check_quoted)]
LoopbackAddress = Annotated[str, AfterValidator(_check_loopback)]
