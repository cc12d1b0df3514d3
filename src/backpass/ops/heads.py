"""Output layers and losses whose joint derivative is better than the product of the parts.

A head takes the *pre-activation* of the output layer (idea 10 of the design): no other layer may assume
what its neighbour will send it. Each gives one loss per example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.errors import ShapeError
from backpass.ir.node import Node
from backpass.ir.op import Blocked, Op, Sample
from backpass.ir.types import ArrayType, Dim
from backpass.ops.activations import Sigmoid
from backpass.ops.reduce import Sum
from backpass.ops.shape import Broadcast

_B10 = ("B", "n")


def _over_last(op: Op, z: ArrayType, t: ArrayType) -> ArrayType:
    """The shape rule of a loss per example: the last axis goes."""
    if z != t or z.ndim < 1:
        raise ShapeError(f"{op.name} needs outputs and targets of one type, got {z} and {t}")
    op.of_dtype(z)
    return ArrayType(z.shape[:-1], z.dtype)


def _spread(adj: Node, like: Node) -> Node:
    """The adjoint of each example's loss, beside each of its outputs."""
    return Broadcast(like.shape, tuple(range(len(like.shape) - 1)))(adj)


@final
@dataclass(frozen=True)
class Softmax(Op):
    """Probabilities from scores: exp(z) / Σ exp(z) along the last axis, shifted so that nothing overflows."""

    name = "softmax"
    notation = "softmax({0})"
    tex = r"\operatorname{softmax}({0})"
    samples = (Sample((_B10,)),)

    def infer(self, z: ArrayType) -> ArrayType:
        if z.ndim < 1:
            raise ShapeError(f"softmax needs at least one axis, got {z}")
        self.of_dtype(z)
        return z

    def mixes(self, z: ArrayType) -> tuple[Dim, ...]:
        return z.shape[-1:]

    def forward(self, xp: Any, /, z: Any) -> Any:
        e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def vjp(self, adj: Node, y: Node, /, z: Node) -> tuple[Node]:
        weighted = adj * y
        return (weighted - y * _spread(Sum((len(z.shape) - 1,))(weighted), z),)

    def flops(self, y: ArrayType, z: ArrayType) -> int:
        return 14 * y.size


@final
@dataclass(frozen=True)
class LogSoftmax(Op):
    """ln softmax(z) along the last axis: z − ln Σ exp(z), shifted so that nothing overflows."""

    name = "log_softmax"
    notation = "log_softmax({0})"
    tex = r"\ln\operatorname{softmax}({0})"
    samples = (Sample((_B10,)),)

    def infer(self, z: ArrayType) -> ArrayType:
        if z.ndim < 1:
            raise ShapeError(f"log_softmax needs at least one axis, got {z}")
        self.of_dtype(z)
        return z

    def mixes(self, z: ArrayType) -> tuple[Dim, ...]:
        return z.shape[-1:]

    def forward(self, xp: Any, /, z: Any) -> Any:
        shifted = z - xp.max(z, axis=-1, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))

    def vjp(self, adj: Node, y: Node, /, z: Node) -> tuple[Node]:
        return (adj - Softmax()(z) * _spread(Sum((len(z.shape) - 1,))(adj), z),)

    def flops(self, y: ArrayType, z: ArrayType) -> int:
        return 14 * y.size


@final
@dataclass(frozen=True)
class SoftmaxCrossEntropy(Op):
    """Cross-entropy of softmax(z) against a distribution t, one number an example: −Σ t ln softmax(z).

    Rows of `t` must sum to 1 (one-hot, or soft targets). Then ∂ℓ/∂z = softmax(z) − t, which is exact
    where the product of the two Jacobians would overflow (Bridle 1990). Targets are data: there is no
    derivative with respect to `t`.
    """

    name = "softmax_cross_entropy"
    notation = "softmax_cross_entropy({0}, {1})"
    tex = r"\operatorname{CE}(\operatorname{softmax}({0}), {1})"
    samples = (Sample((_B10, _B10), simplex=(1,), fixed=(1,)),)

    def infer(self, z: ArrayType, t: ArrayType) -> ArrayType:
        return _over_last(self, z, t)

    def forward(self, xp: Any, /, z: Any, t: Any) -> Any:
        shifted = z - xp.max(z, axis=-1, keepdims=True)
        return xp.sum(t * (xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True)) - shifted), axis=-1)

    def vjp(self, adj: Node, y: Node, /, z: Node, t: Node) -> tuple[Node, Blocked]:
        return _spread(adj, z) * (Softmax()(z) - t), Blocked("targets are data")

    def flops(self, y: ArrayType, z: ArrayType, t: ArrayType) -> int:
        return 16 * z.size


@final
@dataclass(frozen=True)
class SigmoidCrossEntropy(Op):
    """Cross-entropy of each output σ(z) against its own target in [0, 1], added over the last axis.

    −Σ t ln σ(z) + (1 − t) ln(1 − σ(z)), written as Σ max(z, 0) − z t + ln(1 + e^−|z|) so that nothing
    overflows; ∂ℓ/∂z = σ(z) − t.
    """

    name = "sigmoid_cross_entropy"
    notation = "sigmoid_cross_entropy({0}, {1})"
    tex = r"\operatorname{CE}(\sigma({0}), {1})"
    samples = (Sample((_B10, _B10), away_from=0.0),)

    def infer(self, z: ArrayType, t: ArrayType) -> ArrayType:
        return _over_last(self, z, t)

    def forward(self, xp: Any, /, z: Any, t: Any) -> Any:
        return xp.sum(xp.maximum(z, 0) - z * t + xp.log1p(xp.exp(-xp.abs(z))), axis=-1)

    def vjp(self, adj: Node, y: Node, /, z: Node, t: Node) -> tuple[Node, Node]:
        return _spread(adj, z) * (Sigmoid()(z) - t), -(_spread(adj, z) * z)

    def flops(self, y: ArrayType, z: ArrayType, t: ArrayType) -> int:
        return 24 * z.size


@final
@dataclass(frozen=True)
class SquaredError(Op):
    """Half the squared distance of outputs and targets, one number an example: ½ Σ (a − t)²."""

    name = "squared_error"
    notation = "squared_error({0}, {1})"
    tex = r"\tfrac12\lVert {0} - {1}\rVert^2"
    samples = (Sample((_B10, _B10)),)

    def infer(self, a: ArrayType, t: ArrayType) -> ArrayType:
        return _over_last(self, a, t)

    def forward(self, xp: Any, /, a: Any, t: Any) -> Any:
        return 0.5 * xp.sum((a - t) * (a - t), axis=-1)

    def vjp(self, adj: Node, y: Node, /, a: Node, t: Node) -> tuple[Node, Node]:
        error = _spread(adj, a) * (a - t)
        return error, -error

    def flops(self, y: ArrayType, a: ArrayType, t: ArrayType) -> int:
        return 3 * a.size
