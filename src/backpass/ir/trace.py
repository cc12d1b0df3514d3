"""A second kind of `xp`: one whose values are expressions.

Running a forward rule over `Tracer` gives the rule itself as data. From it come the definitions that a
printed program carries (`sigmoid`, `softmax`) and, in the compiled executor, the source of fused kernels.
So a rule is written once, and no notation is typed by hand.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backpass.errors import RuleError
from backpass.ir.op import Op


@dataclass(frozen=True, eq=False)
class Expr:
    """An expression: a name, a number, or a function of expressions with its settings."""

    function: str  # "name", "number", an infix symbol, "neg", or a function of xp
    arguments: tuple[Any, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def __add__(self, other: Any) -> Expr:
        return Expr("+", (self, _expr(other)))

    def __radd__(self, other: Any) -> Expr:
        return Expr("+", (_expr(other), self))

    def __sub__(self, other: Any) -> Expr:
        return Expr("-", (self, _expr(other)))

    def __rsub__(self, other: Any) -> Expr:
        return Expr("-", (_expr(other), self))

    def __mul__(self, other: Any) -> Expr:
        return Expr("*", (self, _expr(other)))

    def __rmul__(self, other: Any) -> Expr:
        return Expr("*", (_expr(other), self))

    def __truediv__(self, other: Any) -> Expr:
        return Expr("/", (self, _expr(other)))

    def __rtruediv__(self, other: Any) -> Expr:
        return Expr("/", (_expr(other), self))

    def __pow__(self, other: Any) -> Expr:
        return Expr("**", (self, _expr(other)))

    def __gt__(self, other: Any) -> Expr:
        return Expr(">", (self, _expr(other)))

    def __ge__(self, other: Any) -> Expr:
        return Expr(">=", (self, _expr(other)))

    def __lt__(self, other: Any) -> Expr:
        return Expr("<", (self, _expr(other)))

    def __le__(self, other: Any) -> Expr:
        return Expr("<=", (self, _expr(other)))

    def __neg__(self) -> Expr:
        return Expr("neg", (self,))


def _expr(value: Any) -> Expr:
    return value if isinstance(value, Expr) else Expr("number", (value,))


class Tracer:
    """The array namespace over expressions."""

    def __getattr__(self, function: str) -> Callable[..., Expr]:
        def call(*arguments: Any, **settings: Any) -> Expr:
            return Expr(function, tuple(_expr(a) for a in arguments), tuple(settings.items()))

        return call


def traced(op: Op, names: list[str] | None = None) -> tuple[list[str], Expr]:
    """The forward rule of an op as an expression, and the names of its inputs."""
    if names is None:
        names = [p for p in inspect.signature(op.forward).parameters if p not in ("xp",)]
    return names, op.forward(Tracer(), *(Expr("name", (n,)) for n in names))


def _symbolic(op: Op) -> tuple[Op, list[str]]:
    """The op with the numbers that its notation names as settings replaced by those names."""
    numbers = {f for f, v in op.settings().items() if isinstance(v, (int, float))}
    shown = [f for f in op.settings() if f in numbers and "{" + f + "}" in op.template]
    op = copy.copy(op)
    for name in shown:
        object.__setattr__(op, name, Expr("name", (name,)))
    return op, shown


_BINDING = {">": 1, ">=": 1, "<": 1, "<=": 1, "+": 2, "-": 2, "*": 3, "/": 3, "neg": 4, "**": 5}
_NOT_LEFT = (
    ">",
    ">=",
    "<",
    "<=",
    "**",
)  #: their left operand needs parentheses, too, where it is of their kind


def definition(op: Op) -> str:
    """The Python function that an op's forward rule is.

    Examples
    --------
    >>> from backpass.ops import Sigmoid
    >>> print(definition(Sigmoid()))
    def sigmoid(x):
        return 1 / (1 + exp(-x))
    """
    try:
        symbolic, settings = _symbolic(op)
        names, result = traced(symbolic)
    except (AttributeError, TypeError) as error:
        raise RuleError(
            f"{op.name}: its forward rule is no single expression ({error}), so the function of a printed "
            "program cannot be derived from it. Write that function as the op's prelude."
        ) from None
    names = [*names, *settings]
    uses: dict[Expr, int] = {}
    order: list[Expr] = []

    def visit(e: Expr) -> None:
        uses[e] = uses.get(e, 0) + 1
        if uses[e] == 1:
            for a in e.arguments:
                if isinstance(a, Expr):
                    visit(a)
            order.append(e)

    visit(result)
    local: dict[Expr, str] = {}
    lines = []

    def source(e: Expr, binding: int = 0) -> str:
        if e in local:
            return local[e]
        if e.function in ("name", "number"):
            text = str(e.arguments[0])
            return f"({text})" if text.startswith("-") and binding > _BINDING["neg"] else text
        if e.function in _BINDING:
            own = _BINDING[e.function]
            if e.function == "neg":
                text = f"-{source(e.arguments[0], own)}"
            else:
                a, b = e.arguments
                text = f"{source(a, own + (e.function in _NOT_LEFT))} {e.function} {source(b, own + 1)}"
            return f"({text})" if own < binding else text
        arguments = [source(a) for a in e.arguments] + [f"{k}={v!r}" for k, v in e.settings]
        return f"{e.function}({', '.join(arguments)})"

    for e in order:
        if uses[e] > 1 and e.function not in ("name", "number") and e is not result:
            text = source(e)
            local[e] = f"v{len(local) + 1}"
            lines.append(f"{local[e]} = {text}")
    lines.append(f"return {source(result)}")
    called = op.source().split("(")[0]
    return f"def {called}({', '.join(names)}):\n" + "\n".join(f"    {line}" for line in lines)
