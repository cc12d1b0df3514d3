"""Shares: the part of a gradient or an update that one example or one term contributes.

A share by example is the backward pass seeded with that example's ∂C/∂ℓ only. Backward is linear in its
seed, so shares add up. Where examples are not coupled it is one product of the two columns that the
gradient's own contraction reads, ``x[b,i] * δ[b,j]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Graph, Node
from backpass.ir.node import inputs_of
from backpass.ir.text import sections
from backpass.ops import Broadcast, MatMul, Sum, Transpose
from backpass.passes import Term, backward, linear_terms, retyped

Index = tuple[int, ...]
Values = Callable[[Node], Array]


def update_terms(graph: Graph, parameter: str) -> list[Term]:
    """The update of a parameter as a sum over old values and the gradient, the parameter itself left out."""
    terms, old = _terms_of_new(graph, parameter)
    kept = [t for t in terms if t.value is old and not t.factors and not t.negative]
    if not kept:
        raise UsageError(f"the update of {parameter} is not a sum of parts, so it cannot be taken apart")
    return [t for t in terms if t is not kept[0]]


def slot_recurrence(graph: Graph, slot: str) -> tuple[Term, Term] | None:
    """How an optimiser's slot is carried on: the term that keeps it, and the term of the fresh gradient."""
    terms, old = _terms_of_new(graph, slot)
    keep = [t for t in terms if t.value is old]
    fresh = [t for t in terms if t.value is not old]
    return (keep[0], fresh[0]) if len(keep) == 1 and len(fresh) == 1 else None


def _terms_of_new(graph: Graph, carried: str) -> tuple[list[Term], Node]:
    """What replaces a carried value as a sum over old values and gradients; and the old value."""
    new = next(new for new, old in graph.carry.items() if old == carried)
    parameters = graph.inputs_of_kind("parameter")
    gradients = {graph[f"d{name}"] for name in parameters if f"d{name}" in graph.named}
    return linear_terms(graph.outputs[new], lambda n: n not in gradients)[0], graph.inputs[carried]


def factor_of(term: Term, numbers: Mapping[str, Array]) -> float:
    """A term's sign and scalar factors, in f64."""
    product = -1.0 if term.negative else 1.0
    for factor in term.factors:
        product *= float(numbers[str(factor.name)]) if factor.op.feeds else factor.op.settings()["value"]
    return product


def contractions(gradient: Node) -> list[Term]:
    """The sums over the batch that a gradient is made of: one, or several for shared weights."""
    terms, _ = linear_terms(gradient, lambda n: not isinstance(n.op, (MatMul, Sum)))
    if not all(isinstance(term.value.op, (MatMul, Sum)) for term in terms):
        raise UsageError(f"{gradient.name} is no sum over the examples, so it has no shares by example")
    return terms


def by_example(
    gradient: Node, entry: Index, values: Values, numbers: Mapping[str, Array]
) -> NDArray[np.float64]:
    """Each example's part of one entry of a gradient, shape (B,), in f64 from the values that were read."""
    total: NDArray[np.float64] | None = None
    for term in contractions(gradient):
        columns = [values(node)[index].astype(np.float64) for node, index in read_by(term.value, entry)]
        product = factor_of(term, numbers) * np.prod(columns, axis=0)
        total = product if total is None else total + product
    assert total is not None
    return total


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


def check_uncoupled(graph: Graph) -> None:
    """Refuse programs in which one example's values depend on another's.

    Raises
    ------
    UsageError
        Names the value that mixes the examples.
    """
    where = sections(graph)
    data = set(graph.inputs_of_kind("data").values())
    below_loss = set(inputs_of([graph["loss"]]))
    depends: set[Node] = set()
    for node in graph.nodes:
        if node in data or any(x in depends for x in node.inputs):
            depends.add(node)
            if node in below_loss and where[node] == "forward" and "B" not in node.type.named:
                raise UsageError(
                    f"{node.name or node.op.name} mixes the examples of the batch, so a row of the "
                    "gradient's product is no example's share"
                )


def second_route(
    graph: Graph, parameter: str, entry: Index, feeds: Mapping[str, Array], rows: list[int]
) -> NDArray[np.float64]:
    """The shares of some rows of the batch by another way: a pass in f64 of each example for itself.

    Forward on that row alone, and backward seeded with its own ∂C/∂ℓ.
    """
    forward = retyped(graph.part(["loss", "C"]), "f64")
    wide = {name: np.asarray(feeds[name], np.float64) for name in forward.inputs}
    whole = backward(forward, "C", [parameter], names={"loss": "adj_loss"})
    seeds = ReferenceFunction(whole)(wide)["adj_loss"]
    seeded = backward(forward.part(["loss"]), "loss", [parameter], seed="seed")
    single = ReferenceFunction(seeded.part([f"d{parameter}"]))
    batch = set(forward.inputs_of_kind("data"))
    found = []
    for b in rows:
        given = {
            k: (wide[k][b : b + 1] if k in batch else wide[k]) for k in single.graph.inputs if k != "seed"
        }
        result = single({**given, "seed": seeds[b : b + 1]})[f"d{parameter}"]
        found.append(float(result[entry]))
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
