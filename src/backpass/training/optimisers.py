"""Optimisers as graph builders: how a gradient becomes an update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backpass.errors import UsageError
from backpass.ir import Node
from backpass.ops import number, state


@dataclass(frozen=True)
class Update:
    """What an optimiser adds to a program for one parameter.

    Attributes
    ----------
    new : Node
        The parameter's next value.
    slots : dict of str to (Node, Node)
        Carried values by name: what was carried in, and what is carried on.
    """

    new: Node
    slots: dict[str, tuple[Node, Node]]


@dataclass(frozen=True)
class SGD:
    """Gradient descent, with momentum if it is not zero.

    W ← W − η dW; with momentum μ, v ← μ v − η dW and W ← W + v. [1]_

    Parameters
    ----------
    lr : float
        The learning rate η.
    momentum : float
        The part μ of the last update that is carried on, in [0, 1).

    References
    ----------
    .. [1] Rumelhart, Hinton & Williams, PDP vol. 1 ch. 8 (1986), eq. 16; Nature 323 (1986), eq. 8-9.
    """

    lr: float = 0.1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check("lr", self.lr, 0.0, math.inf)
        _check("momentum", self.momentum, 0.0, 1.0)

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that a user may tune, by the names they have in the program."""
        return {"lr": self.lr} | ({"momentum": self.momentum} if self.momentum else {})

    def update(self, parameter: Node, gradient: Node, numbers: dict[str, Node]) -> Update:
        """Add the update of one parameter to the program."""
        name = str(parameter.name)
        if not self.momentum:
            return Update((parameter - numbers["lr"] * gradient).named(f"{name}_new"), {})
        v = state(f"v_{name}", parameter.array_type)
        moved = (numbers["momentum"] * v - numbers["lr"] * gradient).named(f"v_{name}_new")
        return Update((parameter + moved).named(f"{name}_new"), {str(v.name): (v, moved)})

    def describe(self) -> dict[str, Any]:
        """The optimiser as plain data."""
        return {"name": "sgd", "lr": self.lr, "momentum": self.momentum}

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> SGD:
        """The optimiser that `describe` described."""
        return cls(description["lr"], description["momentum"])


def number_inputs(optimiser: SGD, dtype: str) -> dict[str, Node]:
    """The inputs of the program for the optimiser's numbers."""
    return {name: number(name, dtype) for name in optimiser.numbers}


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
        bounds = f"at least {low:g}" + ("" if math.isinf(high) else f" and below {high:g}")
        raise UsageError(f"{name} must be a number, {bounds}; got {value!r}")
