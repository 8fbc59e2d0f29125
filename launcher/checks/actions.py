"""Makes the smallest action that a JSON schema allows: only required properties, always the same. Pure.

Libraries that do this (hypothesis-jsonschema, jsf) make random values, and had no release since early 2024.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

MAX_DEPTH = 12
# Not empty, because many environments refuse that, and short, because some run the text as a program.
LETTER = "a"
FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "duration": "PT1S",
    "email": "a@example.com",
    "ipv4": "127.0.0.1",
    "time": "00:00:00Z",
    "uri": "http://127.0.0.1/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = Mapping[str, Any]


class CannotMake(ValueError):
    """A value that cannot be made; the message names its property and what it would have to be."""


def make_action(schema: Schema) -> Any:
    """Raises `CannotMake`."""
    try:
        return _Maker(schema).make(schema, "action", 0)
    except (AttributeError, TypeError, RecursionError):
        raise CannotMake("the schema of the action is not a JSON schema") from None


class _Maker:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def make(self, schema: Any, name: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise CannotMake(f"{name} refers to itself without end")
        if isinstance(schema, bool):
            schema = {}
        schema = self._resolved(schema, name)
        given = [schema[key] for key in ("const", "default") if key in schema]
        given += [schema[key][0] for key in ("examples", "enum") if schema.get(key)]
        if given:
            return given[0]
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return self._first(alternatives, name, depth)
        kind = schema.get("type", "object")
        if not isinstance(kind, str):
            return self._first([{**schema, "type": each} for each in kind], name, depth)
        return self._of_type(kind, schema, name, depth)

    def _of_type(self, kind: str, schema: Schema, name: str, depth: int) -> Any:
        if kind == "object":
            return self._object(schema, name, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind in SCALARS:
            return SCALARS[kind](schema, name)
        raise CannotMake(f"{name} has the unknown type {kind!r}")

    def _resolved(self, schema: Schema, name: str) -> Schema:
        """The schema with what it refers to and all of which it consists."""
        for _ in range(MAX_DEPTH):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = {**self._referred(str(schema["$ref"]), name), **rest}
            elif "allOf" in schema:
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                parts = [self._resolved(part, name) for part in schema["allOf"]]
                schema = _merged([*parts, rest])
            else:
                return schema
        raise CannotMake(f"{name} refers to itself without end")

    def _referred(self, reference: str, name: str) -> Schema:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not reference.startswith("#") or not isinstance(found, Mapping) or key not in found:
                raise CannotMake(f"{name} refers to {reference}, which the schema does not contain")
            found = found[key]
        return dict(found)

    def _first(self, alternatives: Sequence[Schema], name: str, depth: int) -> Any:
        problem = CannotMake(f"{name} has no alternative")
        for alternative in alternatives:
            try:
                return self.make(alternative, name, depth + 1)
            except CannotMake as failure:
                problem = failure
        raise problem

    def _object(self, schema: Schema, name: str, depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if schema.get("minProperties", 0) > len(required):
            raise CannotMake(f"{name} has {schema['minProperties']} properties without names")
        return {
            key: self.make(properties.get(key, True), f"{name}.{key}", depth + 1)
            for key in required
        }

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        first = schema.get("prefixItems", ())
        count = max(schema.get("minItems", 0), 0)
        if count > 1 and schema.get("uniqueItems"):
            raise CannotMake(f"{name} has {count} items that differ")
        schemas = [*first, *[schema.get("items", True)] * count][:count]
        return [self.make(each, f"{name}[{n}]", depth + 1) for n, each in enumerate(schemas)]


def _merged(parts: Sequence[Schema]) -> Schema:
    merged: dict[str, Any] = {}
    for part in parts:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged |= part
        if properties:
            merged |= {"properties": properties, "required": list(dict.fromkeys(required))}
    return merged


def _string(schema: Schema, name: str) -> str:
    text = FORMATS.get(schema.get("format", ""), LETTER)
    if len(text) < schema.get("minLength", 0):
        text = LETTER * schema["minLength"]
    text = text[: schema.get("maxLength", len(text))]
    pattern = schema.get("pattern", "")
    for candidate in (text, "0" * len(text), text.upper()):
        if _matches(pattern, candidate):
            return candidate
    raise CannotMake(f"{name} is a text like {pattern!r}")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # the schema's patterns are those of JavaScript
        return False


def _number(schema: Schema, name: str, *, whole: bool = False) -> float:
    """Zero, or the first number near one of the limits that is within all of them."""
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    limits = [schema[each] for each in names if each in schema]
    step = schema.get("multipleOf", 1 if whole else 0)
    near = [0, *limits, *(limit + sign * (step or 1) for limit in limits for sign in (1, -1))]
    near.append(sum(limits) / 2)
    if step:
        near = [turn(each / step) * step for each in near for turn in (math.ceil, math.floor)]
    for number in near:
        if _within(number, schema):
            return int(number) if whole else number
    bounds = ", ".join(f"{each} {schema[each]}" for each in names if each in schema)
    raise CannotMake(f"{name} is a number with {bounds}")


def _within(number: float, schema: Schema) -> bool:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above = schema.get("exclusiveMinimum", -math.inf)
    below = schema.get("exclusiveMaximum", math.inf)
    return bool(low <= number <= high and above < number < below)


SCALARS: Mapping[str, Callable[[Schema, str], Any]] = {
    "string": _string,
    "integer": partial(_number, whole=True),
    "number": _number,
    "boolean": lambda _schema, _name: False,
    "null": lambda _schema, _name: None,
}
