"""The forward rule of an elementwise op as source that calculates one entry.

Rules are traced (`ir.trace`), so an op needs no lowering of its own. Every expression has a kind: "real" (the
one floating-point type of the kernel), "i64", "bool", or "number" (one in the rule itself, which takes the
kind of what it meets, as a Python number does in NumPy).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from backpass.errors import NotLowered
from backpass.ir import Node
from backpass.ir.trace import Expr, traced

#: Functions of one real number that kernels may call; all but exp and tanh are those of the C library.
FUNCTIONS = ("exp", "tanh", "log", "log1p", "expm1", "sqrt", "sin", "cos", "erf")
_ARITHMETIC = ("+", "-", "*")
_COMPARISONS = {
    ">": ">", ">=": ">=", "<": "<", "<=": "<=", "==": "==", "!=": "!=",
    "greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
_SHORT = re.compile(r"\w+(\[[^\[\]]*\])?")  # a variable or an entry of an array: may be written twice


class Scalar(NamedTuple):
    """Source of one number, and its kind."""

    code: str
    kind: str


def kind_of(dtype: str) -> str:
    """The kind of an array's entries."""
    return dtype if dtype in ("i64", "bool") else "real"


def entry_of(
    node: Node, inputs: list[str], constant: Callable[[float], str], temporary: Callable[[str], str]
) -> str:
    """The source of one entry of an elementwise value.

    Parameters
    ----------
    node : Node
    inputs : list of str
        The source of the same entry of each input.
    constant : callable
        The name of a real constant.
    temporary : callable
        Puts an expression into a variable that may be read more than once, and gives its name.

    Raises
    ------
    NotLowered
        The rule calls a function that kernels do not have; the message names the op.
    """
    names, rule = traced(node.op)
    kinds = [kind_of(x.array_type.dtype) for x in node.inputs]
    given = {n: Scalar(c, k) for n, c, k in zip(names, inputs, kinds, strict=True)}
    return _Walk(node, given, constant, temporary).result(rule)


class _Walk:
    def __init__(
        self,
        node: Node,
        given: dict[str, Scalar],
        constant: Callable[[float], str],
        temporary: Callable[[str], str],
    ) -> None:
        self.node, self.given, self.constant, self.temporary = node, given, constant, temporary
        self.uses: dict[object, int] = {}
        self.known: dict[object, Scalar] = {}

    def result(self, rule: Expr) -> str:
        self.count(rule)
        return self.cast(self.code(rule), kind_of(self.node.array_type.dtype)).code

    def refused(self, what: str) -> NotLowered:
        return NotLowered(f"{self.node.op.name} {what}, which has no lowering")

    def key(self, e: Expr) -> object:
        return e.arguments[0] if e.function == "name" else id(e)

    def count(self, e: Expr) -> None:
        key = self.key(e)
        self.uses[key] = self.uses.get(key, 0) + 1
        if self.uses[key] == 1:
            for a in e.arguments:
                if isinstance(a, Expr):
                    self.count(a)

    def code(self, e: Expr) -> Scalar:
        if e.function == "number":
            value = e.arguments[0]
            return Scalar(repr(value if isinstance(value, (bool, int)) else float(value)), "number")
        key = self.key(e)
        if key not in self.known:
            made = self.given[e.arguments[0]] if e.function == "name" else self.call(e)
            self.known[key] = self.short(made) if self.uses[key] > 1 else made
        return self.known[key]

    def short(self, x: Scalar) -> Scalar:
        """The same value in a form that may be written more than once."""
        if x.kind == "number" or _SHORT.fullmatch(x.code):
            return x
        return Scalar(self.temporary(x.code), x.kind)

    # ---- kinds

    def cast(self, x: Scalar, kind: str) -> Scalar:
        if x.kind == kind:
            return x
        code = x.code
        if x.kind == "number":
            code = self.literal(code, kind)
        elif kind == "real":
            one, zero = self.constant(1.0), self.constant(0.0)
            code = f"({one} if {code} else {zero})" if x.kind == "bool" else f"real({code})"
        elif kind == "i64":
            code = f"(1 if {code} else 0)" if x.kind == "bool" else f"int64({code})"
        else:
            code = f"({code} != {self.constant(0.0) if x.kind == 'real' else '0'})"
        return Scalar(code, kind)

    def literal(self, text: str, kind: str) -> str:
        value = {"True": 1.0, "False": 0.0}.get(text)
        value = float(text) if value is None else value
        if kind == "real":
            return self.constant(value)
        if kind == "bool":
            return str(value != 0)
        if value != math.floor(value):
            raise self.refused(f"calculates with integers and {text}")
        return str(int(value))

    def alike(self, *xs: Scalar, least: str = "i64") -> list[Scalar]:
        """Operands brought to one kind: of the kinds they have, the one that holds all of them."""
        order = ["bool", "i64", "real"]
        kinds = [x.kind for x in xs if x.kind != "number"] or ["real"]
        kind = max([*kinds, least], key=order.index)
        fractions = any(x.kind == "number" and "." in x.code and not _whole(x.code) for x in xs)
        return [self.cast(x, "real" if fractions else kind) for x in xs]

    # ---- functions

    def call(self, e: Expr) -> Scalar:
        name, arguments = e.function, e.arguments[:1] if e.function == "cast" else e.arguments
        xs = [self.code(a) for a in arguments]
        if name in _ARITHMETIC:
            a, b = self.alike(*xs)
            return Scalar(f"({a.code} {name} {b.code})", a.kind)
        if name == "/":
            a, b = (self.cast(x, "real") for x in xs)
            return Scalar(f"({a.code} / {b.code})", "real")
        if name in _COMPARISONS:
            a, b = self.alike(*xs, least="bool")
            return Scalar(f"({a.code} {_COMPARISONS[name]} {b.code})", "bool")
        if name == "neg":
            (a,) = self.alike(*xs)
            return Scalar(f"(-{a.code})", a.kind)
        if name == "where":
            condition = self.cast(xs[0], "bool")
            a, b = self.alike(*xs[1:], least="bool")
            return Scalar(f"({a.code} if {condition.code} else {b.code})", a.kind)
        if name in ("maximum", "minimum"):
            return self.extreme(name, *xs)
        if name == "clip":
            return self.extreme("minimum", self.extreme("maximum", xs[0], xs[1]), xs[2])
        if name in ("power", "**"):
            return self.power(*xs)
        if name in ("abs", "sign", "square"):
            (a,) = self.alike(*xs)
            return getattr(self, name)(self.short(a))  # type: ignore[no-any-return]
        if name in FUNCTIONS:
            return Scalar(f"{name}({self.cast(xs[0], 'real').code})", "real")
        if name == "cast":
            return self.cast(xs[0], kind_of(str(e.arguments[1].arguments[0])))
        raise self.refused(f"calls {name}")

    def extreme(self, name: str, a: Scalar, b: Scalar) -> Scalar:
        """NumPy's maximum or minimum: not a number if either is."""
        sign = "<" if name == "maximum" else ">"
        if a.kind == "number":
            a, b = b, a
        plain = b.kind == "number"
        a, b = (self.short(x) for x in self.alike(a, b))
        other = "" if plain or a.kind != "real" else f" or {b.code} != {b.code}"
        return Scalar(f"({b.code} if {a.code} {sign} {b.code}{other} else {a.code})", a.kind)

    def power(self, x: Scalar, exponent: Scalar) -> Scalar:
        value = float(exponent.code) if exponent.kind == "number" else None
        x = self.short(x if x.kind == "i64" and value in (2.0, 3.0) else self.cast(x, "real"))
        if value is not None:
            if value in (2.0, 3.0):
                return Scalar("(" + " * ".join([x.code] * int(value)) + ")", x.kind)
            if value == 0.5:
                return Scalar(f"sqrt({x.code})", "real")
            if value == -1.0:
                return Scalar(f"({self.constant(1.0)} / {x.code})", "real")
        return Scalar(f"({x.code} ** {self.cast(exponent, 'real').code})", "real")

    def square(self, x: Scalar) -> Scalar:
        return Scalar(f"({x.code} * {x.code})", x.kind)

    def abs(self, x: Scalar) -> Scalar:
        return Scalar(f"abs({x.code})", x.kind)

    def sign(self, x: Scalar) -> Scalar:
        one, zero = (self.constant(1.0), self.constant(0.0)) if x.kind == "real" else ("1", "0")
        c = x.code
        # The last branch is for what is not a number.
        return Scalar(
            f"({one} if {c} > {zero} else (-{one} if {c} < {zero} else ({zero} if {c} == {zero} else {c})))",
            x.kind,
        )


def _whole(text: str) -> bool:
    value = float(text)
    return math.isfinite(value) and value == math.floor(value)
