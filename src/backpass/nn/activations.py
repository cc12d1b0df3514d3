"""Activations: what a layer does to its pre-activation, by name or as an op."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from backpass import ops
from backpass.errors import ShapeError, UsageError, nearest
from backpass.ir import Node, Op
from backpass.nn.initialisers import Glorot, He, Initialiser, LeCun

#: The activations by name; None leaves the pre-activation as it is.
ACTIVATIONS: dict[str, Callable[[], Op] | None] = {
    "identity": None,
    "relu": ops.Relu,
    "sigmoid": ops.Sigmoid,
    "softmax": ops.Softmax,
    "tanh": ops.Tanh,
    "softplus": ops.Softplus,
    "softsign": ops.Softsign,
    "leaky_relu": ops.LeakyRelu,
    "elu": ops.Elu,
    "selu": ops.Selu,
    "gelu": ops.Gelu,
    "silu": ops.Silu,
    "hard_tanh": ops.HardTanh,
    "abs": ops.Abs,
    "exp": ops.Exp,
    "sin": ops.Sin,
}


def activation_op(given: str | Op) -> Op | None:
    """The op of an activation that was given by name or as an op; None for the identity."""
    if isinstance(given, Op):
        takes = [p for p in inspect.signature(given.forward).parameters if p != "xp"]
        if len(takes) != 1:
            raise UsageError(f"an activation is an op of one input, but {given!r} takes {', '.join(takes)}")
        return given
    if not isinstance(given, str) or given not in ACTIVATIONS:
        raise UsageError(
            f"there is no activation {given!r}. {nearest(str(given), ACTIVATIONS)}\n"
            "  Or give an op, such as backpass.ops.LeakyRelu(0.2) or one of your own."
        )
    make = ACTIVATIONS[given]
    return None if make is None else make()


def activation_name(given: str | Op) -> str:
    """What an activation is called."""
    return given.name if isinstance(given, Op) else given


def activated(given: str | Op, z: Node, name: str) -> Node:
    """The activation of z, under its name; z itself for the identity."""
    op = activation_op(given)
    if op is None:
        return z
    a = op(z, name=name)
    if a.type != z.type:
        raise ShapeError(f"the activation {op!r} turns {z.type} into {a.type}; an activation keeps the shape")
    return a


def default_initialiser(given: str | Op) -> Initialiser:
    """Where the weights before an activation start unless something else is asked for."""
    op = activation_op(given)
    if isinstance(op, ops.LeakyRelu):
        return He(slope=op.slope)
    if isinstance(op, (ops.Relu, ops.Elu, ops.Gelu, ops.Silu)):
        return He()
    return LeCun() if isinstance(op, ops.Selu) else Glorot()
