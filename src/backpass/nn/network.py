"""`Network`: layers in sequence, as a builder of programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.ir import ArrayType, Graph
from backpass.nn.layers import Dense
from backpass.ops import data


class Network:
    """Layers in sequence. It holds no weights: it says which it needs and where they start.

    Parameters
    ----------
    layers : sequence of Dense
        The last one is the output layer.

    Examples
    --------
    >>> net = Network([Dense(30, "sigmoid"), Dense(10, "softmax")])
    >>> print(net.forward(784, "f32").text(prelude=False))
    z1 = x @ W1 + b1   # f32[B,30]
    a1 = sigmoid(z1)   # f32[B,30]
    z2 = a1 @ W2 + b2  # f32[B,10]
    a2 = softmax(z2)   # f32[B,10]
    """

    def __init__(self, layers: Sequence[Dense]) -> None:
        self.layers = tuple(layers)
        if not self.layers:
            raise UsageError("a network needs at least one layer, its output layer")
        for number, layer in enumerate(self.layers, start=1):
            if not isinstance(layer, Dense):
                raise UsageError(f"layer {number} is {layer!r}; write for example Dense(30, 'sigmoid')")
            if layer.activation == "softmax" and number < len(self.layers):
                raise UsageError(
                    f"layer {number} has activation 'softmax', which belongs to the output layer only; "
                    "use 'relu', 'sigmoid' or 'tanh' in a hidden layer"
                )

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def outputs(self) -> int:
        """How many units the output layer has."""
        return int(self.layers[-1].units)

    @property
    def activation(self) -> str:
        """The activation of the output layer."""
        return self.layers[-1].activation

    @property
    def prediction(self) -> str:
        """The name of the value that is the prediction."""
        return f"a{len(self)}"

    @property
    def deltas(self) -> dict[str, str]:
        """What the adjoint of each pre-activation is called."""
        return {f"z{k}": f"δ{k}" for k in range(1, len(self) + 1)}

    def forward(self, in_features: int, dtype: str) -> Graph:
        """The forward program: from the rows ``x`` to the prediction ``a<last>``."""
        a = data("x", ArrayType(("B", in_features), dtype))
        for number, layer in enumerate(self.layers, start=1):
            _, a = layer.forward(a, number)
        return Graph({self.prediction: a})

    def initial(self, in_features: int, seed: int, dtype: str) -> dict[str, NDArray[np.floating[Any]]]:
        """The weights to start from. Drawn once, in float64, from `seed` alone."""
        # A generator of its own: the same weights whatever else the seed is used for.
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x5EED])))
        found: dict[str, NDArray[np.floating[Any]]] = {}
        kind = ArrayType((), dtype).numpy_dtype
        for number, layer in enumerate(self.layers, start=1):
            for key, array in layer.initial(rng, in_features).items():
                found[f"{key}{number}"] = np.ascontiguousarray(array, dtype=kind)
            in_features = int(layer.units)
        return found

    def describe(self) -> list[dict[str, Any]]:
        """The layers as plain data, for `from_description`; starting arrays are left out."""
        return [{"units": int(x.units), "activation": x.activation, "init": x.init} for x in self.layers]

    @classmethod
    def from_description(cls, layers: Sequence[dict[str, Any]]) -> Network:
        """The network that `describe` described."""
        return cls([Dense(x["units"], x["activation"], init=x["init"]) for x in layers])

    def __repr__(self) -> str:
        inner = ", ".join(f"Dense({x.units}, {x.activation!r})" for x in self.layers)
        return f"Network([{inner}])"
