"""Losses: one number an example, and the cost, their mean.

The final activation belongs to the loss (idea 10 of the design): a softmax or sigmoid output under
cross-entropy becomes one head with one joint derivative, δ = a − t.
"""

from __future__ import annotations

from collections.abc import Callable

from backpass.errors import UsageError, nearest
from backpass.ir import Graph, Node
from backpass.ops import Mean, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError, data


def _cross_entropy(z: Node, a: Node, t: Node, activation: str) -> Node:
    if activation == "softmax":
        return SoftmaxCrossEntropy()(z, t, name="loss")
    if activation == "sigmoid":
        return SigmoidCrossEntropy()(z, t, name="loss")
    raise UsageError(
        f"cross-entropy needs outputs that are probabilities, and the last layer's activation is "
        f"{activation!r}.\n  Use activation 'softmax' (one of several classes) or 'sigmoid' (each output for "
        "itself) in the last layer, or loss='squared_error'."
    )


def _squared_error(z: Node, a: Node, t: Node, activation: str) -> Node:
    return SquaredError()(a, t, name="loss")


#: Loss builders by name: from z, a (the last layer's), t and the activation's name to the loss per example.
LOSSES: dict[str, Callable[[Node, Node, Node, str], Node]] = {
    "cross_entropy": _cross_entropy,
    "squared_error": _squared_error,
}


def default_loss(activation: str) -> str:
    """The loss that goes with the activation of the last layer."""
    return "cross_entropy" if activation in ("softmax", "sigmoid") else "squared_error"


def add_cost(forward: Graph, last: int, activation: str, loss: str) -> Graph:
    """Add the targets ``t``, the loss of each example and the cost ``C`` to a network's forward program.

    Parameters
    ----------
    forward : Graph
        With the values ``z<last>`` and the output ``a<last>``.
    last : int
        The number of the last layer.
    activation : str
        Of the last layer.
    loss : str
        One of `LOSSES`.
    """
    if loss not in LOSSES:
        raise UsageError(f"there is no loss {loss!r}. {nearest(str(loss), LOSSES)}")
    z, a = forward[f"z{last}"], forward.outputs[f"a{last}"]
    per_example = LOSSES[loss](z, a, data("t", a.array_type), activation)
    return forward.extended({"loss": per_example, "C": Mean()(per_example, name="C")})
