"""Random programs over the registry's ops, for property tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from backpass.ir import Graph, Node
from backpass.ir.tuples import Item
from backpass.ir.types import ArrayType, Dim, size_of
from backpass.ops import (
    Add,
    Broadcast,
    Divide,
    Exp,
    Gate,
    Identity,
    Log,
    MatMul,
    Mean,
    Multiply,
    Negate,
    Relu,
    Reshape,
    Scan,
    Sigmoid,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Subtract,
    Sum,
    Tanh,
    Transpose,
    data,
    parameter,
)

DIMS = {"B": 3}


@dataclass(frozen=True)
class Program:
    """A random program with one scalar output C, and values for its inputs."""

    graph: Graph
    feeds: dict[str, np.ndarray]
    wrt: list[str]
    moves: list[str] = field(compare=False)

    def __repr__(self) -> str:  # what hypothesis shows of a failing example
        return f"{self.graph.text()}\n{self.feeds}"


class _Builder:
    def __init__(self, draw: Callable, dtype: str) -> None:
        self.draw, self.dtype = draw, dtype
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.feeds: dict[str, np.ndarray] = {}
        self.wrt: list[str] = []
        self.moves: list[str] = []
        n, m = draw(st.permutations([2, 4]))
        # The last is a parameter that usually nothing reads: its gradient is zero.
        shapes: list[tuple[Dim, ...]] = [("B", n), (n, m), (m,), (), ("B",), (2, "B", m)]
        self.pool = [self.input(shape) for shape in shapes]

    def input(self, shape: tuple[Dim, ...], simplex: bool = False) -> Node:
        type_ = ArrayType(shape, self.dtype)
        name = f"{'t' if simplex else 'p'}{len(self.feeds)}"
        value = self.rng.uniform(-1.5, 1.5, type_.bind(DIMS).shape)
        if simplex:
            value = np.exp(value) / np.exp(value).sum(axis=-1, keepdims=True)
        else:
            self.wrt.append(name)
        self.feeds[name] = np.asarray(value, type_.numpy_dtype)
        return data(name, type_) if simplex else parameter(name, type_)

    def partner(self, x: Node) -> Node:
        """A value that broadcasts with x: of its type, or of a trailing part of its shape."""
        fits = [y for y in self.pool if y.shape == x.shape[len(x.shape) - len(y.shape) :]]
        return self.draw(st.sampled_from(fits))

    def move(self, name: str, x: Node) -> Node | None:
        """One more value, or None where the move does not fit x."""
        draw, rank = self.draw, len(x.shape)
        unary = {"negate": Negate, "tanh": Tanh, "sigmoid": Sigmoid, "relu": Relu, "identity": Identity}
        binary = {"add": Add, "subtract": Subtract, "multiply": Multiply, "gate": Gate}
        if name in unary:
            return unary[name]()(x)
        if name in binary:
            pair = [x, self.partner(x)]
            return binary[name]()(*(pair if draw(st.booleans()) else pair[::-1]))
        if name == "exp":
            return Exp()(Tanh()(x))
        if name == "log":
            return Log()(x * x + 0.5)
        if name == "divide":
            y = self.partner(x)
            return Divide()(x, y * y + 1)
        if name == "constant":
            c = draw(st.sampled_from([1.0, 0.0, -0.5, 0.1, 3.0]))
            return draw(
                st.sampled_from([lambda: x * c, lambda: c - x, lambda: c * x, lambda: x + c, lambda: x - c])
            )()
        if name == "size":
            return Mean((x.shape.index("B"),))(x) if "B" in x.shape else None
        if name in ("sum", "mean") and rank:
            axes = tuple(sorted(draw(st.sets(st.integers(0, rank - 1)))))
            return (Sum if name == "sum" else Mean)(axes)(x)
        if name == "transpose" and rank > 1:
            return Transpose(tuple(draw(st.permutations(range(rank)))))(x)
        if name == "reshape":
            i = draw(st.integers(0, max(rank - 1, 0)))
            return Reshape((*x.shape[:i], size_of(x.shape[i : i + 2]), *x.shape[i + 2 :]))(x)
        if name == "broadcast" and rank < 3:
            i = draw(st.integers(0, rank))
            return Broadcast((*x.shape[:i], 2, *x.shape[i:]), tuple(j + (j >= i) for j in range(rank)))(x)
        if name == "matmul" and rank == 2:
            known = [y for y in self.pool if len(y.shape) == 2 and y.shape[0] == x.shape[1]]
            if known and draw(st.booleans()):
                return MatMul()(x, draw(st.sampled_from(known)))
            return x @ self.input((x.shape[1], 2)) if isinstance(x.shape[1], int) else x.T @ x
        if name == "softmax" and rank:
            return Softmax()(x)
        if name == "softmax_cross_entropy" and rank:
            return SoftmaxCrossEntropy()(x, self.input(x.shape, simplex=True))
        if name in ("sigmoid_cross_entropy", "squared_error") and rank:
            same = draw(st.sampled_from([y for y in self.pool if y.type == x.type]))
            return (SigmoidCrossEntropy if name[1] == "i" else SquaredError)()(x, Sigmoid()(same))
        if name == "scan" and rank > 1:
            return self.scan(x)
        return None

    def scan(self, x: Node) -> Node:
        """A recurrent net along the first axis."""
        inner = ArrayType(x.shape[1:], self.dtype)
        h, u, w = data("h", inner), data("u", inner), data("w", ArrayType((), self.dtype))
        h_new = Tanh()(h * w + u)
        body = Graph({"h_new": h_new, "y": h_new * u})
        start = Broadcast(inner.shape, ())(self.pool[3])
        loop = Scan(body, ("h", "u", "w"), 1, 1, reverse=self.draw(st.booleans()))(start, x, self.pool[3])
        return Item(self.draw(st.integers(0, 1)))(loop)


MOVES = [
    "negate",
    "tanh",
    "sigmoid",
    "relu",
    "identity",
    "add",
    "subtract",
    "multiply",
    "gate",
    "exp",
    "log",
    "divide",
    "constant",
    "sum",
    "mean",
    "transpose",
    "reshape",
    "broadcast",
    "matmul",
    "softmax",
    "softmax_cross_entropy",
    "sigmoid_cross_entropy",
    "squared_error",
    "scan",
    "size",
]


@st.composite
def programs(draw: Callable, dtype: str = "f64", most: int = 9) -> Program:
    """Programs with shared and unused values, broadcasts, names, a named dimension, loops and heads."""
    b = _Builder(draw, dtype)
    inputs = len(b.pool)
    for i in range(draw(st.integers(min(3, most), most))):
        name = draw(st.sampled_from(MOVES))
        start = draw(st.integers(0, len(b.pool) - 1)) if draw(st.booleans()) else 0
        turns = reversed(b.pool[start:] + b.pool[:start])  # from here on, the first value that the move fits
        y = next(made for x in turns if (made := b.move(name, x)) is not None)
        b.moves.append(name)
        b.pool.append(y.named(f"z{i}") if draw(st.booleans()) else y)
    cost = Mean()(b.pool[-1])
    for y in b.pool[inputs:-1]:  # most values are read, many by several others
        if draw(st.integers(0, 3)):
            cost = cost + Sum()(Tanh()(y))
    graph = Graph({"C": cost, "batch": b.pool[4]})  # an output that carries the size of B
    return Program(graph, {k: v for k, v in b.feeds.items() if k in graph.inputs}, b.wrt, b.moves)


def is_tame(program: Program, values: dict[Node, object]) -> bool:
    """Whether no value is so large that a comparison would only see rounding."""
    parts = [p for v in values.values() for p in (v if isinstance(v, tuple) else (v,))]
    return all(np.all(np.abs(np.asarray(p)) < 1e4) for p in parts)
