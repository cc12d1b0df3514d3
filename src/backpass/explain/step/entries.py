"""Single entries of a program: where each comes from, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from backpass.explain.step.places import printed_names, written
from backpass.ir import Elementwise, Node
from backpass.ir.op import Precedence
from backpass.ir.types import TupleType
from backpass.ops import (
    Broadcast,
    Concatenate,
    Constant,
    Einsum,
    Gather,
    Identity,
    MatMul,
    Mean,
    Pad,
    Reshape,
    ScatterAdd,
    Size,
    Slice,
    Stack,
    Sum,
    Transpose,
)
from backpass.record.replay import Moment

Inner: TypeAlias = tuple[Node, tuple[int, ...]]
Index: TypeAlias = tuple[int | str, ...]  # a letter stands for each value of an index that is summed over

_LONGEST = 36  # characters of a value without a name of its own (v3) that are written in place of it
_SLOT = re.compile(r"\{(\d+)\}")
#: Ops that add up entries, or products of them.
SUMS = (Sum, Mean, MatMul, Einsum, ScatterAdd)
_PREFIX_OR_POSTFIX = (Precedence.UNARY, Precedence.POSTFIX, Precedence.ATOM)


class Entries:
    """The entries of all values of a visited step."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.printed = printed_names(moment.graph)
        named = {n for n in moment.graph.nodes if n.name is not None} | set(moment.graph.outputs.values())
        self.names = {n: name for n, name in self.printed.items() if n in named or n.op.feeds}
        self._stops: dict[Node, bool] = {}

    def stops(self, node: Node) -> bool:
        """Whether a value is written by its name: its own, or that of its line (v3) where it is long."""
        if node in self.names or isinstance(node.type, TupleType):
            return True
        if node not in self.printed:
            return False
        if node not in self._stops:
            self._stops[node] = False  # while it is written out
            first = (0,) * self.array(node).ndim
            self._stops[node] = len(self.written(node, first, root=True)[0]) > _LONGEST
        return self._stops[node]

    def array(self, node: Node) -> np.ndarray[Any, Any]:
        return np.asarray(self.moment.values[node])

    def number(self, node: Node, entry: Index) -> Any:
        """An entry with its dtype."""
        return self.array(node)[tuple(map(int, entry))]

    def value(self, node: Node, entry: Index) -> float:
        return float(self.number(node, entry))

    # ---- where an entry comes from

    def source(self, node: Node, entry: Index) -> tuple[Node, Index] | None:
        """The entry that this one is a copy of, where the op only moves entries; None where it does not.

        A letter among the indices is kept where the op leaves that axis as it is.
        """
        op, x = node.op, node.inputs
        if isinstance(op, Identity):
            return x[0], entry
        if isinstance(op, Broadcast):
            return x[0], tuple(entry[a] for a in op.axes)
        if isinstance(op, Transpose):
            return x[0], tuple(entry[op.axes.index(k)] for k in range(len(entry)))
        if isinstance(op, Slice) and all(
            isinstance(i, int) or not s for i, s in zip(entry, op.starts, strict=True)
        ):
            return x[0], tuple(
                i + s if isinstance(i, int) else i for i, s in zip(entry, op.starts, strict=True)
            )
        if any(isinstance(i, str) for i in entry):
            return None
        plain = tuple(int(i) for i in entry)
        if isinstance(op, Reshape):
            flat = np.ravel_multi_index(plain, self.array(node).shape) if plain else 0
            shape = self.array(x[0]).shape
            return x[0], tuple(int(i) for i in np.unravel_index(flat, shape)) if shape else ()
        if isinstance(op, Concatenate):
            at = plain[op.axis]
            for part in x:
                size = self.array(part).shape[op.axis]
                if at < size:
                    return part, (*plain[: op.axis], at, *plain[op.axis + 1 :])
                at -= size
        if isinstance(op, Stack):
            return x[plain[op.axis]], (*plain[: op.axis], *plain[op.axis + 1 :])
        if isinstance(op, Gather):
            index = self.array(x[1])
            row = int(index[plain[op.axis : op.axis + index.ndim]])
            return x[0], (*plain[: op.axis], row, *plain[op.axis + index.ndim :])
        if isinstance(op, Pad):
            inner = tuple(i - before for i, (before, _) in zip(plain, op.widths, strict=True))
            inside = all(0 <= i < n for i, n in zip(inner, self.array(x[0]).shape, strict=True))
            return (x[0], inner) if inside else None
        return None

    # ---- how an entry is written

    def written(
        self, node: Node, entry: Index, *, root: bool = False, numbers: bool = False
    ) -> tuple[str, int]:
        """An entry as the program would write it, and how tightly that binds.

        Parameters
        ----------
        root : bool
            Write what the value is calculated from, not its name.
        numbers : bool
            With the values in place of the names; a sum is one number.
        """
        op = node.op
        if isinstance(op, (Constant, Size)):
            return _number(self.value(node, ()))
        if not root and self.stops(node):
            if numbers:
                return _number(self.number(node, entry))
            return written(self.printed[node], entry), Precedence.ATOM
        before = self.source(node, entry)
        if before is not None:
            return self.written(*before, numbers=numbers)
        if isinstance(op, Elementwise):
            slots = [lambda b, x=x: self.bound(x, entry, b, numbers) for x in node.inputs]
            return _filled(op, slots)
        if numbers:
            return _number(self.number(node, entry))
        summed = self._summed(node, entry)
        if summed is not None:
            return summed, Precedence.COMPARE
        whole, binding = self._whole(node, root=True)
        if not entry:
            return whole, binding
        index = ",".join(map(str, entry))
        return (f"({whole})" if binding < Precedence.POSTFIX else whole) + f"[{index}]", Precedence.POSTFIX

    def bound(self, x: Node, entry: Index, binding: int, numbers: bool) -> str:
        """An entry as an operand, in parentheses where it needs them."""
        text, own = self.written(x, entry, numbers=numbers)
        return f"({text})" if own < binding else text

    def _whole(self, node: Node, root: bool = False) -> tuple[str, int]:
        """A whole array as the program writes it."""
        if node in self.printed and not root:
            return self.printed[node], Precedence.ATOM
        if isinstance(node.op, (Constant, Size)):
            return self.written(node, ())
        if isinstance(node.op, (Broadcast, Identity)):
            return self._whole(node.inputs[0])

        def slot(x: Node) -> Any:
            def fill(binding: int) -> str:
                text, own = self._whole(x)
                return f"({text})" if own < binding else text

            return fill

        return _filled(node.op, [slot(x) for x in node.inputs])

    def _summed(self, node: Node, entry: Index) -> str | None:
        """A sum with a letter for what it runs over: ``sum over k of x[12,k] * W1[k,7]``."""
        op, x = node.op, node.inputs
        taken = {i for i in entry if isinstance(i, str)}
        if isinstance(op, MatMul):
            letter = _letter(x[0].shape[-1], taken)
            i, j, lead = entry[-2], entry[-1], entry[:-2]
            parts = [(x[0], (*lead, i, letter)), (x[1], (*lead, letter, j))]
            return f"sum over {letter} of " + " * ".join(
                self.bound(n, e, Precedence.PRODUCT, False) for n, e in parts
            )
        if isinstance(op, (Sum, Mean)):
            letters: list[str] = []
            gone = op.gone(x[0].array_type)
            for axis in gone:
                letters.append(_letter(x[0].shape[axis], taken | set(letters)))
            rest, over = iter(entry), iter(letters)
            index = tuple(next(over) if a in gone else next(rest) for a in range(len(x[0].shape)))
            kind = "sum" if isinstance(op, Sum) else "mean"
            return f"{kind} over {','.join(letters)} of {self.bound(x[0], index, Precedence.PRODUCT, False)}"
        return None


def _number(value: Any) -> tuple[str, int]:
    """A number in an equation; one below 0 stands in parentheses beside an operator."""
    if isinstance(value, np.generic) and value.dtype.kind in "bi":
        value = int(value)
        return f"{value}", Precedence.ATOM if value >= 0 else Precedence.COMPARE
    text = f"{value:.4g}"
    return text, Precedence.COMPARE if text.startswith("-") else Precedence.ATOM


def _letter(dim: int | str, taken: set[str]) -> str:
    """The letter that an index over this dimension gets."""
    first = "b" if dim == "B" else "t" if dim == "T" else "k"
    free: list[str] = [c for c in (first, *"klmnpq") if c not in taken]
    return free[0]


def _filled(op: Any, slots: list[Any]) -> tuple[str, int]:
    """An op's notation with its operands written in, each a function of how tightly it must bind."""
    many = [f"{{{i}}}" for i in range(len(slots))]
    joined = ", ".join(many)
    template = op.source().replace("{*}", joined).replace("{(*)}", f"({joined})")
    written, last, depth = "", 0, 0
    for match in _SLOT.finditer(template):
        before = template[last : match.start()]
        depth += sum(before.count(c) for c in "([") - sum(before.count(c) for c in ")]")
        first = not written and not before
        binding = 0 if depth else op.precedence + (not first)
        if op.precedence in _PREFIX_OR_POSTFIX and not depth:
            binding = op.precedence
        if template[match.end() : match.end() + 1] in ("[", "."):
            binding = max(binding, Precedence.POSTFIX)
        written += before + slots[int(match[1])](binding)
        last = match.end()
    return written + template[last:], op.precedence


def mentioned(entries: Entries, node: Node, entry: Index) -> list[tuple[Node, tuple[int, ...]]]:
    """The named entries that one entry is calculated from, no whole arrays, in the order of the program."""
    found: dict[tuple[Node, tuple[int, ...]], None] = {}

    def visit(x: Node, at: Index, root: bool) -> None:
        if not root and entries.stops(x):
            found[x, tuple(int(i) for i in at)] = None
            return
        before = entries.source(x, at)
        if before is not None:
            visit(*before, False)
        elif isinstance(x.op, Elementwise):
            for y in x.inputs:
                visit(y, at, False)

    visit(node, entry, True)
    return list(found)


def inner(entries: Entries, node: Node, entry: Index, wanted: Callable[[Node], bool]) -> Inner | None:
    """The first entry that a number is calculated from in place, with a node that is wanted."""
    if wanted(node):
        return node, tuple(int(i) for i in entry)
    before = entries.source(node, entry)
    below = [before] if before is not None else [(x, entry) for x in node.inputs]
    if before is None and not isinstance(node.op, Elementwise):
        return None
    for x, at in below:
        found = None if entries.stops(x) else inner(entries, x, at, wanted)
        if found is not None:
            return found
    return None


def is_sum(node: Node) -> bool:
    """Whether an op adds up entries."""
    return isinstance(node.op, SUMS)


def is_opaque(node: Node) -> bool:
    """Whether no rule here takes an op apart: a softmax, a loop, an op of the user's own."""
    moves = (Identity, Broadcast, Transpose, Slice, Reshape, Concatenate, Stack, Gather, Pad, Constant, Size)
    return not (
        node.op.feeds or is_sum(node) or isinstance(node.op, (Elementwise, *moves)) or not node.inputs
    )
