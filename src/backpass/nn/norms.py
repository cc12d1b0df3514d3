"""Normalisation layers: values brought to mean 0 and variance 1, then scaled by γ and shifted by β."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backpass import ops
from backpass.errors import UsageError
from backpass.ir import Node
from backpass.nn.initialisers import real
from backpass.nn.wires import Layer, Place


class _Norm(Layer):
    """What both share: γ n + β, and the settings' checks."""

    weighted: ClassVar[bool] = True
    eps: float
    trainable: bool

    @property
    def values(self) -> tuple[str, ...]:
        return ("n", "z")

    def check_eps(self) -> None:
        if not real(self.eps) or self.eps <= 0:
            raise UsageError(
                f"eps of {type(self).__name__} keeps a division from 0: above 0, got {self.eps!r}"
            )

    def scaled(self, place: Place, n: Node) -> Node:
        """γ n + β, a number of each for every feature."""
        shape = (int(n.shape[-1]),)
        γ = place.weight("γ", shape, lambda _: np.ones(shape), trainable=self.trainable)
        β = place.weight("β", shape, lambda _: np.zeros(shape), trainable=self.trainable)
        return (γ * n.named(place.name("n")) + β).named(place.name("z"))


@dataclass(frozen=True, eq=False)
class LayerNorm(_Norm):
    """Each example brought to mean 0 and variance 1 over its features: z = γ (x − μ) / √(σ² + eps) + β.

    μ and σ² are taken over the last axis; σ² is the biased variance, the mean of (x − μ)². Ba, Kiros &
    Hinton, Layer Normalization (2016), eq. 4. Examples do not depend on each other.

    Parameters
    ----------
    eps : float
        Keeps the division from 0 where all features are equal.
    trainable : bool
        False for γ = 1 and β = 0 throughout.
    """

    eps: float = 1e-5
    trainable: bool = True

    kind: ClassVar[str] = "layer_norm"

    def __post_init__(self) -> None:
        self.check_eps()

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        axis = len(x.shape) - 1
        kept = tuple(range(axis))
        centred = x - ops.Broadcast(x.shape, kept)(ops.Mean((axis,))(x))
        deviation = ops.Sqrt()(ops.Mean((axis,))(ops.Square()(centred)) + float(self.eps))
        return self.scaled(place, centred / ops.Broadcast(x.shape, kept)(deviation))


@dataclass(frozen=True, eq=False)
class BatchNorm(_Norm):
    """Each feature brought to mean 0 and variance 1 over the batch: z = γ (x − μ) / √(σ² + eps) + β.

    While training, μ and σ² are those of the batch, and a running mean and variance follow them:
    ``mean_new = momentum mean + (1 − momentum) μ``, starting at 0 and 1. A prediction takes the running ones,
    so it does not depend on the other rows. Ioffe & Szegedy, ICML 2015, algorithms 1 and 2.

    The variance is the biased one, the mean of (x − μ)², in the running variance too, where the paper and
    PyTorch take the unbiased one: so a batch of a single row is defined. Its z is β.

    Parameters
    ----------
    momentum : float
        How much of the running values a step keeps; at least 0, below 1.
    eps : float
        Keeps the division from 0 where a feature is constant.
    trainable : bool
        False for a layer at rest: γ and β stay as they start, and training, too, takes the running mean and
        variance, which do not change.

    Notes
    -----
    Of a value with more axes, [B,T,n], each of the n features is taken over all the others.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    trainable: bool = True

    kind: ClassVar[str] = "batch_norm"

    def __post_init__(self) -> None:
        self.check_eps()
        m: Any = self.momentum
        if not real(m) or not 0 <= m < 1:
            raise UsageError(f"the momentum of BatchNorm is at least 0 and below 1, got {m!r}")

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        shape = (int(x.shape[-1]),)
        mean = place.kept("mean", shape, 0.0, trainable=self.trainable)
        variance = place.kept("var", shape, 1.0, trainable=self.trainable)
        if not place.training or not self.trainable:
            return self.scaled(place, (x - mean) / ops.Sqrt()(variance + float(self.eps)))
        over = tuple(range(len(x.shape) - 1))
        μ = ops.Mean(over)(x, name=place.name("batch_mean"))
        centred = x - μ
        σ2 = ops.Mean(over)(ops.Square()(centred), name=place.name("batch_var"))
        m = float(self.momentum)
        fresh = round(1 - m, 15)  # 0.1, not 0.09999999999999998: this is read
        place.keep("mean", m * mean + fresh * μ)
        place.keep("var", m * variance + fresh * σ2)
        return self.scaled(place, centred / ops.Sqrt()(σ2 + float(self.eps)))
