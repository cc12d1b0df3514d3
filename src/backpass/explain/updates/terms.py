"""The update of a weight as terms: what it adds up, and what each of them is multiplied by.

Optimisers differ in how they scale, not in what they add: old values and fresh gradients. A divisor, such as
the root of Adam's mean square, is taken as it is in this step, as a factor; so is the part of the gradients
that clipping to a global norm keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.ir import Elementwise, Graph, Node
from backpass.ir.text import sections
from backpass.ir.xp import NUMPY
from backpass.ops import (
    Add,
    Broadcast,
    Constant,
    Divide,
    Identity,
    Maximum,
    Minimum,
    Multiply,
    Negate,
    Subtract,
)
from backpass.passes import scalar_of

Index = tuple[int, ...]
Values = Callable[[Node], Array]


@dataclass(frozen=True)
class Term:
    """One term of an update: a sign, factors, divisors, and the value that they scale.

    Attributes
    ----------
    value : Node
        A gradient, or a value that was carried into the step.
    clipped : Node or None
        Where set, the term is what clipping to an interval added to `value`: ``clipped − value``.
    """

    negative: bool
    factors: tuple[Node, ...]
    divisors: tuple[Node, ...]
    value: Node
    clipped: Node | None = None

    def factor(self, values: Values, entry: Index) -> float:
        """What the value is multiplied by, for one entry of the weight, in f64."""
        return float(self.product(lambda node: _at(values(node), entry)))

    def product(self, at: Callable[[Node], Any]) -> Any:
        """The same from the entries themselves: of one step, or of many steps at once."""
        product = -1.0 if self.negative else 1.0
        for node in self.factors:
            product = product * at(node)
        for node in self.divisors:
            product = product / at(node)
        return product


def _at(array: Array, entry: Index) -> float:
    return float(array[entry] if array.ndim else array)


def gradients_of(graph: Graph) -> dict[Node, str]:
    """The gradients of the parameters, and whose they are."""
    return {
        graph[f"d{name}"]: name for name in graph.inputs_of_kind("parameter") if f"d{name}" in graph.named
    }


def terms_of_new(graph: Graph, carried: str) -> list[Term]:
    """What replaces a carried value, as terms.

    Raises
    ------
    UsageError
        It is not a sum of scaled gradients and carried values; the message names the op.
    """
    new = next(new for new, old in graph.carry.items() if old == carried)
    gradients = gradients_of(graph)
    found: list[Term] = []

    def collect(node: Node, factors: tuple[Node, ...], divisors: tuple[Node, ...], negative: bool) -> None:
        op, x = node.op, node.inputs
        if node in gradients or op.feeds:
            found.append(Term(negative, factors, divisors, node))
        elif isinstance(op, Identity):
            collect(x[0], factors, divisors, negative)
        elif isinstance(op, Negate):
            collect(x[0], factors, divisors, not negative)
        elif isinstance(op, (Add, Subtract)):
            collect(x[0], factors, divisors, negative)
            collect(x[1], factors, divisors, negative != isinstance(op, Subtract))
        elif isinstance(op, Multiply) and any(scalar_of(i) is not None for i in x):
            scalar, other = (
                (scalar_of(x[0]), x[1]) if scalar_of(x[0]) is not None else (scalar_of(x[1]), x[0])
            )
            assert scalar is not None
            collect(other, (*factors, scalar), divisors, negative)
        elif isinstance(op, Divide):
            scalar = scalar_of(x[1])
            collect(x[0], factors, (*divisors, x[1] if scalar is None else scalar), negative)
        elif isinstance(op, Minimum) and isinstance(x[0].op, Maximum):  # an interval: see Optimiser.clip
            inside = x[0].inputs[0]
            collect(inside, factors, divisors, negative)
            found.append(Term(negative, factors, divisors, inside, clipped=node))
        else:
            raise UsageError(
                f"{new} is not a sum of parts: {op.name} stands between it and the gradient, so its update "
                "cannot be taken apart"
            )

    collect(graph.outputs[new], (), (), False)
    return found


def update_terms(graph: Graph, parameter: str) -> list[Term]:
    """The terms of a parameter's update: of what replaces it, the parameter itself left out."""
    terms, old = terms_of_new(graph, parameter), graph.inputs[parameter]
    kept = [t for t in terms if t.value is old and not t.factors and not t.divisors and not t.negative]
    if not kept:
        raise UsageError(f"the update of {parameter} is not a sum of parts, so it cannot be taken apart")
    return [t for t in terms if t is not kept[0]]


def actual_values(
    graph: Graph, feeds: Mapping[str, Array], after: Mapping[str, Array], reference: Values
) -> Values:
    """The values of an update as the run's kernel had them.

    What was carried on is known from the kernel itself, and what the update calculates from it entry by entry
    is calculated from that; the rest, such as a norm, is the reference executor's.
    """
    where, gradients = sections(graph), gradients_of(graph)
    carried = {graph.outputs[new]: old for new, old in graph.carry.items()}
    known: dict[Node, Array] = {}

    def value(node: Node) -> Array:
        if node not in known:
            if node in carried:
                known[node] = after[carried[node]]
            elif node.op.feeds:
                known[node] = feeds[str(node.name)]
            elif (
                isinstance(node.op, (Elementwise, Broadcast, Constant))
                and where[node] == "update"
                and node not in gradients
            ):
                known[node] = node.op.forward(NUMPY, *(value(x) for x in node.inputs))
            else:
                known[node] = reference(node)
        return known[node]

    return value
