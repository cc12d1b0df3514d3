"""Layers without weights: they link, cut and reshape values, or calculate with them as a user says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from backpass import ops
from backpass.errors import ShapeError, UsageError
from backpass.ir import Elementwise, Node, Op
from backpass.ir.types import size_of
from backpass.nn.wires import Layer, Place, Wire


@dataclass(frozen=True, eq=False)
class Join(Layer):
    """Values side by side: their features one after another."""

    kind: ClassVar[str] = "join"
    arity: ClassVar[int | None] = None
    values: ClassVar[tuple[str, ...]] = ("join",)

    def width(self, *before: int | None) -> int | None:
        return None if None in before else sum(n for n in before if n is not None)

    def build(self, place: Place, *xs: Node) -> Node:
        shapes = {x.shape[:-1] for x in xs}
        if len(shapes) > 1:
            raise ShapeError(
                f"join puts values side by side, so only their features may differ in number, got "
                f"{', '.join(map(str, xs))}. Flatten what has more than one axis of features."
            )
        if len(xs) == 1:
            return xs[0]
        return ops.Concatenate(len(xs[0].shape) - 1)(*xs, name=place.name("join"))


def join(*wires: Wire) -> Wire:
    """Wires side by side, as one wire.

    Examples
    --------
    >>> from backpass.nn import Dense, Inputs, Network
    >>> x = Inputs()
    >>> Network(Dense(1)(join(x[0], Dense(3, "tanh")(x[1:])))).outputs
    1
    """
    return Join()(*wires)


@dataclass(frozen=True, eq=False)
class Added(Layer):
    """Values of one shape, added entry by entry."""

    kind: ClassVar[str] = "sum"
    arity: ClassVar[int | None] = None
    values: ClassVar[tuple[str, ...]] = ("sum",)

    def width(self, *before: int | None) -> int | None:
        return next((n for n in before if n is not None), None)

    def build(self, place: Place, *xs: Node) -> Node:
        if len({x.type for x in xs}) > 1:
            raise ShapeError(
                f"wires that are added must have the same number of features, got {', '.join(map(str, xs))}. "
                "Bring one to the other's width with a Dense layer, or put them side by side with bp.join."
            )
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total.named(place.name("sum")) if len(xs) > 1 else total


@dataclass(frozen=True, eq=False)
class Part(Layer):
    """Some neighbouring features of a value: from `start` up to, not including, `stop`."""

    start: int = 0
    stop: int | None = None

    kind: ClassVar[str] = "part"
    values: ClassVar[tuple[str, ...]] = ("part",)

    @classmethod
    def of(cls, features: int | slice) -> Part:
        """What ``wire[features]`` means."""
        if isinstance(features, slice):
            ends = (0 if features.start is None else features.start, features.stop)
            if features.step not in (None, 1) or not all(e is None or isinstance(e, int) for e in ends):
                raise UsageError(f"features are taken as x[2] or x[3:7], got x[{features}]")
            return cls(*ends)
        if isinstance(features, bool) or not isinstance(features, int):
            raise UsageError(f"features are taken by number, as x[2] or x[3:7], got x[{features!r}]")
        return cls(features, None if features == -1 else features + 1)

    def width(self, *before: int | None) -> int | None:
        if self.stop is not None and (self.start < 0) == (self.stop < 0):
            return self.stop - self.start
        return None if before[0] is None else len(range(before[0])[self.start : self.stop])

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        n = int(x.shape[-1])
        chosen = range(n)[self.start : self.stop]
        beyond = max(self.start, self.stop or 0) > n or min(self.start, self.stop or 0) < -n
        if not len(chosen) or beyond:
            asked = f"{self.start}:{'' if self.stop is None else self.stop}"
            raise ShapeError(
                f"the features [{asked}] were asked for, but {x} has {n} features, from 0 to {n - 1}"
            )
        lead = len(x.shape) - 1
        taken = ops.Slice((0,) * lead + (chosen.start,), (None,) * lead + (chosen.stop,))
        return taken(x, name=place.name("part"))


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """One axis of features for each example: [B,3,8] becomes [B,24]."""

    kind: ClassVar[str] = "flatten"
    values: ClassVar[tuple[str, ...]] = ("flat",)

    def width(self, *before: int | None) -> int | None:
        return None  # the shape before it is not known without the data

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        if len(x.shape) == 2:
            return x
        return ops.Reshape((x.shape[0], size_of(x.shape[1:])))(x, name=place.name("flat"))


@dataclass(frozen=True, eq=False)
class Apply(Layer):
    """A calculation of your own, without weights: an op, or a function of values.

    Parameters
    ----------
    function : Op or callable
        An op, or a function from nodes to a node, written with infix operators, ops and `backpass.functions`.
        The first axis of each value is the batch.
    units : int, optional
        How many outputs it gives, where a network ends in it and that cannot be told.

    Notes
    -----
    A network with a function can be described, but not built again from the description: a run keeps its
    program beside it. With an op it can.

    Examples
    --------
    >>> from backpass.nn import Dense, Network
    >>> net = Network([Dense(4), Apply(lambda z: z * z), Dense(1)])
    >>> print(net.forward(2, "f32").text(prelude=False))
    z1 = x @ W1 + b1   # f32[B,4]
    y1 = z1 * z1       # f32[B,4]
    z2 = y1 @ W2 + b2  # f32[B,1]
    a2 = z2            # f32[B,1]
    """

    function: Op | Callable[..., Node] | dict[str, Any]
    units: int | None = None

    kind: ClassVar[str] = "apply"
    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if not isinstance(self.function, (Op, dict)) and not callable(self.function):
            raise UsageError(f"Apply takes an op or a function from nodes to a node, got {self.function!r}")

    @property
    def values(self) -> tuple[str, ...]:
        return ("y",)

    def width(self, *before: int | None) -> int | None:
        if self.units is not None:
            return self.units
        return before[0] if isinstance(self.function, Elementwise) else None

    def build(self, place: Place, *xs: Node) -> Node:
        if isinstance(self.function, dict):
            raise UsageError(
                f"this network applies the function {self.function['function']!r}, which its description "
                "does not hold. Write the network again in Python; a trained run predicts without this."
            )
        y = self.function(*xs)
        if not isinstance(y, Node):
            raise UsageError(f"{self!r} must give a node of the program, it gave {type(y).__name__}")
        if not y.shape or y.shape[0] != xs[0].shape[0]:
            raise ShapeError(f"{self!r} must keep the batch as its first axis, it gave {y} for {xs[0]}")
        return y if y.name is not None else y.named(place.name("y"))

    def describe(self) -> dict[str, Any]:
        if isinstance(self.function, (Op, dict)):
            return super().describe()
        called = getattr(self.function, "__qualname__", type(self.function).__name__)
        found: dict[str, Any] = {"layer": self.kind, "function": {"function": called}}
        return found if self.units is None else found | {"units": self.units}


class Residual:
    """Layers with a way around them: x + f(x).

    He, Zhang, Ren & Sun, CVPR 2016. The layers must give as many features as they take.

    Parameters
    ----------
    layers : sequence of layers

    Examples
    --------
    >>> from backpass.nn import Dense, Network
    >>> net = Network([Dense(4, "tanh"), Residual([Dense(8, "relu"), Dense(4)]), Dense(1)])
    >>> print(net.forward(2, "f32").text(prelude=False))
    z1   = x @ W1 + b1     # f32[B,4]
    a1   = tanh(z1)        # f32[B,4]
    z2   = a1 @ W2 + b2    # f32[B,8]
    a2   = relu(z2)        # f32[B,8]
    z3   = a2 @ W3 + b3    # f32[B,4]
    sum3 = z3 + a1         # f32[B,4]
    z4   = sum3 @ W4 + b4  # f32[B,1]
    a4   = z4              # f32[B,1]
    """

    def __init__(self, layers: Iterable[Layer | Residual]) -> None:
        self.layers = tuple(layers)
        if not self.layers or not all(isinstance(layer, (Layer, Residual)) for layer in self.layers):
            raise UsageError(f"Residual takes a list of layers, got {list(self.layers)!r}")

    def __call__(self, wire: Wire) -> Wire:
        inner = wire
        for layer in self.layers:
            inner = layer(inner)
        return inner + wire

    def __repr__(self) -> str:
        return f"Residual({list(self.layers)!r})"
