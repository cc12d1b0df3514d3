"""``whatif W2[3,1]``: the same step with one number changed, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.explain.answer import Answer, Block, Table
from backpass.explain.examples import ANSWERED, READ, labels_of, verb_of
from backpass.explain.step.places import Place, place
from backpass.ir import Graph, Node
from backpass.ir.op import FLOATS
from backpass.ir.types import ArrayType, dims_of
from backpass.ir.xp import NUMPY
from backpass.record.replay import Moment


@dataclass(frozen=True)
class Pair:
    """A number as it was, and with the change."""

    name: str
    was: float
    now: float


@dataclass(frozen=True)
class RowPair:
    """What the change does to a row: its loss, and what it is read as, or the quantity that is answered."""

    row: int
    was: float
    now: float
    label: str = ""
    read_was: str = ""
    read_now: str = ""


@dataclass(frozen=True, kw_only=True)
class WhatIf(Answer):
    """The same numbers with and without a change.

    Attributes
    ----------
    was, now : float
        The number that was changed.
    values : tuple of Pair
        The cost, the gradient and the update that belong to it, and the norm of each other value it moved.
    rows : tuple of RowPair
        The rows of the batch whose loss changed, the most first.
    verb : str
        "read as", or of quantities "answered".
    """

    was: float
    now: float
    values: tuple[Pair, ...]
    rows: tuple[RowPair, ...] = ()
    verb: str = READ

    def blocks(self) -> list[Block]:
        found: list[Block] = [
            Table(
                "side by side",
                ("value", "as it was", "with the change", "difference"),
                tuple((p.name, p.was, p.now, p.now - p.was) for p in self.values),
                shown=40,
            )
        ]
        if self.rows:
            heads = ("is", self.verb, f"now {self.verb}") if any(r.label for r in self.rows) else ()
            found.append(
                Table(
                    "rows whose loss changed",
                    ("row", "loss as it was", "with the change", *heads),
                    tuple(
                        (
                            f"row {r.row:,}",
                            r.was,
                            r.now,
                            *((r.label, r.read_was, r.read_now) if heads else ()),
                        )
                        for r in self.rows
                    ),
                    shown=10,
                )
            )
        return found


def whatif(moment: Moment, target: str, value: float, row_numbers: NDArray[np.int64] | None = None) -> WhatIf:
    """The same step with one number changed.

    Parameters
    ----------
    moment : Moment
    target : str
        An entry of any value of the step: a weight ``W2[3,1]``, what the optimiser carries ``m_W2[3,1]``, a
        number of the program ``lr``, or a value in between, such as ``a1[12,7]`` for a unit that is to be
        silent for one row. What was calculated from it is calculated again; what it was calculated from
        stays.
    value : float
        What it is set to.
    row_numbers : ndarray of int64, optional
        The number in the data set of each training row.

    Raises
    ------
    UsageError
        There is no such number, it is an integer or a truth value, or nothing depends on it.
    """
    graph, at = moment.graph, place(moment, target)
    if at.node.dtype not in FLOATS:
        raise UsageError(f"{target} is {at.node.type}: only real numbers can be set")
    if not np.isfinite(value):
        raise UsageError(f"{target} can be set to a finite number only, got {value}")
    before = moment.values
    array = np.array(before[at.node])
    was = float(array[at.entry])
    array[at.entry] = value
    now = float(array[at.entry])  # as this type of number holds it
    after = _changed(graph, before, at.node, array, moment.feeds)
    if len(after) == 1:
        raise UsageError(f"nothing is calculated from {at.name} in this step, so nothing would change")
    rows = _rows(moment, before, before | after, row_numbers)
    values = _pairs(graph, before, after, at)
    return WhatIf(
        question="whatif",
        target=f"{at} = {now:.6g}",
        step=moment.step,
        claim=_claim(moment.step, at, was, now, values, rows, verb_of(moment.replay.record)),
        evidence=(at.name,),
        was=was,
        now=now,
        values=tuple(values),
        rows=tuple(rows),
        verb=verb_of(moment.replay.record),
    )


def _changed(
    graph: Graph, before: Mapping[Node, Array], start: Node, array: Array, feeds: Mapping[str, Array]
) -> dict[Node, Array]:
    """The values that a new value of `start` changes, itself among them."""
    found = {start: array}
    for node, op in zip(graph.nodes, graph.bound(dims_of(graph.input_types, feeds)), strict=True):
        if node is not start and any(x in found for x in node.inputs):
            with np.errstate(all="ignore"):
                found[node] = op.forward(NUMPY, *(found.get(x, before[x]) for x in node.inputs))
    return found


def _pairs(graph: Graph, before: Mapping[Node, Array], after: Mapping[Node, Array], at: Place) -> list[Pair]:
    """The numbers to compare: single ones, those that belong to the changed entry, norms of the others."""
    found = [Pair(str(at), float(before[at.node][at.entry]), float(after[at.node][at.entry]))]
    for name, node in graph.named.items():
        real = isinstance(node.type, ArrayType) and node.dtype in FLOATS
        if node not in after or node is at.node or not real:
            continue
        was, now = (np.asarray(values[node], np.float64) for values in (before, after))
        if not was.shape:
            found.append(Pair(name, float(was), float(now)))
        elif name in (f"d{at.name}", f"{at.name}_new", f"Δ{at.name}"):
            where = f"{name}[{','.join(map(str, at.entry))}]"
            found.append(Pair(where, float(was[at.entry]), float(now[at.entry])))
        elif not np.array_equal(was, now, equal_nan=True):
            found.append(Pair(f"norm of {name}", float(np.linalg.norm(was)), float(np.linalg.norm(now))))
    first = [p for p in found[1:] if p.name == "C"]
    return [found[0], *first, *(p for p in found[1:] if p.name != "C")]


def _rows(
    moment: Moment,
    before: Mapping[Node, Array],
    after: Mapping[Node, Array],
    row_numbers: NDArray[np.int64] | None,
) -> list[RowPair]:
    """The rows whose loss changed, the most first."""
    graph, record = moment.graph, moment.replay.record
    was, now = (np.asarray(values[graph["loss"]], np.float64) for values in (before, after))
    batch = record.batches.span(moment.step - 1, moment.step)[0]
    numbers = batch if row_numbers is None else row_numbers[batch]
    prediction = graph[record.prediction]
    of = (moment["t"], before[prediction], after[prediction])
    labels = list(zip(*(labels_of(record, np.asarray(a)) for a in of), strict=True))
    order = np.argsort(-np.abs(now - was), kind="stable")
    return [
        RowPair(int(numbers[b]), float(was[b]), float(now[b]), *labels[b]) for b in order if now[b] != was[b]
    ]


def _claim(
    step: int,
    at: Place,
    was: float,
    now: float,
    values: Sequence[Pair],
    rows: Sequence[RowPair],
    verb: str,
) -> str:
    words = [f"With {at} = {now:.6g} instead of {was:.6g} in step {step:,},"]
    cost = next((p for p in values if p.name == "C"), None)
    if cost is None or cost.was == cost.now:
        words.append("the cost of the batch stays as it was.")
    else:
        words.append(
            f"the cost of the batch is {cost.now:.6g} instead of {cost.was:.6g} ({cost.now - cost.was:+.3g})."
        )
    turned = [r for r in rows if r.read_was != r.read_now]
    if verb == ANSWERED:
        if turned:
            first = turned[0]
            words.append(f"The answer for row {first.row:,} is {first.read_now} instead of {first.read_was}.")
    elif turned:
        some = ", ".join(f"row {r.row:,} as {r.read_now} (was {r.read_was})" for r in turned[:3])
        more = f" and {len(turned) - 3} more" if len(turned) > 3 else ""
        words.append(f"{len(turned)} of its rows would be read otherwise: {some}{more}.")
    elif rows and rows[0].label:
        words.append("No row would be read otherwise.")
    return " ".join(words)
