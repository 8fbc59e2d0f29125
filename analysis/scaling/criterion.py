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
FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
}
NAMES = ("wait", "steps")
MAX_TEXT = 200

Formula = Callable[[Mapping[str, float]], float]


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
            _formula(self.p99)

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
            return _formula(self.p99)(values)
        except ArithmeticError as failure:
            wait, steps = values["wait"], values["steps"]
            raise ResultsError(
                f"p99 <= {self.p99} for wait {wait:g} and steps {steps:g}: {failure}"
            ) from None


def _formula(text: str) -> Formula:
    """Raises `ResultsError` for anything but arithmetic."""
    try:
        if len(text) > MAX_TEXT:
            raise ValueError
        return _compiled(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ResultsError(
            f"p99 <= {text[:60]!r} is not arithmetic; use numbers, {' and '.join(NAMES)}, "
            "+ - * / ( ), min and max, such as 'wait * 2 + 1'"
        ) from None


def _compiled(node: ast.expr) -> Formula:
    operate: Callable[..., float]
    operands: list[ast.expr]
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return lambda _: float(value)
        case ast.Name(id=name) if name in NAMES:
            return operator.itemgetter(name)
        case ast.UnaryOp(op=kind, operand=operand) if type(kind) in OPERATORS:
            operate, operands = OPERATORS[type(kind)], [operand]
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in OPERATORS:
            operate, operands = OPERATORS[type(kind)], [left, right]
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as operands, keywords=[]) if (
            name in FUNCTIONS
        ):
            operate = FUNCTIONS[name]
        case _:
            raise ValueError(node)
    formulas = list(map(_compiled, operands))
    return lambda names: operate(*(formula(names) for formula in formulas))
