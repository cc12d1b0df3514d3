"""A training step as one Graph: forward, backward, update."""

from __future__ import annotations

from backpass.ir import Graph
from backpass.nn import Network, add_cost
from backpass.passes import backward, simplify
from backpass.training.optimisers import SGD, number_inputs


def step_graph(network: Network, loss: str, optimiser: SGD, in_features: int, dtype: str = "f32") -> Graph:
    """Build the program of one training step.

    Parameters
    ----------
    network : Network
    loss : str
        One of `backpass.nn.LOSSES`.
    optimiser : SGD
    in_features : int
        Columns of the data.
    dtype : {"f32", "f64"}

    Returns
    -------
    Graph
        Inputs: the rows ``x`` and targets ``t`` of a batch, the parameters, the optimiser's slots and its
        numbers. Outputs: the prediction, the loss of each example, the cost ``C``, the gradients, the
        deltas, and the new parameters and slots, which `carry` puts in place of the old.

    Examples
    --------
    >>> from backpass.nn import Dense
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
    forward = add_cost(network.forward(in_features, dtype), len(network), network.activation, loss)
    parameters = forward.inputs_of_kind("parameter")
    step = backward(forward, "C", list(parameters), names=network.deltas)
    numbers = number_inputs(optimiser, dtype)
    for name, parameter in parameters.items():
        update = optimiser.update(parameter, step[f"d{name}"], numbers)
        slots = {f"{slot}_new": new for slot, (_, new) in update.slots.items()}
        carry = {f"{slot}_new": slot for slot in update.slots} | {f"{name}_new": name}
        step = step.extended(slots | {f"{name}_new": update.new}, carry)
    return simplify(step, fold=True)
