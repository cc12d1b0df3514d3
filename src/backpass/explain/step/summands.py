"""The terms that an entry of a program is a sum of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.explain.step.entries import SUMS, Entries
from backpass.ir import Elementwise, Node
from backpass.ir.op import Precedence
from backpass.ops import (
    Add,
    Concatenate,
    Divide,
    Einsum,
    MatMul,
    Mean,
    Multiply,
    Negate,
    Pad,
    ScatterAdd,
    Stack,
    Subtract,
    Sum,
)

_MOST = 2000  # terms of one sum that get a name each


@dataclass(frozen=True)
class Term:
    """A part of a sum: how it is written, and its value."""

    text: str
    value: float
    negative: bool = False

    @property
    def name(self) -> str:
        return f"-{self.text}" if self.negative else self.text


class Summands:
    """The terms of the entries of a visited step."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self._sums: dict[Node, bool] = {}

    def sums(self, node: Node, root: bool = True) -> bool:
        """Whether what a value is calculated from, down to values with names, has a sum in it."""
        if not root and self.entries.stops(node):
            return False
        if node not in self._sums:
            inner = (
                isinstance(node.op, Elementwise)
                or node.op.view
                or isinstance(node.op, (Concatenate, Stack, Pad))
            )
            self._sums[node] = isinstance(node.op, SUMS) or (
                inner and any(self.sums(x, root=False) for x in node.inputs)
            )
        return self._sums[node]

    def terms(self, node: Node, entry: tuple[int, ...], root: bool = True) -> list[Term]:
        """The terms that an entry is a sum of; itself, where it is none."""
        op, x = node.op, node.inputs
        if not root and self.entries.stops(node):
            return [self._atom(node, entry)]
        before = self.entries.source(node, entry)
        if before is not None:
            return self.terms(before[0], before[1], root=False)  # type: ignore[arg-type]
        if isinstance(op, (Add, Subtract)):
            second = self.terms(x[1], entry, root=False)
            if isinstance(op, Subtract):
                second = [Term(t.text, -t.value, not t.negative) for t in second]
            return self.terms(x[0], entry, root=False) + second
        if isinstance(op, Negate):
            return [Term(t.text, -t.value, not t.negative) for t in self.terms(x[0], entry, root=False)]
        if isinstance(op, SUMS):
            return self._of_sum(node, entry)
        if isinstance(op, (Multiply, Divide)) and self.sums(x[0], False) != self.sums(x[1], False):
            inner = 0 if self.sums(x[0], False) else 1
            if inner == 0 or isinstance(op, Multiply):
                return self._scaled(node, entry, inner)
        return [self._atom(node, entry, root)]

    def _atom(self, node: Node, entry: tuple[int, ...], root: bool = False) -> Term:
        text, binding = self.entries.written(node, entry, root=root)
        return Term(f"({text})" if binding < Precedence.PRODUCT else text, self.entries.value(node, entry))

    def _scaled(self, node: Node, entry: tuple[int, ...], inner: int) -> list[Term]:
        """The terms of one operand, each times the other, or divided by it."""
        divides = isinstance(node.op, Divide)
        other = node.inputs[1 - inner]
        factor = self.entries.value(other, entry)
        binding = Precedence.PRODUCT + (divides or inner == 0)
        text = self.entries.bound(other, entry, binding, False)
        found = []
        for t in self.terms(node.inputs[inner], entry, root=False):
            written = (
                f"{t.text} / {text}"
                if divides
                else f"{t.text} * {text}"
                if inner == 0
                else f"{text} * {t.text}"
            )
            value = t.value / factor if divides and factor else t.value * factor
            found.append(Term(written, value, t.negative))
        return found

    def _of_sum(self, node: Node, entry: tuple[int, ...]) -> list[Term]:
        """The terms of a sum: the largest with a name each, where there are very many."""
        parts = self._parts(node, entry)
        values = np.prod(
            [self.entries.array(x)[index].astype(np.float64).ravel() for x, index in parts], axis=0
        )
        scale = 1.0
        if isinstance(node.op, Mean):
            scale = 1.0 / len(values)
        ways = [list(_places(index, self.entries.array(x).shape)) for x, index in parts]
        chosen = range(len(values))
        if len(values) > _MOST:
            chosen = np.sort(np.argsort(-np.abs(values), kind="stable")[:_MOST])  # type: ignore[assignment]
        found = []
        for k in chosen:
            places = [(x, way[k]) for (x, _), way in zip(parts, ways, strict=True)]
            factors = [
                self.entries.bound(x, at, Precedence.PRODUCT + (len(parts) > 1), False) for x, at in places
            ]
            text = " * ".join(factors) + (f" / {len(values)}" if isinstance(node.op, Mean) else "")
            found.append(Term(text, float(values[k]) * scale))
        if len(values) > _MOST:
            left = float(np.sum(values) - np.sum(values[chosen])) * scale
            found.append(Term(f"{len(values) - _MOST:,} smaller ones", left))
        return found

    def _parts(self, node: Node, entry: tuple[int, ...]) -> list[tuple[Node, Any]]:
        """The operands of a sum of products, and the entries of each that it runs over, in one order."""
        op, x = node.op, node.inputs
        if isinstance(op, MatMul):
            *lead, i, j = entry
            return [(x[0], (*lead, i, slice(None))), (x[1], (*lead, slice(None), j))]
        if isinstance(op, ScatterAdd):
            index = self.entries.array(x[1])
            hit = np.nonzero(index == entry[op.axis])
            before = [np.full(len(hit[0]), i) for i in entry[: op.axis]]
            after = [np.full(len(hit[0]), i) for i in entry[op.axis + 1 :]]
            return [(x[0], (*before, *hit, *after))]
        if isinstance(op, Einsum):
            operands, result = op.parts()
            known = dict(zip(result, entry, strict=True))
            sizes = {
                c: n
                for o, v in zip(operands, x, strict=True)
                for c, n in zip(o, self.entries.array(v).shape, strict=True)
            }
            over = [c for c in sizes if c not in known]
            grid = (
                np.indices([sizes[c] for c in over]).reshape(len(over), -1) if over else np.zeros((0, 1), int)
            )
            runs = dict(zip(over, grid, strict=True))
            count = grid.shape[1]
            return [
                (v, tuple(runs[c] if c in runs else np.full(count, known[c]) for c in o))
                for o, v in zip(operands, x, strict=True)
            ]
        assert isinstance(op, (Sum, Mean))
        gone, rest = op.gone(x[0].array_type), iter(entry)
        return [(x[0], tuple(slice(None) if a in gone else next(rest) for a in range(len(x[0].shape))))]


def _places(index: tuple[Any, ...], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Each entry that an index of numbers and whole axes, or of arrays, stands for, in NumPy's order."""
    if any(isinstance(i, np.ndarray) for i in index):
        yield from (tuple(int(i) for i in place) for place in zip(*index, strict=True))
        return
    axes = [range(n) if isinstance(i, slice) else (int(i),) for i, n in zip(index, shape, strict=True)]
    yield from itertools.product(*axes)
