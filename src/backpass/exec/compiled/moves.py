"""Ops that place entries: cutting and joining arrays, rows by their numbers, random numbers.

(A Slice is not stored: what reads it looks into the array itself. A Reshape is the same buffer.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backpass.exec.compiled.groups import loops
from backpass.exec.compiled.source import flat, variable
from backpass.ir import Node

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering


def _index(rank: int) -> tuple[str, ...]:
    return tuple(f"i{k}" for k in range(rank))


def pad(low: Lowering, node: Node) -> None:
    """Zeros around an array."""
    (x,) = node.inputs
    op: Any = node.op
    index = _index(len(x.shape))
    lines, entry = low.entry(x, index)
    target = low.new_target(node)
    low.fill(node, target, low.literal(0.0, node.dtype))
    moved = tuple(f"({i} + {before})" for i, (before, _) in zip(index, op.widths, strict=True))
    here = f"{target}[{flat(node.shape, moved)}]" if node.shape else target
    low.loops(x.shape, index, [*lines, f"{here} = {entry}"])


def concatenate(low: Lowering, node: Node) -> None:
    """Arrays one after another along an axis."""
    op: Any = node.op
    axis = op.axis % len(node.shape)
    index = _index(len(node.shape))
    entries = [low.entry(x, index) for x in node.inputs]
    target = low.new_buffer(node)
    start = "0"
    for x, (lines, entry) in zip(node.inputs, entries, strict=True):
        moved = tuple(f"({i} + {start})" if k == axis else i for k, i in enumerate(index))
        low.loops(x.shape, index, [*lines, f"{target}[{flat(node.shape, moved)}] = {entry}"])
        start = f"{start} + {variable(x.shape[axis])}"


def stack(low: Lowering, node: Node) -> None:
    """Arrays of one shape side by side along a new axis."""
    op: Any = node.op
    axis = op.axis % len(node.shape)
    index = _index(len(node.shape) - 1)
    entries = [low.entry(x, index) for x in node.inputs]
    target = low.new_buffer(node)
    for number, (x, (lines, entry)) in enumerate(zip(node.inputs, entries, strict=True)):
        place = (*index[:axis], str(number), *index[axis:])
        low.loops(x.shape, index, [*lines, f"{target}[{flat(node.shape, place)}] = {entry}"])


def _row(low: Lowering, index: str, size: str, name: str) -> list[str]:
    """The number of a row in `name`: from the end where it is negative, and nothing outside of the array."""
    return [
        f"{name} = {index}",
        f"if {name} < 0:",
        f"    {name} += {size}",
        f"if {name} < 0 or {name} >= {size}:",
        "    return -1",
    ]


def gather(low: Lowering, node: Node) -> None:
    """Rows by their numbers."""
    x, numbers = node.inputs
    op: Any = node.op
    axis, rank = op.axis, len(numbers.shape)
    index = _index(len(node.shape))
    source, name = low.stored(x), f"{low.names[node]}r"
    lines, number = low.entry(numbers, index[axis : axis + rank])
    target = low.new_target(node)
    here = f"{target}[{flat(node.shape, index)}]" if node.shape else target
    place = (*index[:axis], name, *index[axis + rank :])
    inner: list[str] = [f"{here} = {source}[{flat(x.shape, place)}]"]
    _by_number(
        low,
        node.shape,
        index,
        axis + rank,
        [*lines, *_row(low, number, variable(x.shape[axis]), name)],
        inner,
    )


def scatter_add(low: Lowering, node: Node) -> None:
    """Add rows to an array of zeros, each to the row of its number."""
    values, numbers = node.inputs
    op: Any = node.op
    axis, rank = op.axis, len(numbers.shape)
    index, name = _index(len(values.shape)), f"{low.names[node]}r"
    lines, number = low.entry(numbers, index[axis : axis + rank])
    before, entry = low.entry(values, index)
    target = low.new_target(node)
    low.fill(node, target, low.literal(0.0, node.dtype))
    place = (*index[:axis], name, *index[axis + rank :])
    inner = [*before, f"{target}[{flat(node.shape, place)}] += {entry}"]
    size = variable(node.shape[axis])
    _by_number(low, values.shape, index, axis + rank, [*lines, *_row(low, number, size, name)], inner)


def _by_number(
    low: Lowering, shape: Any, index: tuple[str, ...], cut: int, row: list[str], inner: list[str]
) -> None:
    """Loops over the indices up to `cut`, then finding the row, then the other indices."""
    lines = loops(shape[cut:], index[cut:], inner, low.group)
    low.loops(shape[:cut], index[:cut], [*row, *lines])
    low.can_split = False  # a thread that stops for a wrong number would leave the others waiting


def uniform(low: Lowering, node: Node) -> None:
    """Random numbers, each from the counter and its own number in row-major order."""
    op: Any = node.op
    start, step = f"{low.names[node]}a", f"{low.names[node]}b"
    if node.shape and isinstance(node.shape[0], str):
        low.split(node.shape[0], "i0")
    lines, counter = low.entry(node.inputs[0], ())
    low.out.extend(
        [*lines, f"{start} = uniform_start({counter}, {op.key})", f"{step} = uniform_step({start})"]
    )
    target = low.new_target(node)
    if not node.shape:
        low.out.append(f"{target} = real(uniform_entry({start}, {step}, 0))")
        return
    index = _index(len(node.shape))
    place = flat(node.shape, index)
    low.loops(node.shape, index, [f"{target}[{place}] = real(uniform_entry({start}, {step}, {place}))"])
