"""A value as a sum of terms: ``W + momentum * v - lr * dW``.

Compilers read off it what one accumulating product can do; `explain` reads off it the parts of an update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backpass.ir.node import Node
from backpass.ops import Add, Broadcast, Identity, Multiply, Negate, Subtract


@dataclass(frozen=True)
class Term:
    """One term: a sign, scalar factors, and the value that they multiply."""

    negative: bool
    factors: tuple[Node, ...]
    value: Node


def linear_terms(root: Node, enter: Callable[[Node], bool]) -> tuple[list[Term], list[Node]]:
    """Write a value as a sum of terms.

    Parameters
    ----------
    root : Node
    enter : callable
        Whether to look inside a value below `root`; a value that is not entered is a term.

    Returns
    -------
    terms : list of Term
        In program order.
    inside : list of Node
        The values that were entered, and the repeated factors, without `root`.

    Examples
    --------
    >>> from backpass.ops import data, number, parameter
    >>> w, g, lr = parameter("w", "f64[3]"), data("g", "f64[3]"), number("lr", "f64")
    >>> terms, _ = linear_terms(w - lr * g, lambda node: True)
    >>> [("-" if t.negative else "+", [f.name for f in t.factors], t.value.name) for t in terms]
    [('+', [], 'w'), ('-', ['lr'], 'g')]
    """
    terms: list[Term] = []
    inside: list[Node] = []

    def collect(node: Node, factors: tuple[Node, ...], negative: bool) -> None:
        if node is not root:
            if node.op.feeds or not enter(node):
                terms.append(Term(negative, factors, node))
                return
            inside.append(node)
        if isinstance(node.op, (Add, Subtract)):
            a, b = node.inputs
            collect(a, factors, negative)
            collect(b, factors, negative != isinstance(node.op, Subtract))
        elif isinstance(node.op, Negate):
            collect(node.inputs[0], factors, not negative)
        elif isinstance(node.op, Identity):
            collect(node.inputs[0], factors, negative)
        elif isinstance(node.op, Multiply) and any(scalar_of(x) is not None for x in node.inputs):
            a, b = node.inputs
            factor, other = (a, b) if scalar_of(a) is not None else (b, a)
            scalar = scalar_of(factor)
            assert scalar is not None
            inside.append(factor)
            collect(other, (*factors, scalar), negative)
        else:
            terms.append(Term(negative, factors, node))

    collect(root, (), False)
    return terms, inside


def scalar_of(node: Node) -> Node | None:
    """The scalar that a value repeats everywhere, if it does."""
    while isinstance(node.op, Broadcast):
        (node,) = node.inputs
    return node if node.shape == () else None
