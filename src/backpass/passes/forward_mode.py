"""Forward mode, from the chain rule applied twice."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from backpass.ir.chain import pullback
from backpass.ir.graph import Graph
from backpass.ops import Sum, constant, data
from backpass.passes.backward import backward
from backpass.passes.simplify import simplify

#: What the seed of the backward program is called; it is gone from the result.
_SEED = "adjoint_of_output"


def forward_mode(graph: Graph, output: str, wrt: Sequence[str], *, prefix: str = "v_") -> Graph:
    """The derivative of one number along a direction, without a backward pass.

    Parameters
    ----------
    graph : Graph
    output : str
        An output that is one number: the cost.
    wrt : sequence of str
        The inputs that move.
    prefix : str
        The direction of an input ``W1`` is a new input ``v_W1`` of its type.

    Returns
    -------
    Graph
        The output, and ``slope``: the sum over `wrt` of the gradient times the direction, entry by entry.
        It is calculated along with the forward pass: no value has to be kept for later.

    Notes
    -----
    The adjoint of an input is linear in the adjoint u of the output, dW(u). The inner product of dW(u) with
    the direction, differentiated with respect to u, is the derivative along the direction: the transpose of
    the transpose. What the backward pass needed only for itself falls away as dead code. [1]_

    References
    ----------
    .. [1] Griewank & Walther, Evaluating Derivatives, SIAM 2008, ch. 3: reverse mode is the transpose of
       forward mode.

    Examples
    --------
    >>> from backpass.ops import data, parameter
    >>> x, W = data("x", "f64[B,3]"), parameter("W", "f64[3,2]")
    >>> program = forward_mode(Graph({"C": Sum()((x @ W).named("z"))}), "C", ["W"])
    >>> print(program.text(prelude=False))
    z     = x @ W                      # f64[B,2]
    C     = sum(z)                     # f64[]
    slope = sum(x @ v_W, axis=(0, 1))  # f64[]
    """
    seeded = backward(graph, output, wrt, seed=_SEED)
    products = [Sum()(seeded[f"d{name}"] * data(prefix + name, graph[name].array_type)) for name in wrt]
    along, seed = functools.reduce(operator.add, products), seeded[_SEED]
    adjoints, _ = pullback({along: constant(1.0, along.dtype)}, [seed], {seed: "slope"})
    return simplify(Graph({output: seeded[output], "slope": adjoints[seed]}), fold=True)
