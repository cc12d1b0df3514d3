"""``value``: the equation of one number of a step, with its terms filled in."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from backpass.errors import NotDifferentiable
from backpass.explain.answer import Answer, Block, Check, Entry, Equations, Ledger, Note, Table
from backpass.explain.net.pieces import Piece, cut
from backpass.explain.step.entries import Entries, inner, is_opaque, is_sum, mentioned
from backpass.explain.step.places import Place, place, written
from backpass.explain.step.summands import Summands, Term
from backpass.explain.words import signed
from backpass.ir import Node
from backpass.ir.node import inputs_of
from backpass.ir.op import FLOATS
from backpass.ir.tuples import Item
from backpass.ir.types import ArrayType, dims_of
from backpass.record.replay import Moment

_LINES = 8  # of equations, at most


@dataclass(frozen=True)
class Dependence:
    """An entry that a number depends on.

    Attributes
    ----------
    name : str
    value : float
    derivative : float
        Of the number by this entry.
    """

    name: str
    value: float
    derivative: float

    @property
    def product(self) -> float:
        return self.value * self.derivative


@dataclass(frozen=True, kw_only=True)
class Value(Answer):
    """One number of a step, and what it is calculated from.

    Attributes
    ----------
    value : float
        As the reference executor calculated it.
    equations : tuple of str
        The lines of the program that lead to it, with names and with numbers.
    summed : str
        The number that `terms` add up to: the one that was asked for, or the sum that it is calculated from.
    total : float
        The value of that.
    terms : tuple of Entry
        Largest first, without those that are 0; empty where it is no sum.
    zeros : int
        How many terms are 0.
    bound : float
        By how much rounding can keep the terms from adding up.
    depends : tuple of Dependence
        For an op without a sum to show: the entries that the number depends on, by |derivative times value|.
    about : str
        What `depends` is about.
    """

    value: float
    equations: tuple[str, ...] = ()
    summed: str = ""
    total: float = 0.0
    terms: tuple[Entry, ...] = ()
    zeros: int = 0
    bound: float = 0.0
    depends: tuple[Dependence, ...] = ()
    about: str = ""
    note: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        if not self.terms:
            return ()
        gap = self.total - math.fsum(t.value for t in self.terms)
        return (Check("balance", gap, self.bound, f"the terms and {self.summed}"),)

    def blocks(self) -> list[Block]:
        found: list[Block] = [Equations(self.equations)] if self.equations else []
        if self.terms:
            title = f"the terms of {self.summed}, largest first, with their share of all that is added"
            found.append(Ledger(title, self.terms, self.total, self.summed))
        if self.depends:
            rows = tuple((d.name, d.value, d.derivative, d.product) for d in self.depends)
            head = ("entry", "value", "derivative", "derivative * value")
            found.append(Table(f"what {self.about} depends on", head, rows))
        if self.note:
            found.append(Note(self.note))
        return found


def value(moment: Moment, target: str) -> Value:
    """The equation of one number of a step, with its terms filled in.

    The program is followed from the number down, until a value that is a sum of terms, or an input.

    Parameters
    ----------
    moment : Moment
        The visited step.
    target : str
        Any number of forward, backward or update: ``a1[12,7]``, ``dW1[5,2]``, ``W1_new[5,2]``, ``C``.

    Raises
    ------
    UsageError
        There is no such number; the nearest name or the range is told.

    Examples
    --------
    >>> import backpass as bp
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = bp.Network([bp.Dense(3, "tanh"), bp.Dense(2, "softmax")])
    >>> run = bp.train(net, (X, y), batch=4, epochs=1, executor="reference", validation=0)
    >>> sorted(term.name for term in value(run.at(1), "z1[2,0]").terms)
    ['b1[0]', 'x[2,0] * W1[0,0]', 'x[2,1] * W1[1,0]']
    """
    where = place(moment, target)
    entries = Entries(moment)
    shown = float(np.asarray(moment.values[where.node])[where.entry])
    lines: list[str] = []
    used: dict[str, None] = {where.name: None}
    answer = Value(question="value", target=str(where), step=moment.step, claim="", value=shown)
    queue = [(where.node, where.entry)]
    seen = set(queue)
    while queue and len(lines) < _LINES:
        node, entry = queue.pop(0)
        name = written(entries.printed.get(node, node.op.name), entry)
        if node.op.feeds:
            continue
        lines.append(equation(entries, node, entry, name))
        used |= {entries.printed[n]: None for n, _ in mentioned(entries, node, entry)}
        answer = _taken_apart(answer, entries, node, entry, name)
        if answer.terms or answer.depends:
            for helper, at in mentioned(entries, node, entry):  # v3, which the line reads
                if helper not in entries.names and len(lines) < _LINES:
                    lines.append(equation(entries, helper, at, written(entries.printed[helper], at)))
            break
        for next_ in mentioned(entries, node, entry):
            if next_ not in seen and not next_[0].op.feeds:
                seen.add(next_)
                queue.append(next_)
    return dataclasses.replace(
        answer,
        equations=tuple(lines),
        claim=_claim(answer, where, moment),
        evidence=tuple(used),
        note=_about_input(moment, where),
    )


def _taken_apart(answer: Value, entries: Entries, node: Node, entry: tuple[int, ...], name: str) -> Value:
    """With the terms of a number; or those of a sum inside of it; or what an op depends on."""
    summands = Summands(entries)
    if summands.sums(node):
        terms = summands.terms(node, entry)
        if len(terms) > 1 or is_sum(node):
            return _summed(answer, terms, entries.value(node, entry), name, _eps(entries, node))
        below = inner(entries, node, entry, is_sum)
        if below is not None:
            text = entries.written(*below, root=True)[0]
            return _summed(
                answer, summands.terms(*below), entries.value(*below), text, _eps(entries, below[0])
            )
    below = inner(entries, node, entry, is_opaque)
    return answer if below is None else _with_dependence(answer, entries, *below)


def equation(entries: Entries, node: Node, entry: tuple[int, ...], name: str) -> str:
    """A line of the program for one entry: ``a1[12,7] = relu(z1[12,7]) = relu(0.83) = 0.83``."""
    words = entries.written(node, entry, root=True)[0]
    numbers = entries.written(node, entry, root=True, numbers=True)[0]
    exact = entries.array(node)[entry]
    result = _shown(exact)
    middle = "" if numbers in (words, result, f"{float(exact):.4g}") else f" = {numbers}"
    return f"{name} = {words}{middle} = {result}"


def _summed(answer: Value, terms: list[Term], total: float, name: str, eps: float) -> Value:
    alive = [t for t in terms if t.value] or terms
    ordered = sorted(alive, key=lambda t: -abs(t.value))
    gross = math.fsum(abs(t.value) for t in terms)
    return dataclasses.replace(
        answer,
        summed=name,
        total=total,
        terms=tuple(Entry(t.name, t.value) for t in ordered),
        zeros=len(terms) - len(alive),
        bound=4 * (len(terms) + 1) * eps * gross,
    )


def _eps(entries: Entries, node: Node) -> float:
    kind = entries.array(node).dtype
    return float(np.finfo(kind).eps) if kind.kind == "f" else float(np.finfo(np.float64).eps)


def _with_dependence(answer: Value, entries: Entries, node: Node, entry: tuple[int, ...]) -> Value:
    """What an entry depends on, by its op's own vjp; as terms, where the op is linear."""
    name = entries.written(node, entry, root=True)[0]
    found: list[Dependence] = []
    for x, piece in _pieces(entries.moment, node):
        try:
            adjoint = piece.adjoint("x__")
        except NotDifferentiable:  # targets are data
            continue
        if adjoint is None:
            continue
        seed = np.zeros(np.shape(piece.value))
        seed[entry] = 1.0
        derivative = np.asarray(piece.backwards("x__", seed), np.float64)
        places = [tuple(int(i) for i in at) for at in np.argwhere(derivative)]
        mine = [
            Dependence(entries.written(x, at)[0], entries.value(x, at), float(derivative[at]))
            for at in places
        ]
        if not any(n.name == "x__" for n in inputs_of([adjoint])):  # linear in x
            terms = [Term(f"{d.derivative:.4g} * {d.name}", d.product) for d in mine]
            trial = _summed(answer, terms, entries.value(node, entry), name, _eps(entries, node))
            if terms and trial.balanced:
                return trial
        found += mine
    found.sort(key=lambda d: (-abs(d.product), -abs(d.derivative)))
    return dataclasses.replace(answer, depends=tuple(found), about=name)


def _pieces(moment: Moment, node: Node) -> list[tuple[Node, Piece]]:
    """The op alone, as a function of each of its inputs that is of floating-point numbers."""
    inner = node.inputs[0] if isinstance(node.op, Item) else node
    dims = dims_of(moment.graph.input_types, moment.feeds)
    found = []
    for x in dict.fromkeys(inner.inputs):
        fed = any(n.op.feeds for n in inputs_of([x]))  # else it is a constant
        if fed and isinstance(x.type, ArrayType) and x.dtype in FLOATS:
            given = {
                y: f"given_{i}"
                for i, y in enumerate(inner.inputs)
                if y is not x and not y.op.feeds and isinstance(y.type, ArrayType)
            }
            found.append((x, cut(moment, node, {x: "x__"}, dims, given)))
    return found


def _about_input(moment: Moment, where: Place) -> str:
    if not where.node.op.feeds:
        return ""
    kind = where.node.op.settings()["kind"]
    if kind == "data" and where.entry and where.node.shape[:1] == ("B",):
        return f"{where} is given: it comes from row {moment.rows[where.entry[0]]} of the data."
    return {
        "parameter": f"{where} is a weight before step {moment.step}; {where.name}_new is the same after it.",
        "fixed": f"{where} is a weight that is not trained.",
        "state": f"{where} was carried into step {moment.step} from the step before.",
    }.get(kind, f"{where} is given to the step as it is.")


def _shown(exact: np.generic) -> str:
    return f"{exact:.6g}" if exact.dtype.kind == "f" else f"{int(exact)}"


def _claim(answer: Value, where: Place, moment: Moment) -> str:
    words = f"{where} is {_shown(np.asarray(moment.values[where.node])[where.entry])} in step {moment.step}."
    if len(answer.terms) + answer.zeros > 1:
        up = [t.value for t in answer.terms if t.value > 0]
        down = [t.value for t in answer.terms if t.value < 0]
        words += f" {'It' if answer.summed == str(where) else answer.summed} is a sum of "
        words += f"{len(answer.terms) + answer.zeros:,} terms"
        words += f", {answer.zeros:,} of them 0" if answer.zeros else ""
        if up and down:
            words += f": those above 0 make {signed(math.fsum(up))}, those below 0 {signed(math.fsum(down))}"
        words += f". The largest is {answer.terms[0].name} = {signed(answer.terms[0].value)}."
    elif answer.depends:
        first = max(answer.depends, key=lambda d: abs(d.derivative))
        words += (
            f" {answer.about} depends on {len(answer.depends):,} entries, most on {first.name}: a small "
            f"change of that changes it {first.derivative:.4g} times as much."
        )
    return words
