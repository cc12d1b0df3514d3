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
    contractions,
    factor_of,
    kept_values,
    read_by,
    second_route,
    slot_recurrence,
    update_terms,
)
from backpass.ir import Graph, Node
from backpass.passes import Term
from backpass.training.evaluate import classes_of
from backpass.training.replay import Moment

_NAMED = 0.99  # of the carried momentum is traced to earlier examples
_FURTHEST = 1000  # steps back
_CHECKED = 256  # examples that take the second route
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
    check_uncoupled(graph)
    numbered = np.arange(record.settings.data.rows) if row_numbers is None else row_numbers
    batch = record.batches.span(moment.step - 1, moment.step)[0]
    gradient = graph[f"d{name}"]
    terms = update_terms(graph, name)

    # The run's own kernel takes the step again; what its products read is still there afterwards.
    after = moment.replay.run_step(moment.step - 1)
    used: set[str] = set()
    values = kept_values(moment.replay.loop.peek, lambda n: moment.values[n], used)
    per_gradient = by_example(gradient, entry, values, moment.feeds)
    before_w, after_w = float(moment.before[name][entry]), float(after[name][entry])
    update = after_w - before_w

    parts: list[Part] = []
    shares = np.zeros(len(batch))
    carried: list[tuple[float, Term]] = []
    for term in terms:
        factor = factor_of(term, moment.feeds)
        if term.value is gradient:
            shares = shares + factor * per_gradient
            parts.append(Part("fresh gradient", float(np.sum(factor * per_gradient))))
        elif term.value.op.feeds:
            kind = "carried momentum" if term.value.name != name else "decay"
            parts.append(Part(kind, factor * float(moment.before[str(term.value.name)][entry])))
            if kind == "carried momentum":
                carried.append((factor, term))
        else:
            raise UsageError(
                f"the update of {name} has a part that cannot be taken apart: {term.value.op.name}"
            )

    rounding = update - math.fsum(p.value for p in parts)
    count = len(batch) + len(parts) - 1
    gross = float(np.sum(np.abs(shares))) + sum(abs(p.value) for p in parts if p.name != "fresh gradient")
    eps = float(np.finfo(after[name].dtype).eps)
    scale = abs(before_w) + gross
    earlier, rest = _earlier(moment, name, entry, carried, numbered)

    largest = np.argsort(-np.abs(shares), kind="stable")
    checked = [int(b) for b in largest[:_CHECKED]]
    fresh = sum(factor_of(t, moment.feeds) for t in terms if t.value is gradient)
    other = fresh * second_route(graph, name, entry, moment.feeds, checked)
    gap = float(np.max(np.abs(other - shares[checked]), initial=0.0))

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
        earlier_rest=rest,
        equations=_equations(moment, name, entry, terms, after),
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
    if name not in parameters:
        raise UsageError(f"there is no parameter {name!r}. {nearest(name, parameters)}")
    shape = parameters[name].shape
    inside = len(entry) == len(shape) and all(i < int(n) for i, n in zip(entry, shape, strict=True))
    if not inside:
        last = ",".join(str(int(n) - 1) for n in shape)
        first = ",".join("0" for _ in shape)
        raise UsageError(f"{target} does not exist: the entries of {name} go from [{first}] to [{last}]")
    return name, entry


def _earlier(
    moment: Moment,
    name: str,
    entry: tuple[int, ...],
    carried: Sequence[tuple[float, Term]],
    numbered: NDArray[np.int64],
) -> tuple[tuple[Earlier, ...], float]:
    """Trace the carried momentum back to the examples of earlier steps, until 99 % of it is named.

    Each velocity v follows ``v_new = m v + f dW``, so what is carried now is the sum over earlier steps k of
    the products of the m since, times f dW of step k; the rest is what was carried before the first of them.
    """
    found: list[Earlier] = []
    rest = 0.0
    graph, replay = moment.graph, moment.replay
    for outer, term in carried:
        slot = str(term.value.name)
        now = outer * float(moment.before[slot][entry])
        recurrence = slot_recurrence(graph, slot)
        if now == 0.0 or recurrence is None or moment.step == 1:
            rest += now
            continue
        keep, fresh = recurrence
        gradient = graph[f"d{name}"]
        m = abs(factor_of(keep, moment.feeds))
        guess = _FURTHEST if m >= 1 or m <= 0 else math.ceil(math.log(1 - _NAMED) / math.log(m)) + 1
        while True:
            first = max(1, moment.step - min(guess, _FURTHEST))
            before = replay.state(first - 1)
            weights = np.ones(0)
            steps: list[tuple[int, NDArray[np.int64], NDArray[np.float64]]] = []
            for step in range(first, moment.step):
                at = Moment(replay, step)
                replay.run_step(step - 1)
                values = kept_values(replay.loop.peek, lambda n, at=at: at.values[n], set())  # type: ignore[misc]
                shares = by_example(gradient, entry, values, moment.feeds)
                weights = np.append(weights * factor_of(keep, moment.feeds), factor_of(fresh, moment.feeds))
                steps.append((step, replay.record.batches.span(step - 1, step)[0], shares))
            left = outer * factor_of(keep, moment.feeds) ** len(steps) * float(before[slot][entry])
            if abs(left) <= (1 - _NAMED) * abs(now) or first == 1 or guess >= _FURTHEST:
                break
            guess *= 2
        rest += left
        for weight, (step, batch, shares) in zip(weights, steps, strict=True):
            found += [
                Earlier(step, int(numbered[row]), float(outer * weight * share))
                for row, share in zip(batch, shares, strict=True)
            ]
    found.sort(key=lambda e: -abs(e.value))
    return tuple(found), rest


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


def _equations(
    moment: Moment,
    name: str,
    entry: tuple[int, ...],
    terms: Sequence[Term],
    after: dict[str, NDArray[np.generic]],
) -> tuple[str, ...]:
    """The lines of the program that the update went through, once with names and once with numbers."""
    graph = moment.graph
    spot = f"[{','.join(map(str, entry))}]"
    slots = [str(t.value.name) for t in terms if t.value.op.feeds and t.value.name != name]
    right = {
        left.strip(): rest.split("  #")[0].strip()
        for left, _, rest in (line.partition(" = ") for line in graph.text(prelude=False).split("\n"))
    }
    numbers = {k: float(moment.feeds[k]) for k in graph.inputs_of_kind("number")}
    known = {k: float(moment.before[k][entry]) for k in [name, *slots]}
    known |= {f"{k}_new": float(after[k][entry]) for k in [name, *slots]}
    known[f"d{name}"] = float(moment[f"d{name}"][entry])
    written = []
    for new in [*(f"{s}_new" for s in slots), f"{name}_new"]:
        line = right.get(new)
        if line is None:
            continue
        words = re.sub(r"\w+", lambda m: m[0] + (spot if m[0] in known else ""), line)
        filled = re.sub(r"\w+", lambda m: _number({**known, **numbers}.get(m[0]), m[0]), line)
        written.append(f"{new}{spot} = {words} = {filled}")
    sums = []
    for term in contractions(graph[f"d{name}"]):
        factors = [
            f"{_called(node)}[{','.join('b' if isinstance(i, slice) else str(i) for i in index)}]"
            for node, index in read_by(term.value, entry)
        ]
        sums.append(" * ".join(factors))
    written.append(f"d{name}{spot} = sum over b of {' + '.join(sums)} = {known[f'd{name}']:.6g}")
    return tuple(written)


def _number(value: float | None, word: str) -> str:
    return word if value is None else f"({value:.6g})" if value < 0 else f"{value:.6g}"


def _called(node: Node) -> str:
    return node.name or node.op.name
