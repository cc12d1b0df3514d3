"""The ops that have a lowering of their own. Each is tested against the op's forward rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backpass.errors import NotLowered
from backpass.exec.compiled.source import flat, variable
from backpass.ir import Node, Op
from backpass.ir.types import size_of
from backpass.ops import (
    MatMul,
    Mean,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Sum,
)

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering


def _matmul(low: Lowering, node: Node) -> None:
    a, b = node.inputs
    low.operand(a), low.operand(b)
    target = low.new_buffer(node)
    low.product(target, node, low.constant(1.0), low.constant(0.0))
    low.result.place[node] = target


def _reduce(low: Lowering, node: Node) -> None:
    (x,) = node.inputs
    op = node.op
    assert isinstance(op, (Sum, Mean))
    axes = op.axis or tuple(range(len(x.shape)))
    index = tuple(f"i{k}" for k in range(len(x.shape)))
    kept = tuple(k for k in range(len(x.shape)) if k not in axes)
    entry = low.value(x, index)
    name = low.names[node]
    count = variable(size_of(x.shape[a] for a in axes))
    if not kept:
        low.out.append(f"{name} = {low.constant(0.0)}")
        low.loops(x.shape, index, [f"{name} += {entry}"])
        if isinstance(op, Mean):
            low.out.append(f"{name} = {name} / real({count})")
        low.result.place[node] = name
        return
    target = low.new_buffer(node)
    place = f"{target}[{flat(node.shape, tuple(index[k] for k in kept))}]"
    entries = variable(size_of(node.shape))
    low.out += [f"for i in range({entries}):", f"    {target}[i] = {low.constant(0.0)}"]
    low.loops(x.shape, index, [f"{place} += {entry}"])
    if isinstance(op, Mean):
        low.out += [f"for i in range({entries}):", f"    {target}[i] = {target}[i] / real({count})"]
    low.result.place[node] = target


def _rows(x: Node) -> tuple[str, str]:
    """How many rows along the last axis, and how long they are."""
    return variable(size_of(x.shape[:-1])), variable(x.shape[-1])


def _row_max_shift(low: Lowering, z: str, e: str, n: str) -> list[str]:
    """Inside a loop over rows i: ``top``, and e[i] = exp(z[i] − top)."""
    return [
        f"top = {z}[i*{n}]",
        f"for j in range(1, {n}):",
        f"    top = {z}[i*{n} + j] if {z}[i*{n} + j] > top else top",
        f"for j in range({n}):",
        f"    {e}[i*{n} + j] = exp({z}[i*{n} + j] - top)",
        f"total = {low.constant(0.0)}",
        f"for j in range({n}):",
        f"    total += {e}[i*{n} + j]",
    ]


def _softmax(low: Lowering, node: Node) -> None:
    (zn,) = node.inputs
    z, target = low.stored(zn), low.new_buffer(node)
    rows, n = _rows(zn)
    low.out.append(f"for i in range({rows}):")
    body = _row_max_shift(low, z, target, n)
    # The cross-entropy of the same scores comes from the same exponentials.
    for user in low.users[zn]:
        ready = isinstance(user.op, SoftmaxCrossEntropy) and user.inputs[1] in low.result.place and user.shape
        if ready and user not in low.done:
            loss, t = low.new_buffer(user), low.result.place[user.inputs[1]]
            body += _cross_entropy_of_row(low, z, t, loss, n)
            low.result.place[user] = loss
            low.done.add(user)
    body += [f"for j in range({n}):", f"    {target}[i*{n} + j] = {target}[i*{n} + j] / total"]
    low.out += ["    " + line for line in body]
    low.result.place[node] = target


def _cross_entropy_of_row(low: Lowering, z: str, t: str, loss: str, n: str) -> list[str]:
    return [
        "total_log = log(total)",
        f"c = {low.constant(0.0)}",
        f"for j in range({n}):",
        f"    c += {t}[i*{n} + j] * (total_log - ({z}[i*{n} + j] - top))",
        f"{loss}[i] = c",
    ]


def _softmax_cross_entropy(low: Lowering, node: Node) -> None:
    if node.shape == ():
        raise NotLowered(f"{node.op.name} of a single row")
    zn, tn = node.inputs
    z, t, target = low.stored(zn), low.stored(tn), low.new_buffer(node)
    rows, n = _rows(zn)
    scratch = f"{target}e"
    low.result.buffers[scratch] = zn.array_type
    body = _row_max_shift(low, z, scratch, n) + _cross_entropy_of_row(low, z, t, target, n)
    low.out.append(f"for i in range({rows}):")
    low.out += ["    " + line for line in body]
    low.result.place[node] = target


def _row_sum(low: Lowering, node: Node, term: Callable[[str, str], str], after: str = "c") -> None:
    if node.shape == ():
        raise NotLowered(f"{node.op.name} of a single row")
    an, tn = node.inputs
    a, t, target = low.stored(an), low.stored(tn), low.new_buffer(node)
    rows, n = _rows(an)
    low.out += [
        f"for i in range({rows}):",
        f"    c = {low.constant(0.0)}",
        f"    for j in range({n}):",
        f"        p = {a}[i*{n} + j]",
        f"        c += {term('p', f'{t}[i*{n} + j]')}",
        f"    {target}[i] = {after}",
    ]
    low.result.place[node] = target


def _sigmoid_cross_entropy(low: Lowering, node: Node) -> None:
    zero = low.constant(0.0)
    _row_sum(
        low, node, lambda z, t: f"(({zero} if {z} < {zero} else {z}) - {z} * {t} + log1p(exp(-abs({z}))))"
    )


def _squared_error(low: Lowering, node: Node) -> None:
    _row_sum(low, node, lambda a, t: f"({a} - {t}) * ({a} - {t})", after=f"{low.constant(0.5)} * c")


LOWERINGS: dict[type[Op], Callable[[Lowering, Node], None]] = {
    MatMul: _matmul,
    Mean: _reduce,
    SigmoidCrossEntropy: _sigmoid_cross_entropy,
    Softmax: _softmax,
    SoftmaxCrossEntropy: _softmax_cross_entropy,
    SquaredError: _squared_error,
    Sum: _reduce,
}
