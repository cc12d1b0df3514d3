"""``whatif --input``: the same prediction with a column of its row changed, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.data.table import Table as Rows
from backpass.errors import UsageError, nearest
from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.explain.answer import Answer, Block, Note, Table
from backpass.explain.examples import quantity
from backpass.explain.whatif import Pair
from backpass.ir import Graph


def with_columns(row: Any, changes: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, dict[str, str]]:
    """A raw row with some of its columns set.

    Parameters
    ----------
    row : backpass.data.Table of one row, or ndarray of shape (1, d)
    changes : mapping of str to str or float
        By the name of the column; of an array without names, by its number.
    names : sequence of str
        The columns of the array; may be empty.

    Returns
    -------
    row : Table or ndarray
    told : dict of str to str
        What was set, in words: "52 (was 39)".

    Raises
    ------
    UsageError
        There is no such column, or it holds numbers and is to be set to something else.
    """
    told = {}
    if isinstance(row, Rows):
        columns: dict[str, Any] = {name: row[name] for name in row.names}
        for name, value in changes.items():
            if name not in columns:
                raise UsageError(f"there is no column {name!r}. {nearest(name, columns)}")
            new: Any = _number(name, value) if row.kinds[name] == "number" else str(value)
            if row.kinds[name] == "bool":
                new = str(value).strip().lower() in ("1", "true", "yes", "t", "y")
            told[name] = f"{_written(new)} (was {_written(columns[name][0])})"
            columns[name] = [new]
        return Rows.from_columns(columns, what="the row"), told
    array = np.array(row, dtype=np.float64)
    known = {name: k for k, name in enumerate(names)} or {str(k): k for k in range(array.shape[1])}
    for name, value in changes.items():
        key = name if name in known else name.removeprefix("x[").removesuffix("]")
        if key not in known and key.isdecimal() and int(key) < array.shape[1]:
            known[key] = int(key)
        if key not in known:
            raise UsageError(f"there is no column {name!r}. {nearest(name, known)}")
        place = known[key]
        told[name] = f"{_number(name, value):g} (was {array[0, place]:g})"
        array[0, place] = _number(name, value)
    return array, told


def _written(value: Any) -> str:
    """A cell as the data have it: whole numbers without a point, and a hole as such."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "not known"
    return f"{value:.10g}" if isinstance(value, (float, np.floating)) else str(value)


def _number(name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not np.isfinite(found):
        raise UsageError(f"column {name!r} holds numbers; it cannot be set to {value!r}")
    return found


@dataclass(frozen=True, kw_only=True)
class WhatIfInput(Answer):
    """A prediction with and without a change of its input.

    Attributes
    ----------
    changes : dict of str to str
        What was set: the column and its value, as it was and as it is.
    outputs : tuple of Pair
        Each output of the network.
    inputs : tuple of Pair
        The columns that enter the network and changed.
    units : tuple of Pair
        The values of the forward program that changed the most.
    """

    changes: Mapping[str, str]
    outputs: tuple[Pair, ...]
    inputs: tuple[Pair, ...]
    units: tuple[Pair, ...]

    def blocks(self) -> list[Block]:
        tables = (
            ("what the network answers", "output", self.outputs),
            ("what enters the network", "input", self.inputs),
            ("the units that change the most", "unit", self.units),
        )
        found: list[Block] = [
            Table(
                title,
                (head, "as it was", "with the change", "difference"),
                tuple((p.name, p.was, p.now, p.now - p.was) for p in pairs),
                shown=12,
            )
            for title, head, pairs in tables
            if pairs
        ]
        return found or [Note("Nothing changes: the network does not look at what was set.")]


def whatif_input(
    program: Graph,
    values: Mapping[str, Array],
    prediction: str,
    before: Array,
    after: Array,
    *,
    what: str,
    changes: Mapping[str, str],
    columns: Sequence[str],
    outputs: Sequence[str],
    classes: bool = False,
    units: Callable[[Array], Array] = np.asarray,
    step: int | None = None,
) -> WhatIfInput:
    """The same prediction with its input changed.

    Parameters
    ----------
    program : Graph
        The program of prediction.
    values : mapping of str to array
        The weights.
    prediction : str
        Its name in the program.
    before, after : ndarray, shape (1, d)
        The prepared row as it is, and with the change.
    what : str
        Which row it is.
    changes : mapping of str to str
        For the words.
    columns, outputs : sequence of str
        The names of the columns that enter the network and of its outputs; may be empty.
    classes : bool
        Whether the largest output is the answer.
    units : callable
        What the network gives to the units of the data.
    step : int, optional
        Of which step the weights are; the run's result if left out.
    """
    part = program.part([prediction])
    function = ReferenceFunction(part)
    was, now = (
        function.values({name: x if name == "x" else values[name] for name in part.inputs})
        for x in (before, after)
    )
    node = part.outputs[prediction]
    names = list(outputs) if len(outputs) == was[node].shape[1] else [
        f"{prediction}[{k}]" for k in range(was[node].shape[1])
    ]  # fmt: skip
    gave = [units(np.asarray(values[node]))[0] for values in (was, now)]
    if classes and len(outputs) == 2 and len(names) == 1:  # one unit gives the probability of the second
        names, gave = list(outputs), [np.array([1 - p[0], p[0]]) for p in gave]
    answers = [Pair(n, float(a), float(b)) for n, a, b in zip(names, *gave, strict=True)]
    known = list(columns) if len(columns) == before.shape[1] else [f"x[{k}]" for k in range(before.shape[1])]
    inputs = [
        Pair(n, float(a), float(b)) for n, a, b in zip(known, before[0], after[0], strict=True) if a != b
    ]
    moved = []
    for name, value in part.named.items():
        if value.shape[:1] == ("B",) and len(value.shape) == 2 and name not in ("x", prediction):
            moved += [
                Pair(f"{name}[{k}]", float(a), float(b))
                for k, (a, b) in enumerate(zip(was[value][0], now[value][0], strict=True))
                if a != b
            ]
    moved.sort(key=lambda p: -abs(p.now - p.was))
    set_to = ", ".join(f"{name} = {value}" for name, value in changes.items())
    return WhatIfInput(
        question="whatif",
        target=f"{what}, {set_to}",
        step=step,
        claim=f"With {set_to} in {what}, {_said(answers, classes)}.",
        evidence=(prediction,),
        changes=dict(changes),
        outputs=tuple(answers),
        inputs=tuple(inputs),
        units=tuple(moved),
    )


def _said(answers: Sequence[Pair], classes: bool) -> str:
    """What the network answers, in words."""
    if not classes:
        moved = sorted((p for p in answers if p.now != p.was), key=lambda p: -abs(p.now - p.was))[:3]
        return (
            ", ".join(f"{p.name} is {quantity(p.now)} instead of {quantity(p.was)}" for p in moved)
            or "the answer stays as it was"
        )
    first, second = (max(answers, key=lambda p: getattr(p, w)) for w in ("was", "now"))
    if first.name == second.name:
        return f"it is still read as {second.name} ({first.was:.3g} before, {second.now:.3g} now)"
    return f"it is read as {second.name} ({second.now:.3g}) instead of {first.name} ({first.was:.3g})"
