"""Inspection graphs: what each example of a batch does in a direction, for any program, in one pass.

A gradient is linear in the seeds of its losses, ``g(s) = Σ_b s_b ∇ℓ_b``. So the derivative of ``g(s)·v`` with
respect to ``s_b`` is ``∇ℓ_b·v``: differentiating the backward program once more, with respect to its seeds,
gives the dot product of every example's gradient with one direction, and no example's gradient is ever
built. What the seeds do not need falls away; what is left is the derivative of each loss along v, a forward
pass with tangents. [1]_

References
----------
.. [1] Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994); Baydin et al.,
   JMLR 18 (2018), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from backpass.errors import NotLowered
from backpass.exec.base import Array, Function
from backpass.exec.choose import executor_named, obstacle_to_compiling, seconds_by_reference
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Graph, Node
from backpass.ops import Gather, MatMul, Mean, ScatterAdd, Sum, data
from backpass.ops import functions as F
from backpass.passes import backward, simplify

_COMPILE_SECONDS = 1.0  # of work in NumPy; less is not worth a kernel
SEED = "seed"  #: the input that has the adjoint of each example's loss


def shares_along(step: Graph, along: Mapping[str, Node]) -> Node:
    """What each example adds to the gradient of the cost, along a direction.

    Parameters
    ----------
    step : Graph
        Of a run: see `backpass.training.step.step_graph`.
    along : mapping of str to Node
        The direction, of the type of the parameter for each.

    Returns
    -------
    Node
        Shape (B,): ∂C/∂ℓ_b · Σ ∇ℓ_b · along. It may still read `SEED`, for what a loop carries; as it is
        linear in the seeds, any seeds give the same.

    Examples
    --------
    >>> from backpass.ops import parameter, SquaredError
    >>> x, t, W = data("x", "f64[B,2]"), data("t", "f64[B,1]"), parameter("W", "f64[2,1]")
    >>> loss = SquaredError()((x @ W).named("z"), t).named("loss")
    >>> step = Graph({"loss": loss, "C": Mean()(loss)})
    >>> shares = shares_along(step, {"W": data("v", "f64[2,1]")})
    >>> print(simplify(Graph({"shares": shares}), fold=True).text(prelude=False))
    B = x.shape[0]
    z        = x @ W                                 # f64[B,1]
    per_seed = sum(x @ v * (z - t), axis=1)          # f64[B]
    per_loss = broadcast_to((float64(1) / B), (B,))  # f64[B]
    shares   = per_seed * per_loss                   # f64[B]
    """
    forward = step.part(["loss", "C"])
    seeded = backward(forward.part(["loss"]), "loss", list(along), seed=SEED, prefix="seeded_d")
    dot = dot_of([(seeded[f"seeded_d{name}"], direction) for name, direction in along.items()])
    each = backward(Graph({"along": dot}), "along", [SEED], prefix="per_")[f"per_{SEED}"]
    return each * seeds_of(forward)


def penalty_along(step: Graph, along: Mapping[str, Node]) -> Node | None:
    """What the penalties add to the gradient of the cost, along a direction: one number; None without any."""
    alone = _without(step.part(["loss", "C"]), "loss")
    parameters = [name for name in alone.inputs_of_kind("parameter") if name in along]
    if not parameters:
        return None
    whole = backward(alone, "C", parameters, prefix="penalty_d")
    return dot_of([(whole[f"penalty_d{name}"], along[name]) for name in parameters])


def loss_gradient(predict: Graph, parameters: Mapping[str, Node]) -> Graph:
    """The program of the mean loss of given rows, as the network reads them after training, and its gradient.

    Parameters
    ----------
    predict : Graph
        Of a run: dropout is off.
    parameters : mapping of str to Node
        Those that are trained.

    Returns
    -------
    Graph
        Outputs: ``mean_loss``, and ``dW1`` for each parameter that the prediction uses.
    """
    forward = predict.part(["loss"])
    forward = Graph({"mean_loss": Mean()(forward["loss"]).named("mean_loss")})
    return simplify(backward(forward, "mean_loss", [n for n in parameters if n in forward.inputs]), fold=True)


def own_moves(step: Graph, output: str, scales: Mapping[str, Node]) -> dict[str, Node] | None:
    """What each example does to its own loss, Σ scale · (∇ℓ_b)²; and its loss and its delta.

    A gradient that is one product ``xᵀδ`` over the batch has squares ``(x²)ᵀδ²``, example by example, so that
    no example's gradient is built. [1]_ The same holds for sums over the batch, and for vectors that each row
    looks up once.

    Parameters
    ----------
    step : Graph
    output : str
        The value that the loss reads: ``z2``.
    scales : mapping of str to Node
        For each parameter, of its type.

    Returns
    -------
    dict of str to Node, or None
        Of shape (B,): ``own``, ∂C/∂ℓ_b · Σ scale (∇ℓ_b)²; ``loss``; ``delta``, ‖∂ℓ_b/∂z‖². The input
        `SEED` is ones. None where a gradient has another form: see `seeded_gradients`.

    References
    ----------
    .. [1] Goodfellow, Efficient per-example gradient computations, arXiv:1510.01799 (2015).
    """
    forward = step.part(["loss", "C"])
    seeded = _seeded(forward, output)
    found = [_squares(seeded[f"seeded_d{name}"], scale) for name, scale in scales.items()]
    own = [term for term in found if term is not None]
    if len(own) < len(found) or not own:
        return None
    return {
        "loss": forward["loss"],
        "own": sum_of(own) * seeds_of(forward),
        "delta": _squared(seeded["at_output"]),
    }


def seeded_gradients(step: Graph, output: str) -> dict[str, Node]:
    """The gradients of the losses with any seeds: of one example, where the seed is 1 for it and 0 else.

    Returns
    -------
    dict of str to Node
        ``loss``; ``seeds``, shape (B,), ∂C/∂ℓ_b; ``delta``, shape (B,), ‖∂ℓ_b/∂z‖² times the square of
        the seed; ``seeded_dW1`` for each parameter.
    """
    forward = step.part(["loss", "C"])
    seeded = _seeded(forward, output)
    gradients = {f"seeded_d{name}": seeded[f"seeded_d{name}"] for name in forward.inputs_of_kind("parameter")}
    squared = {"loss": forward["loss"], "seeds": seeds_of(forward), "delta": _squared(seeded["at_output"])}
    return squared | gradients


def _seeded(forward: Graph, output: str) -> Graph:
    names = list(forward.inputs_of_kind("parameter"))
    return backward(
        forward.part(["loss"]), "loss", names, seed=SEED, prefix="seeded_d", names={output: "at_output"}
    )


class Inspection:
    """A program as a function, compiled where it has so much to do that this pays, else by NumPy.

    Called with values by name, more of them than it reads if need be, it gives the outputs by name.

    Parameters
    ----------
    graph : Graph
    rows : int
        Of a call.
    calls : int
        How many are planned.
    """

    def __init__(self, graph: Graph, rows: int = 1, calls: int = 1) -> None:
        self._inputs = tuple(graph.inputs)
        self._run: Function = ReferenceFunction(graph)
        if calls * seconds_by_reference(graph, rows) >= _COMPILE_SECONDS and obstacle_to_compiling() is None:
            with suppress(NotLowered):
                self._run = executor_named("compiled").compile(graph)

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        return self._run({name: given[name] for name in self._inputs})


def dot_of(pairs: list[tuple[Node, Node]]) -> Node:
    """Σ a · b over all entries of all pairs."""
    return sum_of([Sum()(a * b) for a, b in pairs])


def sum_of(nodes: Sequence[Node]) -> Node:
    """The sum of at least one value."""
    total = nodes[0]
    for node in nodes[1:]:
        total = total + node
    return total


def seeds_of(forward: Graph) -> Node:
    """∂C/∂ℓ of each example: 1/B, or with weights w/B."""
    return backward(forward, "C", ["loss"], prefix="per_")["per_loss"]


def _squared(x: Node) -> Node:
    """The squared norm of each row's part."""
    return Sum(tuple(range(1, len(x.shape))))(x * x) if len(x.shape) > 1 else x * x


def _squares(gradient: Node, scale: Node) -> Node | None:
    """Σ scale · (an example's part of a gradient)², for each example; None where the form does not tell."""
    op, x = gradient.op, gradient.inputs
    if isinstance(op, MatMul) and x[0].shape[1:] == ("B",):
        return Sum((1,))(F.transpose(x[0] * x[0]) @ scale * (x[1] * x[1]))
    if isinstance(op, Sum) and op.axis == (0,) and x[0].shape == ("B", *gradient.shape):
        return Sum(tuple(range(1, len(x[0].shape))))(x[0] * x[0] * F.broadcast_to(scale, x[0].shape))
    if isinstance(op, ScatterAdd) and op.axis == 0 and x[1].shape == ("B",):
        sent = Gather(0)(scale, x[1])
        return Sum(tuple(range(1, len(x[0].shape))))(x[0] * x[0] * sent)
    return None


def _without(graph: Graph, name: str) -> Graph:
    """The cost alone, with a value cut off from what it was calculated from."""
    root = graph[name]
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple(new[x] for x in node.inputs)
        if node is root:
            new[node] = data(name, node.array_type)
        elif all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            new[node] = node
        else:
            new[node] = Node(node.op, inputs, node.type, node.name)
    return Graph({"C": new[graph["C"]]})
