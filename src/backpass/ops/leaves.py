"""Leaves of a program: what is fed, what is fixed, and the size of a named dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from backpass.errors import GraphError, RuleError
from backpass.ir.node import SURFACE, Node, broadcast_to
from backpass.ir.op import ANY, Elementwise, Op, Sample
from backpass.ir.types import ArrayType, Dim, bind_dim, parse_type, size_of

KINDS = ("data", "parameter", "fixed", "state", "number")


@final
@dataclass(frozen=True)
class Input(Op):
    """A value that is given from outside.

    Parameters
    ----------
    kind : {"data", "parameter", "fixed", "state", "number"}
        Rows of a batch; what is learned; what never changes in a run (frozen weights); what is carried
        without being learned (velocities, running statistics, step counters); a number that the user may
        tune (learning rate).
    of : ArrayType
    """

    kind: str
    of: ArrayType
    name = "input"
    notation = tex = "input"
    feeds = True
    unsampled = "it has no rule: its value is given from outside"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GraphError(f"an input is one of {', '.join(KINDS)}, not {self.kind!r}")

    def infer(self) -> ArrayType:
        return self.of

    def forward(self, xp: Any, /) -> Any:
        raise RuleError("an input is fed; it has no forward rule")

    def vjp(self, adj: Node, y: Node, /) -> tuple[()]:
        return ()


@final
@dataclass(frozen=True)
class Constant(Op):
    """A fixed number."""

    value: float
    dtype: str = "f64"
    name = "constant"
    notation = tex = "{value}"
    printed_as = "number"

    def infer(self) -> ArrayType:
        return ArrayType((), self.dtype)

    def forward(self, xp: Any, /) -> Any:
        return xp.constant(self.value, self.dtype)

    def vjp(self, adj: Node, y: Node, /) -> tuple[()]:
        return ()

    def source(self) -> str:
        if self.dtype in ("i64", "bool"):
            return str(int(self.value))
        short = f"{self.value:g}"
        if not math.isfinite(self.value):
            return short
        if self.value == 0:
            return repr(self.value) if math.copysign(1, self.value) < 0 else "0"  # -0 is the integer 0
        return short if float(short) == self.value else repr(self.value)

    latex = source


Constant.samples = tuple(Sample((), op=Constant(v)) for v in (2.0, -0.1, -0.0, math.inf))


@final
@dataclass(frozen=True)
class Size(Op):
    """The size of a named dimension, as a number to calculate with: the B of a mean over the batch.

    It has no input, so that a shard of a batch still divides by the size of the whole batch.
    """

    dim: str
    dtype: str = "f64"
    name = "size"
    notation = tex = "{dim}"
    printed_as = "number"
    sized = ("dim",)
    unsampled = "its value is the size of an input that it does not have"

    def infer(self) -> ArrayType:
        return ArrayType((), self.dtype)

    def bind(self, dims: Mapping[str, int]) -> Constant:
        return Constant(float(bind_dim(self.dim, dims)), self.dtype)

    def forward(self, xp: Any, /) -> Any:
        raise RuleError(f"the size of {self.dim} must be bound before the program runs")

    def vjp(self, adj: Node, y: Node, /) -> tuple[()]:
        return ()


@final
@dataclass(frozen=True)
class Identity(Elementwise):
    """The same value under another name."""

    name = "identity"
    notation = tex = "{0}"
    printed_as = "same"
    dtypes = ANY
    samples = (Sample((("m", "n"),)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj,)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 0


def _input(kind: str, name: str, of: str | ArrayType) -> Node:
    return Input(kind, parse_type(of) if isinstance(of, str) else of)(name=name)


def data(name: str, of: str | ArrayType) -> Node:
    """An input that changes from step to step: rows of a batch.

    Examples
    --------
    >>> str(data("x", "f32[B,784]"))
    'x: f32[B,784]'
    """
    return _input("data", name, of)


def parameter(name: str, of: str | ArrayType) -> Node:
    """An input that is learned."""
    return _input("parameter", name, of)


def fixed(name: str, of: str | ArrayType) -> Node:
    """An input that never changes in a run: a weight that is not trained."""
    return _input("fixed", name, of)


def state(name: str, of: str | ArrayType) -> Node:
    """An input that is carried from step to step without being learned."""
    return _input("state", name, of)


def number(name: str, dtype: str) -> Node:
    """A scalar input that the user may tune without compiling again: a learning rate."""
    return _input("number", name, ArrayType((), dtype))


def constant(value: float, dtype: str = "f64") -> Node:
    """A fixed number."""
    return Constant(float(value), dtype)()


def filled(value: float, type_: ArrayType) -> Node:
    """An array with the same number everywhere."""
    return broadcast_to(constant(value, type_.dtype), type_.shape)


def count(shape: tuple[Dim, ...], dtype: str) -> Node:
    """How many entries a shape has, as a number to calculate with."""
    size = size_of(shape)
    return Size(size, dtype)() if isinstance(size, str) else constant(size, dtype)


SURFACE.constant = Constant
SURFACE.identity = Identity
