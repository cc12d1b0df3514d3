"""How the update of one weight is made up, and the factors and amounts of its terms over many steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from backpass.errors import UsageError
from backpass.explain.updates.series import Entry, Floats, Index, Reading, Series
from backpass.explain.updates.shares import gradient_terms, looked_up, read_by
from backpass.explain.updates.terms import Term, terms_of_new, update_terms
from backpass.ir import Graph, Node
from backpass.ops import ScatterAdd
from backpass.passes import Term as Scaled
from backpass.record.replay import Replay


@dataclass(frozen=True, eq=False)
class Plan:
    """How one weight's update is made up, and what has to be read for it.

    Attributes
    ----------
    name, entry : str, tuple of int
    terms : dict of str to list of Term
        Of the weight's update, and of what replaces each slot that it reads.
    sums : list
        The gradient as sums over the rows of the batch; empty where it is none.
    penalties : list
        What penalties add to it.
    """

    graph: Graph
    name: str
    entry: tuple[int, ...]
    terms: dict[str, list[Term]]
    sums: list[Scaled]
    penalties: list[Scaled]

    @property
    def gradient(self) -> Node:
        return self.graph[f"d{self.name}"]

    @property
    def slots(self) -> list[str]:
        return [key for key in self.terms if key != self.name]

    def at(self, node: Node) -> Index:
        """Where a factor of this weight lies: a single number has but one place."""
        return self.entry if node.shape else ()

    def reads(self) -> list[Entry]:
        """All entries that the ledger needs."""
        wanted: list[Entry] = [(self.graph.inputs[key], self.entry) for key in self.terms]
        for term in itertools.chain.from_iterable(self.terms.values()):
            nodes = [*term.factors, *term.divisors, *([] if term.clipped is None else [term.clipped])]
            wanted += [(node, self.at(node)) for node in nodes]
        for scaled in self.sums:
            wanted += [(node, ()) for node in scaled.factors]
            wanted += itertools.chain.from_iterable(_columns(scaled.value, self.entry))
        for scaled in self.penalties:
            wanted += [(node, ()) for node in scaled.factors] + [(scaled.value, self.entry)]
        if not self.sums:
            wanted.append((self.gradient, self.entry))
        return wanted

    def reading(self, replay: Replay) -> Reading:
        """What has to be kept of each step."""
        return Reading(replay, self.reads(), [self.gradient] if self.sums else [])


def plan(graph: Graph, name: str, entry: tuple[int, ...], by_row: bool = True) -> Plan:
    """How the update of one weight is made up.

    Parameters
    ----------
    graph : Graph
        The program of a step.
    name, entry : str, tuple of int
    by_row : bool
        Whether the gradient has to be a sum over the rows of the batch.

    Raises
    ------
    UsageError
        The update is no sum of parts, or slots feed each other; the message says what stands between.
    """
    terms = {name: update_terms(graph, name)}
    slots = _slots(graph, name, terms[name])
    for slot in slots:
        terms[slot] = terms_of_new(graph, slot)
        if set(_slots(graph, name, terms[slot])) - {slot}:
            raise UsageError(f"the update of {name} goes through {slot}, which itself reads another slot")
    try:
        sums, penalties = gradient_terms(graph[f"d{name}"])
    except UsageError:
        if by_row:
            raise
        sums, penalties = [], []
    return Plan(graph, name, entry, terms, sums, penalties)


def _slots(graph: Graph, name: str, terms: Sequence[Term]) -> list[str]:
    """The slots among the terms; a term that is neither that, nor the gradient or the weight, is refused."""
    found: dict[str, None] = {}
    for term in terms:
        value = term.value
        if value is graph[f"d{name}"] or value.name == name or term.clipped is not None:
            continue
        if value.op.settings().get("kind") != "state":
            raise UsageError(
                f"the update of {name} has a part that cannot be taken apart: {value.name or value.op.name}"
            )
        found[str(value.name)] = None
    return list(found)


def _columns(contraction: Node, entry: tuple[int, ...]) -> list[list[Entry]]:
    """What the products of one entry of a sum over the batch read: operands to multiply, a list a product.

    Of vectors that are looked up: a delta and the number that was looked up, for each place of a row.
    """
    if not looked_up(contraction):
        return [list(read_by(contraction, entry))]
    deltas, index = contraction.inputs
    places = itertools.product(*(range(int(n)) for n in index.shape[1:]))
    rows = slice(None)
    return [[(deltas, (rows, *place, *entry[1:])), (index, (rows, *place))] for place in places]


def scale(scaled: Scaled, series: Series) -> Floats:
    """A sum's sign and scalar factors, of each step."""
    product = np.full(len(series.sizes), -1.0 if scaled.negative else 1.0)
    for node in scaled.factors:
        product = product * series.number(node, ())
    return product


def row_shares(made: Plan, series: Series) -> Floats:
    """Each row's part of one entry of the gradient, of all steps, in f64 from the values that were read."""
    total = np.zeros(len(series.rows))
    for scaled in made.sums:
        found = np.zeros(len(series.rows))
        for entries in _columns(scaled.value, made.entry):
            if isinstance(scaled.value.op, ScatterAdd):
                (delta, index) = (series.column(*e) for e in entries)
                found += np.where(index == made.entry[0], delta, 0.0)
            else:
                found += np.prod([series.column(*e) for e in entries], axis=0)
        total += series.by_row(scale(scaled, series)) * found
    return total


@dataclass(eq=False)
class Moves:
    """What moves one value (the weight, or a slot) in each step of a stretch: factors and amounts.

    Attributes
    ----------
    fresh, decay : ndarray of float64, shape (steps,)
        What the gradient, and the weight itself, are multiplied by.
    clipping : ndarray of float64, shape (steps,)
        What clipping adds.
    carried : dict of str to ndarray
        What each slot is multiplied by.
    """

    fresh: Floats
    decay: Floats
    clipping: Floats
    carried: dict[str, Floats] = field(default_factory=dict)


def moves(made: Plan, key: str, series: Series) -> Moves:
    """The terms of the weight or of a slot, with their factors in each step."""
    steps = len(series.sizes)
    found = Moves(np.zeros(steps), np.zeros(steps), np.zeros(steps))
    for term in made.terms[key]:
        factor = np.broadcast_to(term.product(lambda n: series.number(n, made.at(n))), steps)
        if term.clipped is not None:
            clipped, whole = (series.number(n, made.entry) for n in (term.clipped, term.value))
            found.clipping = found.clipping + factor * (clipped - whole)
        elif term.value is made.gradient:
            found.fresh = found.fresh + factor
        elif term.value.name == made.name:
            found.decay = found.decay + factor
        else:
            slot = str(term.value.name)
            found.carried[slot] = found.carried.get(slot, np.zeros(steps)) + factor
    return found
