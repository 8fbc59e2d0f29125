"""The arguments of a reset message that an environment's `reset` accepts."""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any


def accepted(method: Callable[..., Any], data: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what the signature does not name, unless it takes any keyword argument."""
    if not data:
        return data
    names = _names_of_bound(method) if _is_plain(method) else _names(inspect.signature(method))
    return data if names is None else {key: data[key] for key in data if key in names}


def _is_plain(method: Callable[..., Any]) -> bool:
    return isinstance(method, MethodType) and isinstance(method.__func__, FunctionType)


def _names_of_bound(method: Any) -> frozenset[str] | None:
    return _cached(method.__func__)


@functools.lru_cache(maxsize=256)
def _cached(function: FunctionType) -> frozenset[str] | None:
    return _names(inspect.signature(MethodType(function, object())))


def _names(signature: inspect.Signature) -> frozenset[str] | None:
    parameters = signature.parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(signature.parameters)
