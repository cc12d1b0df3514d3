"""What the numbers that an answer names stand for: columns of the data, rows of the batch, outputs.

A program knows its inputs as ``x[3,7]``: the place in the batch, and the place in the row. A person knows
them as the age of row 417. Answers are written in the program's notation; this puts the words beside it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from backpass.data.preparation import Preparation
from backpass.explain.answer import Answer, Ledger, Table
from backpass.ir.types import ArrayType
from backpass.ops import MatMul
from backpass.record.record import Record

_PLACE = re.compile(r"([^\W\d_]\w*)\[(\d+(?:,\d+)*)\]")

Kind = TypeVar("Kind", bound=Answer)
Entry = tuple[int, ...]


class Naming:
    """Names for the numbers of a run.

    Parameters
    ----------
    record : Record
    rows : sequence of int, optional
        The rows of the visited step's batch, as the data set numbers them.

    Examples
    --------
    >>> import backpass as bp
    >>> run = bp.train(None, "iris", epochs=1, executor="reference")
    >>> naming = Naming(run.record, run.at(1).rows)
    >>> naming.column(2), naming.output(0), naming.column(7)
    ('petal_length_cm', 'setosa', '')
    """

    def __init__(self, record: Record, rows: Sequence[int] | NDArray[np.int64] = ()) -> None:
        self.record, self.rows = record, rows

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        data, type_ = self.record.settings.data, self.record.step["x"].array_type
        width = int(type_.shape[1]) if len(type_.shape) == 2 else 0
        names = Preparation.from_description(data.preparation).columns
        made_up = names == tuple(f"x{k}" for k in range(width))
        if len(names) == width and not made_up:
            return tuple(map(str, names))
        shape = data.image_shape
        if shape and int(np.prod(shape)) == width:
            places = (np.unravel_index(k, tuple(shape)) for k in range(width))
            return tuple(f"pixel ({', '.join(str(int(i)) for i in place)})" for place in places)
        return ()

    @cached_property
    def _outputs(self) -> tuple[str, ...]:
        data, width = self.record.settings.data, int(self.record.step["t"].array_type.shape[1])
        found = data.classes or Preparation.from_description(data.preparation).target_names
        return tuple(map(str, found)) if len(found) == width else ()

    @cached_property
    def _last(self) -> set[str]:
        """The values with an entry for each output; and the parameters that lead to them."""
        found = {"t", self.record.prediction}
        last = next((z for z in reversed(self.record.network.deltas) if z in self.record.step.named), "")
        number = last.lstrip("z")
        return found | {
            f"{kind}{number}" for kind in ("z", "δ", "a", "W", "b", "dW", "db") if number.isdecimal()
        }

    @cached_property
    def _first(self) -> set[str]:
        """The parameters that a column of the data is multiplied by."""
        x = self.record.step["x"]
        found = {
            str(node.inputs[1].name)
            for node in self.record.step.nodes
            if isinstance(node.op, MatMul) and node.inputs[0] is x and node.inputs[1].op.feeds
        }
        return found | {f"d{name}" for name in found} | {f"{name}_new" for name in found}

    def column(self, k: int) -> str:
        """What enters the network at this place of a row; "" where it has no name."""
        return self._columns[k] if k < len(self._columns) else ""

    def output(self, k: int) -> str:
        """The class or quantity of an output; "" where it has no name."""
        return self._outputs[k] if k < len(self._outputs) else ""

    def row(self, b: int) -> str:
        """The row of the data set at a place in the batch."""
        return f"row {int(self.rows[b]):,}" if b < len(self.rows) else ""

    def place(self, name: str, entry: Entry) -> tuple[str, ...]:
        """What an entry of a value stands for: its column, its output, its row, as far as they have names."""
        node = self.record.step.named.get(name)
        batched = node is not None and isinstance(node.type, ArrayType) and node.shape[:1] == ("B",)
        words = []
        if len(entry) > 1 and name == "x":
            words.append(self.column(entry[1]))
        elif len(entry) > 1 and name in self._first:
            words.append(self.column(entry[0]))
        if entry and (len(entry) > 1 or not batched) and name in self._last:
            called = self.output(entry[-1])
            words.append(f"output {called}" if called else "")
        if batched and entry:
            words.append(self.row(entry[0]))
        return tuple(word for word in words if word)

    def target(self, target: str) -> str:
        """A sentence on the number that was asked for; "" where there is nothing to say."""
        match = _PLACE.match(target)
        if match is None:
            return ""
        name, entry = match[1], _entry(match[2])
        if name not in self.record.step.inputs_of_kind("parameter"):
            words = self.place(name, entry)
            if not words:
                return ""
            return (
                f"{match[0]} is {' of '.join(words)}."
                if name == "x"
                else (f"{match[0]} belongs to {', '.join(words)}.")
            )
        source = self.column(entry[0]) if len(entry) == 2 and name in self._first else ""
        last = self.output(entry[-1]) if name in self._last else ""
        ends = [f"is the weight of the input {source}"] if source else []
        ends += [f"leads to the output {last}"] if last else []
        return f"{match[0]} {' and '.join(ends)}." if ends else ""

    def named(self, answer: Kind) -> Kind:
        """The answer with the names of what its ledgers add up, and of the inputs in its tables.

        What all parts of a ledger have in common, such as the row of ``z1[3,7]``, is not told with each.
        """
        found: dict[str, str] = {}
        for block in answer.blocks():
            if isinstance(block, Ledger):
                parts = {e.name: self._parts(e.name) for e in block.entries if not e.note}
                told = [set(words) for words in parts.values() if words]
                common = set.intersection(*told) if len(told) > 1 else set()
                left = {name: [w for w in words if w not in common] for name, words in parts.items()}
                found |= {name: ", ".join(words) for name, words in left.items() if words}
            elif isinstance(block, Table):
                cells = {str(cell) for row in block.rows[: block.shown] for cell in row}
                inputs = {cell: self._parts(cell) for cell in cells if cell.startswith("x[")}
                found |= {cell: " of ".join(words) for cell, words in inputs.items() if words}
        return dataclasses.replace(answer, names=found, meaning=self.target(answer.target))

    def _parts(self, text: str) -> list[str]:
        """What the numbers in a text stand for, each once."""
        every = [self.place(name, _entry(inside)) for name, inside in _PLACE.findall(text)]
        return list(dict.fromkeys(words for place in every for words in place))


def _entry(inside: str) -> Entry:
    return tuple(map(int, inside.split(",")))
