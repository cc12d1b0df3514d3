"""Backward, from Graph to Graph: the forward program, and after it the program of its adjoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backpass.errors import GraphError
from backpass.ir.chain import pullback
from backpass.ir.graph import Graph
from backpass.ops import constant, data


def backward(
    graph: Graph,
    cost: str,
    wrt: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    seed: str | None = None,
    prefix: str = "d",
) -> Graph:
    """Add to a program the adjoints of its parameters.

    Each op's vjp is applied once, in reverse program order, and the adjoints of a value with several uses
    are added (the multivariate chain rule, `ir.chain`). The result is a Graph in the same ops: it prints,
    runs, is costed and can be differentiated again like any other.

    Parameters
    ----------
    graph : Graph
    cost : str
        The output that is differentiated: a scalar, unless `seed` is given.
    wrt : sequence of str
        The inputs to differentiate with respect to, in the order of the result.
    names : mapping of str to str, optional
        What the adjoints of values in between are called: ``{"z1": "δ1"}``.
    seed : str, optional
        The name of an input that holds the adjoint of `cost`; 1 if it is not given. With `cost` a loss per
        example, a seed that is zero but for one example gives that example's share.

    Returns
    -------
    Graph
        The same outputs; then, for each name of `wrt`, ``d<name>`` of exactly its type; then each adjoint
        that was given a name. `origins` says which forward values each new node serves.

    Raises
    ------
    GraphError
        `cost` is not a scalar output, or a name is not there.
    NotDifferentiable
        A path from `cost` to a name has no derivative; the message prints the path.

    Notes
    -----
    For dense layers about twice the work of forward: one product for δ, one for the gradient. [1]_

    References
    ----------
    .. [1] Rumelhart, Hinton & Williams, Nature 323 (1986), eq. 3-9; Griewank & Walther, Evaluating
       Derivatives, SIAM 2008, ch. 4.

    Examples
    --------
    >>> from backpass.ops import Sum, data, parameter
    >>> x, W = data("x", "f64[B,3]"), parameter("W", "f64[3,2]")
    >>> step = backward(Graph({"C": Sum()((x @ W).named("z"))}), "C", ["W"], names={"z": "δ"})
    >>> print(step.text(prelude=False, section="backward"))
    B = x.shape[0]
    δ  = broadcast_to(float64(1), (B, 2))  # f64[B,2]
    dW = x.T @ δ                           # f64[3,2]
    """
    root = graph[cost]
    if seed is None and root.shape != ():
        raise GraphError(f"the cost must be one number, but {cost} is {root.type}")
    start = constant(1.0, root.dtype) if seed is None else data(seed, root.array_type)
    called = {graph[name]: f"{prefix}{name}" for name in wrt}
    called |= {graph[name]: given for name, given in (names or {}).items()}
    adjoints, origins = pullback({root: start}, [graph[name] for name in wrt], called)
    origins[start] = ()
    found = {called[node]: adj for node, adj in adjoints.items() if node in called}
    ordered = {f"{prefix}{name}": found.pop(f"{prefix}{name}") for name in wrt} | found
    return Graph({**graph.outputs, **ordered}, graph.carry, {**graph.origins, **origins})
