"""Places: one number of a step, as people write it: ``W2[3,1]``, ``δ1[12,7]``, ``C``."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from backpass.errors import UsageError, nearest
from backpass.ir import Graph, Node
from backpass.ir.node import normalised
from backpass.ir.text import ascii_name, lines
from backpass.ir.types import ArrayType
from backpass.record.replay import Moment

_TARGET = re.compile(r"\s*(\w+)\s*(?:\[(.*)\])?\s*")
_ROW = re.compile(r"row\s+([\d,_]*\d)")


@dataclass(frozen=True)
class Place:
    """One entry of a value of a step.

    Attributes
    ----------
    name : str
        Of the value, as the program prints it.
    node : Node
    entry : tuple of int
        The first one is the place in the batch, where the value has one for each example.
    """

    name: str
    node: Node
    entry: tuple[int, ...]

    def __str__(self) -> str:
        return written(self.name, self.entry)


def written(name: str, entry: tuple[int | str, ...]) -> str:
    """A place as it is written.

    Examples
    --------
    >>> written("a1", (12, 7)), written("C", ())
    ('a1[12,7]', 'C')
    """
    return f"{name}[{','.join(map(str, entry))}]" if entry else name


def place(moment: Moment, target: str) -> Place:
    """The number of a visited step that a person names.

    Parameters
    ----------
    moment : Moment
    target : str
        A name that the printed program has, and an index: ``a1[12,7]``. Greek letters may be spelled as the
        program does in ASCII (``delta_1[12,7]``, also ``delta1``). The first index of a value that each
        example has is the place in the batch, or the row's number in the data set: ``a1[row 417,7]``.

    Raises
    ------
    UsageError
        There is no such name (the nearest is offered), index (the range is told) or row in the batch.
    """
    match = _TARGET.fullmatch(target)
    if not match:
        raise UsageError(f"a number of a step is written like a1[12,7], W1[5,2] or C, got {target!r}")
    name, node = named_value(moment.graph, match[1])
    shape = np.shape(moment.values[node])
    asked = [part.strip() for part in match[2].split(",")] if match[2] and match[2].strip() else []
    batched = isinstance(node.type, ArrayType) and node.shape[:1] == ("B",)
    entry = []
    for axis, part in enumerate(asked):
        if part.isdecimal():
            entry.append(int(part))
        elif axis == 0 and batched and (row := _ROW.fullmatch(part)):
            entry.append(position(moment, int(row[1].replace("_", ""))))
        else:
            hint = ", or as 'row 417' for a row of the data set" if axis == 0 and batched else ""
            raise UsageError(f"{part!r} in {target} is no index: write a whole number from 0 on{hint}")
    if len(entry) != len(shape) or any(i >= n for i, n in zip(entry, shape, strict=False)):
        raise UsageError(f"{target} does not exist: {_range(name, shape, batched)}")
    return Place(name, node, tuple(entry))


def _range(name: str, shape: tuple[int, ...], batched: bool) -> str:
    if not shape:
        return f"{name} is a single number, so it is written without an index"
    first, last = (written(name, tuple(index)) for index in ([0] * len(shape), [n - 1 for n in shape]))
    what = "; the first index is the place in the batch" if batched else ""
    return f"{name} has entries from {first} to {last}{what}"


def position(moment: Moment, row: int) -> int:
    """The place in the batch of a row, as it is numbered in the data set."""
    found = np.flatnonzero(moment.rows == row)
    if not len(found):
        rows = ", ".join(f"{r}" for r in moment.rows[:12])
        more = f" and {len(moment.rows) - 12} more" if len(moment.rows) > 12 else ""
        raise UsageError(f"row {row} is not in the batch of step {moment.step}; its rows are {rows}{more}")
    return int(found[0])


def printed_names(graph: Graph) -> dict[Node, str]:
    """What each value is called where the program is printed; values that are written in place are left out.

    Examples
    --------
    >>> from backpass.ops import data
    >>> list(printed_names(Graph({"y": data("x", "f64[B]") * 2})).values())
    ['x', 'y']
    """
    found: dict[Node, str] = graph.__dict__.setdefault("_printed_names", {})  # a Graph does not change
    if not found:
        found |= {node: name for name, node in graph.inputs.items()}
        for line in lines(graph):
            found.setdefault(line.node, line.name)
    return found


def named_value(graph: Graph, spelled: str) -> tuple[str, Node]:
    """A value by the name that it has in print, in either spelling.

    Examples
    --------
    >>> from backpass.ops import data
    >>> named_value(Graph({"δ1": data("x", "f64[B]") * 2}), "delta_1")[0]
    'δ1'
    """
    every = {**{name: n for n, name in printed_names(graph).items()}, **graph.named}
    known = {name: n for name, n in every.items() if isinstance(n.type, ArrayType)}
    try:
        plain = normalised(spelled)
    except ValueError:
        plain = spelled
    if plain in known:
        return plain, known[plain]
    for name, node in known.items():
        if plain in (ascii_name(name), ascii_name(name).replace("_", "", 1)) and not name.isascii():
            return name, node
    raise UsageError(f"there is no value {spelled!r} in this step. {nearest(spelled, known)}")
