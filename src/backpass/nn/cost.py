"""The cost of a network: targets, the loss of each example, their mean, and penalties."""

from __future__ import annotations

from collections.abc import Callable

from backpass import ops
from backpass.errors import ShapeError
from backpass.ir import ArrayType, Graph, Node
from backpass.nn.losses import Loss, loss_named
from backpass.nn.network import Network


def add_cost(
    forward: Graph,
    network: Network,
    loss: str | Loss | Callable[[Node, Node], Node],
    *,
    weighted: bool = False,
    l1: bool = False,
    l2: bool = False,
) -> Graph:
    """Add the targets ``t``, the loss of each example and the cost ``C`` to a network's forward program.

    ``C = mean(loss) + l1 Σ|W| + ½ l2 ΣW²``, the sums over the weights that are trained, not over biases nor
    over the γ and β of normalisations.

    Parameters
    ----------
    forward : Graph
        What `Network.forward` gave.
    network : Network
    loss : str, Loss or callable
        See `loss_named`.
    weighted : bool
        With a weight of each example, the data ``w``: ``C = mean(w * loss)``. Weights have the mean 1 over
        the training rows.
    l1, l2 : bool
        With this penalty, whose size is the number input ``l1`` or ``l2``.

    Examples
    --------
    >>> from backpass.nn import Dense
    >>> net = Network([Dense(1)])
    >>> print(add_cost(net.forward(3, "f64"), net, "squared_error", weighted=True).text(prelude=False))
    z1   = x @ W1 + b1           # f64[B,1]
    a1   = z1                    # f64[B,1]
    loss = squared_error(z1, t)  # f64[B]
    C    = mean(w * loss)        # f64[]
    """
    a = forward.outputs[network.prediction]
    if len(a.shape) != 2:
        raise ShapeError(
            f"the network gives {a.type} for its rows; a loss needs [B, outputs]. End in Flatten()."
        )
    z = a if network.activation == "identity" else a.inputs[0]
    per_example = loss_named(loss).per_example(z, a, ops.data("t", a.array_type), network.activation)
    if per_example.name is not None or per_example.op.feeds:
        per_example = ops.Identity()(per_example)
    per_example = per_example.named("loss")
    share = ops.data("w", ArrayType(a.shape[:1], a.dtype)) * per_example if weighted else per_example
    cost = ops.Mean()(share)
    weights = [W for name, W in forward.inputs_of_kind("parameter").items() if network.penalises(name)]
    if l1 and weights:
        cost = cost + ops.number("l1", a.dtype) * _added([ops.Sum()(ops.Abs()(W)) for W in weights])
    if l2 and weights:
        squares = _added([ops.Sum()(ops.Square()(W)) for W in weights])
        cost = cost + 0.5 * ops.number("l2", a.dtype) * squares
    return forward.extended({"loss": per_example, "C": cost.named("C")})


def _added(values: list[Node]) -> Node:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
