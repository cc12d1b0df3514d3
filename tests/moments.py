"""Visited steps of small nets of every kind: for the tests of the questions inside one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import stages

import backpass as bp
from backpass import ops
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Node
from backpass.ir.op import Op, Sample
from backpass.record.replay import Moment


class SoftSum(Op):
    """An op of a user's own that is no sum, with a notation of its own: ln(1 + Σ eˣ) over the features."""

    name: ClassVar[str] = "soft_sum"
    notation: ClassVar[str] = "soft_sum({0})"
    tex: ClassVar[str] = "soft_sum({0})"
    prelude: ClassVar[str] = "def soft_sum(x):\n    return log1p(sum(exp(x), axis=1))[:, None] + 0 * x\n"
    samples: ClassVar[tuple[Sample, ...]] = (Sample((("B", 3),)),)

    def __eq__(self, other: object) -> bool:
        return type(other) is SoftSum

    def __hash__(self) -> int:
        return hash("soft_sum")

    def settings(self) -> dict[str, Any]:
        return {}

    def infer(self, x: Any) -> Any:
        return x

    def forward(self, xp: Any, /, x: Any) -> Any:
        return np.log1p(np.sum(np.exp(x), axis=1))[:, None] + 0 * x

    def vjp(self, adj: Any, y: Node, /, x: Node) -> tuple[Node]:
        spread = ops.Broadcast(x.shape, (0,))
        return (spread(ops.Sum((1,))(adj)) * ops.Exp()(x - y),)


def _skips() -> bp.Network:
    x = bp.Inputs()
    h = bp.Dense(3, "tanh")(x)
    again = bp.Dense(3, "sigmoid")
    return bp.Network(bp.Dense(3, "softmax")(bp.join(again(again(h)) + h, x)))


def _scanned(x: Node) -> Node:
    """A loop along the features: each is added to what came before, through tanh."""
    h, u = ops.data("h", f"{x.dtype}[B]"), ops.data("u", f"{x.dtype}[B]")
    new = ops.Tanh()(h * 0.5 + u)
    loop = ops.Scan(bp.ir.Graph({"h_new": new, "y": new * 2.0}), ("h", "u"), 1, 1)
    states = loop(ops.filled(0.0, h.array_type), ops.Transpose((1, 0))(x))
    return ops.Transpose((1, 0))(ops.Item(1)(states))


def _windows(x: Node) -> Node:
    """A convolution of one kernel over windows of neighbouring features."""
    cut = ops.Stack(1)(x[:, 0:3], x[:, 1:4], x[:, 2:5])
    return ops.Einsum("bwk,bk->bw")(cut, x[:, 0:3])


NETS: dict[str, Callable[[], bp.Network]] = {
    "dense": lambda: bp.Network([bp.Dense(4, "sigmoid"), bp.Dense(3, "softmax")]),
    "deep": lambda: bp.Network([bp.Dense(4, "relu"), bp.Dense(3, "tanh"), bp.Dense(3, "softmax")]),
    "skips": _skips,
    "dropout": lambda: bp.Network([bp.Dense(5, "tanh"), bp.Dropout(0.4), bp.Dense(3, "softmax")]),
    "batch norm": lambda: bp.Network(
        [bp.Dense(3, use_bias=False), bp.BatchNorm(), bp.Activation("tanh"), bp.Dense(3, "softmax")]
    ),
    "layer norm": lambda: bp.Network([bp.Dense(4, "tanh"), bp.LayerNorm(), bp.Dense(3, "softmax")]),
    "residual": lambda: bp.Network(
        [bp.Dense(3, "gelu"), bp.Residual([bp.Dense(3, "elu")]), bp.Dense(3, "sigmoid")]
    ),
    "embedding": lambda: bp.Network([bp.Embedding(4, 2), bp.Flatten(), bp.Dense(3, "softmax")]),
    "own op": lambda: bp.Network([bp.Dense(3, "tanh"), bp.Apply(SoftSum()), bp.Dense(3, "softmax")]),
    "cumulative": lambda: bp.Network([bp.Dense(3), bp.Apply(ops.CumSum(1)), bp.Dense(3, "softmax")]),
    "attention": lambda: bp.Network([bp.Dense(3), bp.Apply(ops.Softmax()), bp.Dense(3, "softmax")]),
    "loop": lambda: bp.Network([bp.Dense(3), bp.Apply(_scanned), bp.Dense(3, "softmax")]),
    "windows": lambda: bp.Network([bp.Dense(5), bp.Apply(_windows), bp.Dense(3, "softmax")]),
    "squared": lambda: bp.Network([bp.Dense(3, "sigmoid"), bp.Dense(3)]),
}

#: Settings of a net's run that differ from the others'.
OPTIONS: dict[str, dict[str, Any]] = {
    "deep": {"l2": 0.01, "l1": 0.001, "optimizer": bp.Adam(0.01)},
    "dropout": {"optimizer": bp.RMSprop(0.01)},
    "batch norm": {"optimizer": bp.AdamW(0.01, decay=0.1), "l2": 0.01},
    "residual": {"optimizer": bp.SGD(0.1, 0.9, nesterov=True)},
    "squared": {"loss": "huber", "optimizer": bp.Adagrad(0.1)},
}


@cache
def trained(name: str, dtype: str = "f64") -> bp.Run:
    """A short run of one of these nets."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 24)
    X = rng.standard_normal((24, 3)) + 2 * np.eye(3)[y]
    if name == "embedding":
        X = rng.integers(0, 4, (24, 3)).astype(float)
    options = {"batch": 5, "epochs": 2, "executor": "reference", "dtype": dtype, **OPTIONS.get(name, {})}
    return bp.train(NETS[name](), (X, y), **options)


@cache
def visited(name: str, dtype: str = "f64") -> Moment:
    """The third step of a net's run."""
    return trained(name, dtype).at(3)


@dataclass
class Staged:
    """A step of `stages`, which has no network: only what the questions read of a Moment."""

    case: stages.Case
    step: int = 1

    @property
    def graph(self) -> bp.ir.Graph:
        return self.case.step

    @cached_property
    def rows(self) -> np.ndarray:
        return np.arange(stages.BATCH)

    @cached_property
    def feeds(self) -> dict[str, np.ndarray]:
        inputs = self.graph.inputs
        given = {k: v[: stages.BATCH] for k, v in self.case.rows.items()} | self.case.start
        kinds = {k: inputs[k].array_type.numpy_dtype for k in self.case.numbers if k in inputs}
        return given | {k: np.asarray(self.case.numbers[k], kind) for k, kind in kinds.items()}

    @cached_property
    def values(self) -> dict[Node, Any]:
        return ReferenceFunction(self.graph).values(self.feeds)

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self.values[self.graph[name]])

    @property
    def replay(self) -> Any:
        return SimpleNamespace(record=SimpleNamespace(network=SimpleNamespace(deltas={}, prediction="")))


@cache
def staged(name: str) -> Any:
    return Staged(stages.loop_named(name, "f64"))


STAGES = ("adam", "batch normalisation", "dropout", "embedding", "pictures", "recurrent")


def entries_of(array: np.ndarray, count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """A few places in an array."""
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.integers(0, n)) for n in array.shape) for _ in range(count)]
