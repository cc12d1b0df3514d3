"""A training step as one Graph: forward, backward, update. And beside it the program of prediction."""

from __future__ import annotations

from typing import Any

from backpass.ir import Graph
from backpass.nn import Network, add_cost
from backpass.passes import backward, simplify
from backpass.training.optimisers import Optimiser, number_inputs


def step_graph(
    network: Network,
    loss: Any,
    optimiser: Optimiser,
    in_features: int,
    dtype: str = "f32",
    *,
    weighted: bool = False,
    l1: float = 0.0,
    l2: float = 0.0,
) -> Graph:
    """Build the program of one training step.

    Parameters
    ----------
    network : Network
    loss : str, Loss or callable
        See `backpass.nn.loss_named`.
    optimiser : Optimiser
    in_features : int
        Columns of the data.
    dtype : {"f32", "f64"}
    weighted : bool
        Whether each row has a weight ``w``.
    l1, l2 : float
        Whether the cost has these penalties: it does where they are not zero. Their values are inputs.

    Returns
    -------
    Graph
        Inputs: the rows ``x`` and targets ``t`` of a batch, the parameters, the optimiser's slots and its
        numbers. Outputs: the prediction, the loss of each example, the cost ``C``, the gradients, the
        deltas, and the new parameters and slots, which `carry` puts in place of the old.

    Examples
    --------
    >>> from backpass.nn import Dense
    >>> from backpass.training.optimisers import SGD
    >>> step = step_graph(Network([Dense(2, "tanh"), Dense(1)]), "squared_error", SGD(0.1), 3, "f64")
    >>> print(step.text(prelude=False, section="backward"))
    B = x.shape[0]
    δ2  = (z2 - t) / B               # f64[B,1]
    db2 = sum(δ2, axis=0)            # f64[1]
    dW2 = a1.T @ δ2                  # f64[2,1]
    δ1  = δ2 @ W2.T * (1 - a1 * a1)  # f64[B,2]
    db1 = sum(δ1, axis=0)            # f64[2]
    dW1 = x.T @ δ1                   # f64[3,2]
    """
    forward = network.forward(in_features, dtype, training=True)
    forward = add_cost(forward, network, loss, weighted=weighted, l1=bool(l1), l2=bool(l2))
    parameters = forward.inputs_of_kind("parameter")
    step = backward(forward, "C", list(parameters), names=network.deltas)
    gradients = {name: step[f"d{name}"] for name in parameters}
    update = optimiser.update(parameters, gradients, number_inputs(optimiser, dtype))
    return simplify(step.extended(update.outputs, update.carry), fold=True)


def predict_graph(network: Network, loss: Any, in_features: int, dtype: str = "f32") -> Graph:
    """Build the program of prediction: dropout is off, normalisation uses its running statistics.

    Returns
    -------
    Graph
        Outputs: the prediction, first, and the loss of each example.
    """
    forward = add_cost(network.forward(in_features, dtype), network, loss)
    return simplify(forward.part([network.prediction, "loss"]), fold=True)
