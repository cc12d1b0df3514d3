"""The questions. Each takes a visited step and gives an Answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError, nearest
from backpass.explain.answer import Answer, Earlier, Part, Share
from backpass.explain.shares import (
    by_example,
    check_uncoupled,
    gradient_terms,
    kept_values,
    looked_up,
    penalty_of,
    read_by,
    second_route,
)
from backpass.explain.terms import Term, Values, actual_values, terms_of_new, update_terms
from backpass.ir import Graph, Node
from backpass.ir.node import inputs_of
from backpass.ir.text import sections
from backpass.ops import Where
from backpass.training.evaluate import classes_of
from backpass.training.replay import Moment

_NAMED = 0.99  # of the carried momentum is traced to earlier examples
_FURTHEST = 1000  # steps back
_CHECKED = 256  # examples that take the second route
_HELPER = re.compile(r"\bv\d+\b")
_TARGET = re.compile(r"\s*(\w+)\s*\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]\s*")


def why(moment: Moment, target: str, row_numbers: NDArray[np.int64] | None = None) -> Answer:
    """Why a weight moved in one step: by part of the update, and by example.

    Parameters
    ----------
    moment : Moment
        The visited step.
    target : str
        One entry of a parameter: ``"W2[3,1]"`` or ``"b1[4]"``.
    row_numbers : ndarray of int64, optional
        The number in the data set of each training row.

    Returns
    -------
    Answer

    Raises
    ------
    UsageError
        There is no such weight, or its update is not a sum over examples.
    """
    graph, record = moment.graph, moment.replay.record
    name, entry = parse_target(graph, target)
    check_uncoupled(graph, name)
    numbered = np.arange(record.settings.data.rows) if row_numbers is None else row_numbers
    batch = record.batches.span(moment.step - 1, moment.step)[0]
    gradient = graph[f"d{name}"]
    terms = update_terms(graph, name)

    # The run's own kernel takes the step again; what its products read is still there afterwards.
    used: set[str] = set()
    step = _Step(moment, name, entry, used)
    before_w, after_w = float(moment.before[name][entry]), float(step.after[name][entry])
    update = after_w - before_w
    found, shares, carried = step.taken_apart(terms)
    parts = [Part(kind, value) for kind, value in found.items()]

    rounding = update - math.fsum(p.value for p in parts)
    count = len(batch) + len(parts) - 1
    gross = float(np.sum(np.abs(shares))) + sum(abs(p.value) for p in parts if p.name != "fresh gradient")
    eps = float(np.finfo(step.after[name].dtype).eps)
    scale = abs(before_w) + gross
    earlier, other, rest = _earlier(moment, name, entry, carried, numbered)

    largest = np.argsort(-np.abs(shares), kind="stable")
    checked = [int(b) for b in largest[:_CHECKED]]
    scale_of = sum(t.factor(step.values, entry) for t in terms if t.value is gradient and t.clipped is None)
    again = scale_of * second_route(graph, name, entry, moment.feeds, checked)
    gap = float(np.max(np.abs(again - shares[checked]), initial=0.0))

    labels = _labels(moment)
    examples = tuple(
        Share(int(numbered[batch[b]]), float(shares[b]), *(labels[b] if labels else ())) for b in largest
    )
    return Answer(
        question="why",
        target=f"{name}[{','.join(map(str, entry))}]",
        step=moment.step,
        claim=_claim(f"{name}[{','.join(map(str, entry))}]", moment.step, before_w, after_w, parts, examples),
        before=before_w,
        after=after_w,
        update=update,
        parts=tuple(parts),
        examples=examples,
        rounding=rounding,
        bound=4 * (count + 1) * eps * scale,
        second_route=gap,
        second_route_bound=256 * eps * scale,
        earlier=earlier,
        earlier_other=other,
        earlier_rest=rest,
        scale=scale_of,
        equations=_equations(step),
        evidence=tuple(sorted(used)),
    )


def parse_target(graph: Graph, target: str) -> tuple[str, tuple[int, ...]]:
    """A parameter and the place of one of its entries, from ``W2[3,1]``."""
    parameters = graph.inputs_of_kind("parameter")
    match = _TARGET.fullmatch(target)
    if not match:
        shown = next(iter(parameters), "W1")
        raise UsageError(f"a weight is written like {shown}[0,1], got {target!r}")
    name, entry = match[1], tuple(int(i) for i in match[2].split(","))
    if name in graph.inputs_of_kind("fixed"):
        raise UsageError(f"{name} is not trained (trainable=False): it stays as it started")
    if name not in parameters:
        raise UsageError(f"there is no parameter {name!r}. {nearest(name, parameters)}")
    shape = parameters[name].shape
    inside = len(entry) == len(shape) and all(i < int(n) for i, n in zip(entry, shape, strict=True))
    if not inside:
        last = ",".join(str(int(n) - 1) for n in shape)
        first = ",".join("0" for _ in shape)
        raise UsageError(f"{target} does not exist: the entries of {name} go from [{first}] to [{last}]")
    return name, entry


class _Step:
    """One step, taken again by the run's own kernel, and one weight of it.

    Attributes
    ----------
    after : dict of str to array
        The carried values after the step.
    values : callable
        The value of a node of the update, as the kernel had it.
    """

    def __init__(self, moment: Moment, name: str, entry: tuple[int, ...], used: set[str]) -> None:
        self.moment, self.name, self.entry = moment, name, entry
        self.gradient = moment.graph[f"d{name}"]
        self.after = moment.replay.run_step(moment.step - 1)
        self.values: Values = actual_values(
            moment.graph, moment.feeds, self.after, lambda n: np.asarray(moment.values[n])
        )
        kept = kept_values(moment.replay.loop.peek, lambda n: moment.values[n], used)
        self.per_gradient = by_example(self.gradient, entry, kept, self.values)
        if not len(self.per_gradient):
            self.per_gradient = np.zeros(
                len(moment.replay.record.batches.span(moment.step - 1, moment.step)[0])
            )

    def taken_apart(
        self, terms: Sequence[Term]
    ) -> tuple[dict[str, float], NDArray[np.float64], list[tuple[float, Term]]]:
        """The parts by kind, the examples' shares in the fresh gradient, and the terms that were carried."""
        parts: dict[str, float] = {"fresh gradient": 0.0}
        shares = np.zeros(len(self.per_gradient))
        carried: list[tuple[float, Term]] = []

        def add(kind: str, value: float) -> None:
            parts[kind] = parts.get(kind, 0.0) + value

        for term in terms:
            factor = term.factor(self.values, self.entry)
            if term.clipped is not None:
                clipped, whole = (float(self.values(n)[self.entry]) for n in (term.clipped, term.value))
                add("clipping", factor * (clipped - whole))
            elif term.value is self.gradient:
                shares = shares + factor * self.per_gradient
                add("fresh gradient", float(np.sum(factor * self.per_gradient)))
                if gradient_terms(self.gradient)[1]:
                    add("penalty", factor * penalty_of(self.gradient, self.entry, self.values))
            elif term.value.op.feeds:
                kind = "carried momentum" if term.value.name != self.name else "decay"
                add(kind, factor * float(self.moment.before[str(term.value.name)][self.entry]))
                if kind == "carried momentum":
                    carried.append((factor, term))
            else:
                raise UsageError(
                    f"the update of {self.name} has a part that cannot be taken apart: {term.value.op.name}"
                )
        return parts, shares, carried


def _earlier(
    moment: Moment,
    name: str,
    entry: tuple[int, ...],
    carried: Sequence[tuple[float, Term]],
    numbered: NDArray[np.int64],
) -> tuple[tuple[Earlier, ...], float, float]:
    """Trace the carried momentum back to the examples of earlier steps, until 99 % of it is named.

    Each velocity v follows ``v_new = m v + f dW + ...``, so what is carried now is the sum over earlier steps
    k of the products of the m since, times what step k added; the rest is what was carried before them.
    """
    found: list[Earlier] = []
    beside = rest = 0.0
    replay = moment.replay
    for outer, carry in carried:
        slot = carry.value
        now = outer * float(moment.before[str(slot.name)][entry])
        if now == 0.0 or moment.step == 1:
            rest += now
            continue
        terms = terms_of_new(moment.graph, str(slot.name))
        keep = [t for t in terms if t.value is slot]
        m = abs(sum(t.factor(lambda n: np.asarray(moment.feeds[str(n.name)]), entry) for t in keep))
        guess = _FURTHEST if m >= 1 or m <= 0 else math.ceil(math.log(1 - _NAMED) / math.log(m)) + 1
        while True:
            first = max(1, moment.step - min(guess, _FURTHEST))
            before = float(replay.state(first - 1)[str(slot.name)][entry])
            kept, other = 1.0, 0.0
            steps: list[tuple[int, NDArray[np.int64], NDArray[np.float64]]] = []
            for number in range(first, moment.step):
                step = _Step(Moment(replay, number), name, entry, set())
                m = sum(t.factor(step.values, entry) for t in keep)
                parts, shares, _ = step.taken_apart([t for t in terms if t.value is not slot])
                steps = [(k, rows, m * part) for k, rows, part in steps]
                steps.append((number, replay.record.batches.span(number - 1, number)[0], shares))
                other = m * other + sum(v for kind, v in parts.items() if kind != "fresh gradient")
                kept *= m
            left = outer * kept * before
            if abs(left) <= (1 - _NAMED) * abs(now) or first == 1 or guess >= _FURTHEST:
                break
            guess *= 2
        beside, rest = beside + outer * other, rest + left
        for number, batch, shares in steps:
            found += [
                Earlier(number, int(numbered[row]), float(outer * share))
                for row, share in zip(batch, shares, strict=True)
            ]
    found.sort(key=lambda e: -abs(e.value))
    return tuple(found), beside, rest


def _labels(moment: Moment) -> list[tuple[str, str]]:
    """For classes: what each example of the batch is, and what the network took it for."""
    settings = moment.replay.record.settings
    if settings.data.task != "classification":
        return []
    names = [str(c) for c in settings.data.classes]
    prediction = moment[moment.replay.record.prediction]
    true, read = classes_of(moment["t"]), classes_of(prediction)
    return [(names[int(t)], names[int(r)]) for t, r in zip(true, read, strict=True)]


def _claim(
    target: str, step: int, before: float, after: float, parts: Sequence[Part], examples: Sequence[Share]
) -> str:
    moved = "did not move" if after == before else f"moved by {after - before:+.4g}"
    words = f"{target} {moved} in step {step:,}, from {before:.6g} to {after:.6g}."
    largest = max(parts, key=lambda p: abs(p.value))
    if len(parts) > 1 and largest.value:
        words += f" The largest part is the {largest.name}, {largest.value:+.4g}."
    gross = sum(abs(s.value) for s in examples)
    if not gross:
        return words + " No example of the batch pulls at it: its gradient is zero."
    top: list[Share] = []
    for share in examples[:3]:
        top.append(share)
        if sum(abs(s.value) for s in top) >= 0.5 * gross:
            break
    part = sum(abs(s.value) for s in top) / gross
    rows = [f"{s.row}{_reading(s)}" for s in top]
    named = " and ".join([", ".join(rows[:-1]), rows[-1]] if len(rows) > 1 else rows)
    subject = f"Row {named} accounts" if len(top) == 1 else f"Rows {named} account"
    return f"{words} {subject} for {part:.0%} of the fresh gradient."


def _reading(share: Share) -> str:
    """In brackets, what an example is and what it was taken for."""
    if not share.label:
        return ""
    return (
        f" (a {share.label})"
        if share.label == share.read_as
        else f" (a {share.label}, read as {share.read_as})"
    )


def _equations(step: _Step) -> tuple[str, ...]:
    """The lines of the program that the update went through, once with names and once with numbers."""
    graph, moment, name, entry = step.moment.graph, step.moment, step.name, step.entry
    spot = f"[{','.join(map(str, entry))}]"
    right = {
        left.strip(): rest.split("  #")[0].strip()
        for left, _, rest in (line.partition(" = ") for line in graph.text(prelude=False).split("\n"))
    }
    called = {node: key for key, node in graph.named.items()} | {n: key for key, n in graph.outputs.items()}
    new = graph.outputs[f"{name}_new"]
    where = sections(graph)
    known: dict[str, float] = {}
    entries, lines = set(), []  # names that stand for an array, and what is calculated on the way
    for node in inputs_of([new]):
        key = called.get(node)
        if key is None or not (node.op.feeds or where[node] == "update" or node is step.gradient):
            continue
        if node.shape not in ((), new.shape) or node.op.settings().get("kind") == "data":
            continue
        value = np.asarray(step.values(node))
        known[key] = float(value[entry] if value.ndim else value)
        if value.ndim:
            entries.add(key)
        if not node.op.feeds and node is not step.gradient and key in right:
            lines.append(key)
    written = []
    for key in lines:
        line = right[key]
        for helper in _HELPER.findall(line):  # values without a name of their own: v3 = 1 - beta1
            if helper not in known and helper in right:
                line = re.sub(rf"\b{helper}\b", f"({right[helper]})", line)
        # A single number, such as a norm, comes from whole arrays: an entry there would say something else.
        shown = {k: v for k, v in known.items() if key in entries or k not in entries}
        words = re.sub(r"\w+", lambda m: m[0] + (spot if m[0] in entries & shown.keys() else ""), line)  # noqa: B023
        filled = re.sub(r"\w+", lambda m: _number(shown.get(m[0]), m[0]), line)  # noqa: B023
        left = f"{key}{spot}" if key in entries else key
        written.append(f"{left} = {words} = {filled}")
    sums = []
    for term in gradient_terms(step.gradient)[0]:
        if looked_up(term.value):
            rest = ",".join(map(str, entry[1:]))
            sums.append(
                f"{_called(_sent(term.value))}[b,k,{rest}] for each k at which b has category {entry[0]}"
            )
            continue
        factors = [
            f"{_called(node)}[{','.join('b' if isinstance(i, slice) else str(i) for i in index)}]"
            for node, index in read_by(term.value, entry)
        ]
        sums.append(" * ".join(factors))
    total = " + ".join([f"sum over b of {' + '.join(sums)}"] if sums else [])
    if gradient_terms(step.gradient)[1]:
        total += f" + penalty {penalty_of(step.gradient, entry, step.values):.6g}"
    written.append(f"d{name}{spot} = {total} = {float(moment[f'd{name}'][entry]):.6g}")
    return tuple(written)


def _number(value: float | None, word: str) -> str:
    return word if value is None else f"({value:.6g})" if value < 0 else f"{value:.6g}"


def _sent(contraction: Node) -> Node:
    """The delta of a lookup, without the choice that leaves unknown categories out."""
    sent = contraction.inputs[0]
    return sent.inputs[1] if isinstance(sent.op, Where) and sent.name is None else sent


def _called(node: Node) -> str:
    return node.name or node.op.name
