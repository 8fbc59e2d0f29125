"""Actions made from JSON schemas, also from those that OpenEnv publishes."""

from typing import Annotated, Any, Literal

import pytest
from openenv.core.env_server.mcp_types import CallToolAction
from pydantic import BaseModel, Field

from benchmark.server.environment import WaitAction
from launcher.checks.actions import CannotMake, make_action


class Point(BaseModel):
    x: int = Field(ge=1, le=9)
    y: float = Field(gt=0, lt=0.5)


class Move(BaseModel):
    kind: Literal["move"]
    to: Point
    path: list[Point] = Field(min_length=2)
    pair: tuple[int, str]
    note: str | None
    pace: Annotated[int, Field(multiple_of=5, gt=2)]


class Node(BaseModel):
    child: "Node"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        (True, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"const": 3}, 3),
        ({"type": "string", "default": "stay"}, "stay"),
        ({"enum": ["up", "down"]}, "up"),
        ({"type": "string", "examples": ["print(1)"]}, "print(1)"),
        ({"type": "string"}, "a"),
        ({"type": "string", "maxLength": 0}, ""),
        ({"type": "string", "minLength": 4}, "aaaa"),
        ({"type": "string", "minLength": 3, "pattern": "^[0-9]+$"}, "000"),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 0}, 1),
        ({"type": "integer", "minimum": 3, "multipleOf": 5}, 5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "exclusiveMaximum": 0}, -1),
        ({"type": "boolean"}, False),
        ({"type": ["null", "integer"]}, None),
        ({"anyOf": [{"type": "string", "pattern": "^$x"}, {"type": "integer"}]}, 0),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}]}, {"a": 1}),
        ({"type": "array", "items": {"$ref": "#/$defs/b"}, "minItems": 1, "$defs": {"b": {"const": 7}}}, [7]),
    ],
)  # fmt: skip
def test_value_is_the_smallest_that_the_schema_allows(schema: Any, value: Any) -> None:
    assert make_action(schema) == value


@pytest.mark.parametrize("model", [Move, WaitAction, CallToolAction])
def test_value_is_valid_for_the_model_that_published_the_schema(model: type[BaseModel]) -> None:
    made = make_action(model.model_json_schema())
    model.model_validate(made)
    assert make_action(model.model_json_schema()) == made


@pytest.mark.parametrize(
    ("schema", "missing"),
    [
        (Node.model_json_schema(), "action.child.child"),
        ({"type": "string", "pattern": "^a1$"}, "action is a text like '^a1$'"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "action is a number with minimum 3, maximum 2"),
        ({"type": "array", "minItems": 2, "uniqueItems": True}, "action has 2 items that differ"),
        ({"type": "object", "minProperties": 1}, "action has 1 properties without names"),
        ({"$ref": "#/$defs/none"}, "action refers to #/$defs/none, which the schema does not contain"),
        ({"$ref": "https://example.com/x"}, "action refers to https://example.com/x"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "action refers to itself without end"),
        ({"type": "tensor"}, "action has the unknown type 'tensor'"),
        ({"type": "object", "required": ["a"], "properties": {"a": 3}}, "the schema of the action is not a"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}, "the schema"),
    ],
)  # fmt: skip
def test_refusal_names_the_property_that_cannot_be_made(schema: Any, missing: str) -> None:
    with pytest.raises(CannotMake) as refused:
        make_action(schema)
    assert str(refused.value).startswith(missing)
