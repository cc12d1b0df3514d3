"""Sums, extremes and other values of many entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.errors import NotLowered
from backpass.exec.compiled.groups import loops
from backpass.exec.compiled.source import flat, variable
from backpass.ir import ArrayType, Node
from backpass.ir.types import size_of

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering

_FEW = 8  # columns; a sum over fewer of them runs along one row after another


class _Axes:
    """The axes of a reduction, and the source of the places that it reads and writes."""

    def __init__(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        op: Any = node.op
        axis = op.axis if isinstance(op.axis, tuple) else (op.axis,)
        rank = len(x.shape)
        self.gone = axis or tuple(range(rank))
        self.kept = tuple(k for k in range(rank) if k not in self.gone)
        self.index = tuple(f"i{k}" for k in range(rank))
        self.outer = [x.shape[k] for k in self.kept], [self.index[k] for k in self.kept]
        self.inner = [x.shape[k] for k in self.gone], [self.index[k] for k in self.gone]
        self.count = variable(size_of(x.shape[k] for k in self.gone))

    def here(self, node: Node, target: str) -> str:
        """The entry of the result that belongs to the kept indices."""
        return (
            f"{target}[{flat(node.shape, tuple(self.index[k] for k in self.kept))}]" if node.shape else target
        )


def _inside(low: Lowering, shape: list[Any], index: list[str], body: list[str]) -> list[str]:
    """Loops as lines, to be put inside other loops."""
    return loops(shape, index, body, low.group)


def total(low: Lowering, node: Node) -> None:
    """Sum and Mean.

    A sum that ends in one row is held in a register; one over leading axes runs row by row, so that all
    columns are added at once; one over everything does the latter first.
    """
    (x,) = node.inputs
    mean = node.op.name == "mean"
    if x.dtype == "bool" or (mean and x.dtype == "i64"):
        raise NotLowered(f"{node.op.name} of {x.dtype}")
    axes, name = _Axes(low, node), low.names[node]
    if axes.kept and (axes.kept[0] == 0 or len(axes.kept) == 1):
        low.split(x.shape[axes.kept[0]], axes.index[axes.kept[0]])
    lines, entry = low.entry(x, axes.index)
    zero = low.literal(0.0, x.dtype)
    target = low.new_target(node)
    here = axes.here(node, target)
    rank, last = len(x.shape), x.shape[-1] if x.shape else 1
    wide = isinstance(last, str) or last >= _FEW
    if rank > 1 and not axes.kept and wide:
        columns = low.scratch(f"{name}c", ArrayType((last,), x.dtype))
        low.out.extend([f"for i in range({variable(last)}):", f"    {columns}[i] = {zero}"])
        low.loops(x.shape, axes.index, [*lines, f"{columns}[{axes.index[-1]}] += {entry}"])
        low.out.extend(
            [
                f"{target} = {zero}",
                f"for i in range({variable(last)}):",
                f"    {target} += {columns}[i]",
            ]
        )
    elif not axes.kept or axes.gone == tuple(range(len(axes.kept), rank)):
        part = f"{name}p"
        body = [
            f"{part} = {zero}",
            *_inside(low, *axes.inner, [*lines, f"{part} += {entry}"]),
            f"{here} = {part}",
        ]
        low.loops(*axes.outer, body)
    else:
        low.loops(*axes.outer, [f"{here} = {zero}"])
        low.loops(x.shape, axes.index, [*lines, f"{here} += {entry}"])
    if mean:
        if node.shape:
            low.loops(*axes.outer, [f"{here} = {here} / real({axes.count})"])
        else:
            low.out.append(f"{target} = {target} / real({axes.count})")


def extreme(low: Lowering, node: Node) -> None:
    """Max and Min: not a number where any entry is not."""
    (x,) = node.inputs
    largest = node.op.name == "max"
    if x.dtype == "bool":
        raise NotLowered(f"{node.op.name} of bool")
    axes, best = _Axes(low, node), f"{low.names[node]}p"
    lines, entry = low.entry(x, axes.index)
    bottom = -np.inf if largest else np.inf
    if x.dtype == "i64":
        start = f"int64({np.iinfo(np.int64).min if largest else np.iinfo(np.int64).max})"
        test = f"e_{best} {'>' if largest else '<'} {best}"
    else:
        start = low.constant(bottom)
        test = f"e_{best} {'>' if largest else '<'} {best} or e_{best} != e_{best}"
    here = axes.here(node, low.new_target(node))
    step = [*lines, f"e_{best} = {entry}", f"{best} = e_{best} if {test} else {best}"]
    low.loops(*axes.outer, [f"{best} = {start}", *_inside(low, *axes.inner, step), f"{here} = {best}"])


def prod(low: Lowering, node: Node) -> None:
    (x,) = node.inputs
    if x.dtype == "bool":
        raise NotLowered("prod of bool")
    axes, part = _Axes(low, node), f"{low.names[node]}p"
    lines, entry = low.entry(x, axes.index)
    here = axes.here(node, low.new_target(node))
    body = [*lines, f"{part} *= {entry}"]
    one = low.literal(1.0, x.dtype)
    low.loops(*axes.outer, [f"{part} = {one}", *_inside(low, *axes.inner, body), f"{here} = {part}"])


def logsumexp(low: Lowering, node: Node) -> None:
    """ln Σ exp x, shifted by the largest entry where that is a finite number."""
    (x,) = node.inputs
    axes, name = _Axes(low, node), low.names[node]
    z = low.stored(x)
    zero, part, top = low.constant(0.0), f"{name}p", f"{name}m"
    entry = f"{z}[{flat(x.shape, axes.index)}]" if x.shape else z
    here = axes.here(node, low.new_target(node))
    low.loops(
        *axes.outer,
        [
            f"{top} = {low.constant(-np.inf)}",
            *_inside(low, *axes.inner, [f"{top} = {entry} if {entry} > {top} else {top}"]),
            f"{top} = {top} if {top} - {top} == {zero} else {zero}",
            f"{part} = {zero}",
            *_inside(low, *axes.inner, [f"{part} += exp({entry} - {top})"]),
            f"{here} = {top} + log({part})",
        ],
    )


def argmax(low: Lowering, node: Node) -> None:
    """The first place of the largest entry, or of the first that is not a number."""
    (x,) = node.inputs
    op: Any = node.op
    axis = op.axis % len(x.shape)
    axes, name = _Axes(low, node), low.names[node]
    z = low.stored(x)
    best, top = f"{name}p", f"{name}m"
    entry = f"{z}[{flat(x.shape, axes.index)}]"
    first = f"{z}[{flat(x.shape, tuple('0' if k == axis else i for k, i in enumerate(axes.index)))}]"
    here = axes.here(node, low.new_target(node))
    step = [
        f"if {entry} > {top} or ({entry} != {entry} and {top} == {top}):",
        f"    {best}, {top} = {axes.index[axis]}, {entry}",
    ]
    low.loops(
        *axes.outer, [f"{best}, {top} = 0, {first}", *_inside(low, *axes.inner, step), f"{here} = {best}"]
    )


def cumsum(low: Lowering, node: Node) -> None:
    """Each entry is the sum of those before it along one axis, and itself; or of those after it."""
    (x,) = node.inputs
    op: Any = node.op
    axis, n = op.axis, variable(x.shape[op.axis])
    index = tuple(f"i{k}" for k in range(len(x.shape)))

    def place(i: str) -> tuple[str, ...]:
        along = f"({n} - 1 - {i})" if op.reverse else i
        return (*index[:axis], along, *index[axis + 1 :])

    here, before = place(index[axis]), place(f"({index[axis]} - 1)")
    lines, entry = low.entry(x, here)
    target = low.new_buffer(node)
    result = f"{target}[{flat(node.shape, here)}]"
    add = f"    {result} += {target}[{flat(node.shape, before)}]"
    low.loops(x.shape, index, [*lines, f"{result} = {entry}", f"if {index[axis]} > 0:", add])
