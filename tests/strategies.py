"""Random programs over the registry's ops, for property tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from backpass import ops
from backpass.ir import REGISTRY, Graph, Node
from backpass.ir.tuples import Item
from backpass.ir.types import ArrayType, Dim, size_of
from backpass.ops import (
    Broadcast,
    Cast,
    Clip,
    Concatenate,
    CumSum,
    Divide,
    Einsum,
    Exp,
    Gather,
    Log,
    Log1p,
    LogSumExp,
    MatMul,
    Max,
    Mean,
    Min,
    Pad,
    Power,
    Prod,
    Reshape,
    Scan,
    ScatterAdd,
    Sigmoid,
    SigmoidCrossEntropy,
    Slice,
    SoftmaxCrossEntropy,
    Sqrt,
    SquaredError,
    Stack,
    Sum,
    Tanh,
    Transpose,
    Uniform,
    Where,
    data,
    parameter,
    state,
)

DIMS = {"B": 3}

UNARY = (
    "negate", "tanh", "sigmoid", "relu", "identity", "square", "abs", "sign", "sin", "cos", "erf", "softplus",
    "softsign", "leaky_relu", "elu", "selu", "gelu", "silu", "hard_tanh",
)  # fmt: skip
BINARY = ("add", "subtract", "multiply", "gate", "maximum", "minimum")
COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")


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
        self.draws = state("draws", "i64[]")
        self.feeds["draws"] = np.asarray(self.rng.integers(0, 1000))

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

    def integers(self, shape: tuple[Dim, ...], below: Dim) -> Node:
        """An input of integers from 0 up to a size."""
        type_ = ArrayType(shape, "i64")
        name = f"i{len(self.feeds)}"
        largest = ArrayType((below,)).bind(DIMS).size
        self.feeds[name] = np.asarray(self.rng.integers(0, largest, type_.bind(DIMS).shape))
        return data(name, type_)

    def partner(self, x: Node) -> Node:
        """A value that broadcasts with x: of its type, or of a trailing part of its shape."""
        fits = [y for y in self.pool if y.shape == x.shape[len(x.shape) - len(y.shape) :]]
        return self.draw(st.sampled_from(fits))

    def move(self, name: str, x: Node) -> Node | None:
        """One more value, or None where the move does not fit x."""
        draw, rank = self.draw, len(x.shape)
        if name in UNARY:
            return REGISTRY.get(name)()(x)
        if name in BINARY:
            pair = [x, self.partner(x)]
            return REGISTRY.get(name)()(*(pair if draw(st.booleans()) else pair[::-1]))
        if name in COMPARISONS:
            y = self.partner(x)
            condition = REGISTRY.get(name)()(x, y)
            return Cast(self.dtype)(condition) * x if draw(st.booleans()) else Where()(condition, x, y * 0.5)
        if rank and (made := self.along(name, x, draw(st.integers(0, rank - 1)))) is not None:
            return made
        if name == "power":
            return draw(st.sampled_from([lambda: Power(3.0)(Tanh()(x)), lambda: Power(-1.5)(x * x + 0.5)]))()
        if name == "clip":
            return Clip(-0.4, 0.7)(x)
        if name == "sqrt":
            return Sqrt()(x * x + 0.5)
        if name == "log1p":
            return Log1p()(x * x)
        if name == "expm1":
            return ops.Expm1()(Tanh()(x))
        if name == "where":
            y = self.partner(x)
            return Where()(y > 0.1, draw(st.sampled_from([y, -0.3])), x)
        if name == "cast":
            return Cast(self.dtype)(Cast("i64")(4.0 * x)) * x
        if name == "uniform":
            return Where()(Uniform(len(self.moves), x.shape, self.dtype)(self.draws) < 0.6, x, 0.0)
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
        if name in ("max", "min", "prod", "logsumexp") and rank:
            axes = tuple(sorted(draw(st.sets(st.integers(0, rank - 1)))))
            kind = {"max": Max, "min": Min, "prod": Prod, "logsumexp": LogSumExp}[name]
            return kind(axes)(Tanh()(x) + 1.5 if name == "prod" else x)
        if name == "einsum" and rank:
            return self.product(x)
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
        if name == "matmul" and rank > 2:
            turned = Transpose((*range(rank - 2), rank - 1, rank - 2))(x)
            return MatMul()(*((x, turned) if draw(st.booleans()) else (turned, x)))
        if name in ("softmax", "log_softmax") and rank:
            return REGISTRY.get(name)()(x)
        if name == "softmax_cross_entropy" and rank:
            return SoftmaxCrossEntropy()(x, self.input(x.shape, simplex=True))
        if name in ("sigmoid_cross_entropy", "squared_error") and rank:
            same = draw(st.sampled_from([y for y in self.pool if y.type == x.type]))
            return (SigmoidCrossEntropy if name[1] == "i" else SquaredError)()(x, Sigmoid()(same))
        if name == "scan" and rank > 1:
            return self.scan(x)
        return None

    def along(self, name: str, x: Node, axis: int) -> Node | None:
        """Moves along one axis."""
        draw, size = self.draw, x.shape[axis]
        whole = tuple((0, None) for _ in x.shape)
        if name == "cumsum":
            return CumSum(axis, draw(st.booleans()))(x)
        if name == "argmax":
            return Gather(axis)(x, ops.ArgMax(0)(x)) if len(x.shape) == 1 else None
        if name == "gather":
            return Gather(axis)(x, self.integers(draw(st.sampled_from([(), (2,), (2, 2)])), size))
        if name == "scatter_add":
            return ScatterAdd(axis, draw(st.sampled_from([2, 4, "B"])))(x, self.integers((size,), 2))
        if name == "stack":
            same = [y for y in self.pool if y.type == x.type]
            return Stack(axis)(x, draw(st.sampled_from(same)))
        if isinstance(size, str):
            return None
        if name == "slice":
            start = draw(st.integers(0, size - 1))
            stop = draw(st.sampled_from([None, draw(st.integers(start + 1, size))]))
            starts, stops = zip(*(*whole[:axis], (start, stop), *whole[axis + 1 :]), strict=True)
            return Slice(starts, stops)(x)
        if name == "pad":
            widths = [(0, 0)] * len(x.shape)
            widths[axis] = (draw(st.integers(0, 2)), draw(st.integers(0, 1)))
            return Pad(tuple(widths))(x)
        if name == "concatenate":
            other = Tanh()(x) if draw(st.booleans()) else x
            return Concatenate(axis)(x, other) if size < 5 else None
        return None

    def product(self, x: Node) -> Node:
        """x with another value, and some of the indices summed over."""
        letters = "abcdef"[: len(x.shape)]
        y = self.draw(st.sampled_from([y for y in self.pool if y.shape and y.shape[0] == x.shape[0]]))
        other = letters[0] + "uvwxyz"[: len(y.shape) - 1]
        every = "".join(dict.fromkeys(letters + other))
        kept = "".join(c for c in every if self.draw(st.booleans()))[:3]
        return Einsum(f"{letters},{other}->{kept}")(x, y)

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
    *UNARY, *BINARY, *COMPARISONS,
    "exp", "expm1", "log", "log1p", "sqrt", "power", "clip", "divide", "where", "cast", "constant", "size",
    "sum", "mean", "max", "min", "prod", "logsumexp", "argmax", "cumsum",
    "transpose", "reshape", "broadcast", "slice", "pad", "concatenate", "stack", "gather", "scatter_add",
    "matmul", "einsum", "softmax", "log_softmax", "softmax_cross_entropy", "sigmoid_cross_entropy",
    "squared_error", "scan", "uniform",
]  # fmt: skip


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
