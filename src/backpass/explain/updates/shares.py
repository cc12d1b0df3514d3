"""Shares: the part of a gradient or an update that one example or one term contributes.

A share by example is the backward pass seeded with that example's ∂C/∂ℓ only. Backward is linear in its
seed, so shares add up. Where examples are not coupled it is one product of the two columns that the
gradient's own contraction reads, ``x[b,i] * δ[b,j]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.explain.tracing.inspection import SEED, shares_along
from backpass.ir import Graph, Node
from backpass.ir.node import inputs_of
from backpass.ops import Broadcast, MatMul, ScatterAdd, Sum, Transpose, Uniform, data
from backpass.passes import Term, backward, linear_terms, retyped, simplify

Index = tuple[int, ...]
Values = Callable[[Node], Array]


def gradient_terms(gradient: Node) -> tuple[list[Term], list[Term]]:
    """A gradient as sums over the batch, several for shared weights; and as what penalties add to it."""
    terms, _ = linear_terms(gradient, lambda n: not isinstance(n.op, (MatMul, Sum)))
    sums, penalties = [], []
    for term in terms:
        data = any(n.op.settings().get("kind") == "data" for n in inputs_of([term.value]) if n.op.feeds)
        if not data and term.value.shape == gradient.shape:
            penalties.append(term)
        elif isinstance(term.value.op, (MatMul, Sum)) or looked_up(term.value):
            sums.append(term)
        else:
            raise UsageError(
                f"{gradient.name} is no sum over the examples ({term.value.op.name}), so it has no shares by "
                "example"
            )
    return sums, penalties


def by_example(gradient: Node, entry: Index, kept: Values, values: Values) -> NDArray[np.float64]:
    """Each example's part of one entry of a gradient, shape (B,), in f64 from the values that were read.

    Parameters
    ----------
    gradient : Node
    entry : tuple of int
    kept : callable
        The value of an operand; see `kept_values`.
    values : callable
        The value of a scalar factor.
    """
    total: NDArray[np.float64] | None = None
    for term in gradient_terms(gradient)[0]:
        if looked_up(term.value):
            product = factor_of(term, values) * _by_lookup(term.value, entry, kept)
        else:
            columns = [kept(node)[index].astype(np.float64) for node, index in read_by(term.value, entry)]
            product = factor_of(term, values) * np.prod(columns, axis=0)
        total = product if total is None else total + product
    return np.zeros(0) if total is None else total


def looked_up(contraction: Node) -> bool:
    """Whether a gradient is that of vectors that the rows look up, as in an embedding."""
    op = contraction.op
    return isinstance(op, ScatterAdd) and op.axis == 0 and contraction.inputs[1].shape[:1] == ("B",)


def _by_lookup(contraction: Node, entry: Index, kept: Values) -> NDArray[np.float64]:
    """What each example sends to one entry: the deltas of the places where it looked this vector up."""
    deltas, index = (kept(node) for node in contraction.inputs)
    place: tuple[Any, ...] = (..., *entry[1:])
    sent = np.where(index == entry[0], deltas[place].astype(np.float64), 0.0)
    found: NDArray[np.float64] = sent.reshape(len(sent), -1).sum(axis=1)
    return found


def penalty_of(gradient: Node, entry: Index, values: Values) -> float:
    """What penalties add to one entry of a gradient: λ W, or λ times its sign."""
    return sum(
        factor_of(term, values) * float(values(term.value)[entry]) for term in gradient_terms(gradient)[1]
    )


def factor_of(term: Term, values: Values) -> float:
    """A term's sign and scalar factors, in f64."""
    product = -1.0 if term.negative else 1.0
    for factor in term.factors:
        product *= float(values(factor))
    return product


def read_by(contraction: Node, entry: Index) -> list[tuple[Node, tuple[int | slice, ...]]]:
    """What one entry of a sum over the batch reads: each operand, and where in it."""
    op = contraction.op
    if isinstance(op, MatMul):
        a, b = contraction.inputs
        i, j = entry
        return [_seen(a, (i, slice(None))), _seen(b, (slice(None), j))]
    assert isinstance(op, Sum)
    (x,) = contraction.inputs
    if op.axis != (0,):
        raise UsageError("a sum over more than the batch has no shares by example")
    return [_seen(x, (slice(None), *entry))]


def _seen(node: Node, index: tuple[int | slice, ...]) -> tuple[Node, tuple[int | slice, ...]]:
    """Through views, down to the value that is stored."""
    while isinstance(node.op, (Transpose, Broadcast)):
        if isinstance(node.op, Transpose):
            index = tuple(index[node.op.axes.index(k)] for k in range(len(index)))
        else:
            index = tuple(index[a] for a in node.op.axes)
        (node,) = node.inputs
    return node, index


def by_own_pass(
    graph: Graph, parameter: str, entry: Index, feeds: Mapping[str, Array]
) -> NDArray[np.float64]:
    """Each example's part of one entry of a gradient, shape (B,), where something mixes the examples.

    That of an example is the backward pass seeded with its own ∂C/∂ℓ only, which passes through what the
    other examples are, too. All of them come from one pass in f64: see `inspection.shares_along`.
    """
    along = data("direction", graph.inputs[parameter].array_type)
    program = retyped(simplify(Graph({"shares": shares_along(graph, {parameter: along})}), fold=True), "f64")
    given = {
        name: np.asarray(feeds[name], np.float64 if node.dtype == "f64" else None)
        for name, node in program.inputs.items()
        if name in feeds
    }
    direction = np.zeros(feeds[parameter].shape)
    direction[entry] = 1.0
    ones = np.ones(len(feeds["x"]))
    return np.asarray(ReferenceFunction(program)(given | {"direction": direction, SEED: ones})["shares"])


def check_uncoupled(graph: Graph, parameter: str = "") -> None:
    """Refuse what an example does to other examples' losses: it is no share of its own.

    Parameters
    ----------
    graph : Graph
    parameter : str
        The one that is asked for: what mixes the examples before it, as batch normalisation does in a layer
        below, leaves its gradient a sum over them. Any, if left out.

    Raises
    ------
    UsageError
        Names the value that mixes the examples, and the parameters that come after all such values.
    """
    mixing = mixed_after(graph, parameter) if parameter else next(iter(_mixing(graph)), None)
    if mixing is None:
        return
    name = mixing.name or mixing.op.name
    if not parameter:
        raise UsageError(
            f"{name} mixes the examples of the batch, so over a whole run what one of them did is not told "
            "apart from the others.\n  Ask why a weight moved in one step, or for blame by row, step or "
            "epoch; or train with LayerNorm, which normalises each example by itself."
        )
    free = [other for other in _parameters(graph) if mixed_after(graph, other) is None]
    raise UsageError(
        f"{name} mixes the examples of the batch, so a row of the gradient's product is no example's share "
        f"in {parameter}" + (f"\n  Ask for a weight that comes after it: {', '.join(free)}." if free else "")
    )


def mixed_after(graph: Graph, parameter: str) -> Node | None:
    """The first value after a parameter that reads the whole batch at once, as batch normalisation does."""
    touched = _after(graph, graph.inputs[parameter])
    return next((node for node in _mixing(graph) if node in touched), None)


def is_coupled(graph: Graph, parameter: str) -> bool:
    """Whether something mixes the examples after a parameter; see `check_uncoupled`."""
    return mixed_after(graph, parameter) is not None


def _parameters(graph: Graph) -> dict[str, Node]:
    return dict(graph.inputs_of_kind("parameter"))


def _after(graph: Graph, *start: Node) -> set[Node]:
    """These nodes, and all that depend on them."""
    depends = set(start)
    for node in graph.nodes:
        if any(x in depends for x in node.inputs):
            depends.add(node)
    return depends


def _mixing(graph: Graph) -> list[Node]:
    """What the loss reads of the whole batch at once, in the order of calculation."""
    of_rows = _after(graph, *graph.inputs_of_kind("data").values())
    return [n for n in inputs_of([graph["loss"]]) if n in of_rows and "B" not in n.type.named]


def second_route(
    graph: Graph, parameter: str, entry: Index, feeds: Mapping[str, Array], rows: list[int]
) -> NDArray[np.float64]:
    """The shares of some rows of the batch by another way: a pass in f64 of each example for itself.

    Forward on that row alone, and backward seeded with its own ∂C/∂ℓ. Where a program draws numbers by the
    place of a row in the batch (dropout), or reads the whole batch at once (batch normalisation), the whole
    batch, with a seed that is zero but for that row.
    """
    forward = retyped(graph.part(["loss", "C"]), "f64")
    floats = {name for name, node in forward.inputs.items() if node.dtype == "f64"}
    wide = {name: np.asarray(feeds[name], np.float64 if name in floats else None) for name in forward.inputs}
    whole = backward(forward, "C", [parameter], names={"loss": "adj_loss"})
    seeds = ReferenceFunction(whole)(wide)["adj_loss"]
    seeded = backward(forward.part(["loss"]), "loss", [parameter], seed="seed")
    single = ReferenceFunction(seeded.part([f"d{parameter}"]))
    batch = forward.inputs_of_kind("data")
    drawn = any(isinstance(n.op, Uniform) for n in single.graph.nodes) or bool(_mixing(forward))
    found = []
    for b in rows:
        if drawn:
            given, seed = wide, np.where(np.arange(len(seeds)) == b, seeds, 0.0)
        else:
            given = {k: (wide[k][b : b + 1] if k in batch else wide[k]) for k in wide}
            seed = seeds[b : b + 1]
        known = {k: given[k] for k in single.graph.inputs if k != "seed"}
        found.append(float(single({**known, "seed": seed})[f"d{parameter}"][entry]))
    return np.array(found)


def kept_values(
    peek: Callable[[Node], Array | None], reference: Callable[[Node], Array], used: set[str]
) -> Values:
    """Values as the run's kernel left them; from the reference executor where it left none."""

    def value(node: Node) -> Array:
        array = peek(node)
        name = node.name or node.op.name
        if array is not None:
            used.add(name)
            return array
        used.add(f"{name} (by the reference executor)")
        return np.asarray(reference(node))

    return value
