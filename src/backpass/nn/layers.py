"""Layers: each adds its nodes to a program and says which parameters it needs. It holds no weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.errors import ShapeError, UsageError, nearest
from backpass.ir import ArrayType, Node, Op
from backpass.nn.initialisers import INITIALISERS
from backpass.ops import Relu, Sigmoid, Softmax, Tanh, parameter

#: The activations by name; None leaves the pre-activation as it is.
ACTIVATIONS: dict[str, Callable[[], Op] | None] = {
    "identity": None,
    "relu": Relu,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "tanh": Tanh,
}


@dataclass(frozen=True, eq=False)
class Dense:
    """Every input linked to every unit: z = x W + b, a = f(z).

    Parameters
    ----------
    units : int
        How many units the layer has.
    activation : str
        One of `ACTIVATIONS`. "softmax" only in the last layer.
    in_features : int, optional
        How many inputs; inferred from what comes before if it is left out.
    init : str, optional
        Where the weights start: "glorot", "he" or "lecun"; by default "he" for ReLU and "glorot" otherwise.
        Biases start at zero.
    weights, bias : array, optional
        Where to start instead: shapes (in_features, units) and (units,).

    Examples
    --------
    >>> Dense(30, "sigmoid").shapes(784)
    {'W': (784, 30), 'b': (30,)}
    """

    units: int
    activation: str = "identity"
    in_features: int | None = None
    init: str | None = None
    weights: ArrayLike | None = None
    bias: ArrayLike | None = None

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, (int, np.integer)) or self.units < 1:
            raise UsageError(f"a layer needs at least one unit, got Dense({self.units!r})")
        if self.activation not in ACTIVATIONS:
            raise UsageError(
                f"there is no activation {self.activation!r}. {nearest(str(self.activation), ACTIVATIONS)}"
            )
        if self.init is not None and self.init not in INITIALISERS:
            raise UsageError(
                f"there is no initialiser {self.init!r}. {nearest(str(self.init), INITIALISERS)}"
            )

    def shapes(self, in_features: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the layer's parameters."""
        return {"W": (in_features, self.units), "b": (self.units,)}

    def initial(self, rng: np.random.Generator, in_features: int) -> dict[str, NDArray[np.float64]]:
        """The parameters to start from, in float64."""
        rule = INITIALISERS[self.init or ("he" if self.activation == "relu" else "glorot")]
        drawn = {"W": rule(rng, in_features, self.units), "b": np.zeros(self.units)}
        for key, given in (("W", self.weights), ("b", self.bias)):
            if given is not None:
                array = np.asarray(given, dtype=np.float64)
                if array.shape != drawn[key].shape:
                    raise ShapeError(
                        f"the given {'weights' if key == 'W' else 'bias'} have shape {list(array.shape)}; "
                        f"Dense({self.units}) after {in_features} inputs needs {list(drawn[key].shape)}"
                    )
                if not np.isfinite(array).all():
                    raise UsageError(f"the given {'weights' if key == 'W' else 'bias'} hold NaN or infinity")
                drawn[key] = array
        return drawn

    def forward(self, x: Node, number: int) -> tuple[Node, Node]:
        """Add the layer to a program: pre-activation ``z<number>`` and activation ``a<number>``."""
        in_features = x.shape[-1]
        if self.in_features is not None and self.in_features != in_features:
            raise ShapeError(
                f"layer {number}, Dense({self.units}), was given in_features={self.in_features}, "
                f"but what comes before it has {in_features} features\n"
                f"  Write Dense({self.units}, in_features={in_features}), or leave in_features out."
            )
        W = parameter(f"W{number}", ArrayType((in_features, self.units), x.dtype))
        b = parameter(f"b{number}", ArrayType((self.units,), x.dtype))
        z = (x @ W + b).named(f"z{number}")
        op = ACTIVATIONS[self.activation]
        return z, z if op is None else op()(z, name=f"a{number}")
