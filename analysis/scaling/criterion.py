"""The criterion that a batch must meet. The command line imports this module, so it stays light."""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.errors import ResultsError

OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max}
NAMES = ("wait", "steps")
MAX_TEXT = 200


@dataclass(frozen=True)
class Criterion:
    """The least fraction of sessions that must succeed and, optionally, the largest 99th percentile of
    the total latency in seconds, as arithmetic over `wait` and `steps`, such as "wait * steps + 1".
    Raises `ResultsError` when either is invalid."""

    success: float = 0.95
    p99: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.success <= 1:
            raise ResultsError(
                f"success >= {self.success:g} is not a criterion; give a fraction, such as 0.95"
            )
        if self.p99 is not None:
            _expression(self.p99)

    @property
    def max_error_rate(self) -> float:
        """0.05 for 0.95, whereas 1 - 0.95 is 0.050000000000000044."""
        return round(1 - self.success, 12)

    @property
    def text(self) -> str:
        p99 = f" and p99 <= {self.p99} s" if self.p99 else ""
        return f"success >= {round(100 * self.success, 10):g} %{p99}"

    def met(self, line: Mapping[str, Any]) -> bool:
        if not line["error_rate"] <= self.max_error_rate:
            return False
        return self.p99 is None or bool(line["total_p99"] <= self.limit(line))

    def limit(self, line: Mapping[str, Any]) -> float:
        """The largest p99 that is allowed, in seconds. Raises `ResultsError` for a division by zero."""
        assert self.p99 is not None
        values = {"wait": float(line["wait_seconds"]), "steps": float(line["steps"])}
        try:
            return _value(_expression(self.p99), values)
        except ArithmeticError as failure:
            wait, steps = values["wait"], values["steps"]
            raise ResultsError(
                f"p99 <= {self.p99} for wait {wait:g} and steps {steps:g}: {failure}"
            ) from None


def _expression(text: str) -> ast.expr:
    """Raises `ResultsError` for anything but arithmetic."""
    try:
        tree = ast.parse(text.strip()[: MAX_TEXT + 1], mode="eval").body if text.strip() else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or len(text) > MAX_TEXT or not _allowed(tree):
        raise ResultsError(
            f"p99 <= {text[:60]!r} is not arithmetic; use numbers, {' and '.join(NAMES)}, "
            "+ - * / ( ), min and max, such as 'wait * 2 + 1'"
        )
    return tree


def _allowed(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int() | float() as value):
            return not isinstance(value, bool)
        case ast.Name(id=name):
            return name in NAMES
        case ast.UnaryOp(op=kind, operand=operand):
            return type(kind) in OPERATORS and _allowed(operand)
        case ast.BinOp(left=left, op=kind, right=right):
            return type(kind) in OPERATORS and _allowed(left) and _allowed(right)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as values, keywords=[]):
            return name in FUNCTIONS and all(map(_allowed, values))
    return False


def _value(node: ast.expr, names: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=kind, operand=operand):
            return OPERATORS[type(kind)](_value(operand, names))
        case ast.BinOp(left=left, op=kind, right=right):
            return OPERATORS[type(kind)](_value(left, names), _value(right, names))
        case ast.Call(func=ast.Name(id=name), args=values):
            each = [_value(value, names) for value in values]
            return FUNCTIONS[name](each)
    raise AssertionError(node)
