"""Softmax, its logarithm, and the losses that are taken of a whole row of outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backpass.exec.compiled.source import variable
from backpass.ir import ArrayType, Node
from backpass.ir.types import size_of
from backpass.ops import SoftmaxCrossEntropy

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering


def _rows(x: Node) -> tuple[str, str]:
    """How many rows along the last axis, and how long they are."""
    return variable(size_of(x.shape[:-1])), variable(x.shape[-1])


def _each(node: Node, target: str) -> str:
    """Where the value of row i goes: a single row has a single number."""
    return f"{target}[i]" if node.shape else target


def _over_rows(low: Lowering, rows: str, body: list[str]) -> None:
    low.out.extend([f"for i in range({rows}):", *("    " + line for line in body)])


def _part(low: Lowering, x: Node) -> tuple[str, str]:
    """The rows of x, and their entries, that a thread does."""
    rows, n = _rows(x)
    if len(x.shape) == 2:
        low.split(x.shape[0], "i")
    if low.group.split is None:
        return rows, f"{rows}*{n}"
    dim = low.group.split
    return f"from_{dim}, to_{dim}", f"from_{dim}*{n}, to_{dim}*{n}"


def _exponentials(low: Lowering, x: Node, z: str, e: str, name: str) -> None:
    """Into e: exp(z − top), where ``top[i]`` is the largest of row i; into ``total[i]``, their sum.

    All exponentials are calculated in one loop, which fills the processor's vectors however short a row is.
    """
    n = _rows(x)[1]
    rows, entries = _part(low, x)
    top, total = f"{name}m", f"{name}s"
    for scratch in (top, total):
        low.scratch(scratch, ArrayType(x.shape[:-1], low.dtype))
    _over_rows(low, rows, [
        f"top = {z}[i*{n}]",
        f"for j in range(1, {n}):",
        f"    top = {z}[i*{n} + j] if {z}[i*{n} + j] > top else top",
        f"{top}[i] = top",
        f"for j in range({n}):",
        f"    {e}[i*{n} + j] = {z}[i*{n} + j] - top",
    ])  # fmt: skip
    low.out.extend([f"for q in range({entries}):", f"    {e}[q] = exp({e}[q])"])
    _over_rows(low, rows, [
        f"total = {low.constant(0.0)}",
        f"for j in range({n}):",
        f"    total += {e}[i*{n} + j]",
        f"{total}[i] = total",
    ])  # fmt: skip


def _cross_entropy(low: Lowering, x: Node, z: str, t: str, loss: str, name: str) -> None:
    """Σ t (ln total − (z − top)) of each row."""
    n = _rows(x)[1]
    rows, _ = _part(low, x)
    logs = low.scratch(f"{name}l", ArrayType(x.shape[:-1], low.dtype))
    low.out.extend([f"for i in range({rows}):", f"    {logs}[i] = log({name}s[i])"])
    _over_rows(low, rows, [
        f"c = {low.constant(0.0)}",
        f"for j in range({n}):",
        f"    c += {t}[i*{n} + j] * ({logs}[i] - ({z}[i*{n} + j] - {name}m[i]))",
        f"{loss} = c",
    ])  # fmt: skip


def softmax(low: Lowering, node: Node) -> None:
    (zn,) = node.inputs
    n, name = _rows(zn)[1], low.names[node]
    rows, _ = _part(low, zn)
    z, target = low.rows_of(zn), low.new_buffer(node)
    _exponentials(low, zn, z, target, name)
    # The cross-entropy of the same scores comes from the same exponentials.
    for user in low.users[zn]:
        ready = isinstance(user.op, SoftmaxCrossEntropy) and user.inputs[1] in low.result.place
        if ready and user.inputs[0] is zn and user not in low.result.place:
            t = low.rows_of(user.inputs[1])
            low.done.add(user)
            _cross_entropy(low, zn, z, t, _each(user, low.new_target(user)), name)
    _over_rows(low, rows, [
        f"for j in range({n}):",
        f"    {target}[i*{n} + j] = {target}[i*{n} + j] / {name}s[i]",
    ])  # fmt: skip


def softmax_cross_entropy(low: Lowering, node: Node) -> None:
    zn, tn = node.inputs
    name = low.names[node]
    _part(low, zn)
    z, t, target = low.rows_of(zn), low.rows_of(tn), low.new_target(node)
    scratch = low.scratch(f"{name}e", zn.array_type)
    _exponentials(low, zn, z, scratch, name)
    _cross_entropy(low, zn, z, t, _each(node, target), name)


def log_softmax(low: Lowering, node: Node) -> None:
    """z − max z − ln Σ exp(z − max z)."""
    (zn,) = node.inputs
    n, name = _rows(zn)[1], low.names[node]
    rows, _ = _part(low, zn)
    z, target = low.rows_of(zn), low.new_buffer(node)
    _exponentials(low, zn, z, target, name)
    _over_rows(low, rows, [
        f"total_log = log({name}s[i])",
        f"for j in range({n}):",
        f"    {target}[i*{n} + j] = {z}[i*{n} + j] - {name}m[i] - total_log",
    ])  # fmt: skip


def _row_sum(low: Lowering, node: Node, term: Callable[[str, str], str], after: str = "c") -> None:
    an, tn = node.inputs
    n = _rows(an)[1]
    rows, _ = _part(low, an)
    a, t, target = low.rows_of(an), low.rows_of(tn), low.new_target(node)
    body = [
        f"c = {low.constant(0.0)}",
        f"for j in range({n}):",
        f"    p = {a}[i*{n} + j]",
        f"    c += {term('p', f'{t}[i*{n} + j]')}",
        f"{_each(node, target)} = {after}",
    ]
    _over_rows(low, rows, body)


def sigmoid_cross_entropy(low: Lowering, node: Node) -> None:
    zero = low.constant(0.0)
    _row_sum(
        low, node, lambda z, t: f"(({zero} if {z} < {zero} else {z}) - {z} * {t} + log1p(exp(-abs({z}))))"
    )


def squared_error(low: Lowering, node: Node) -> None:
    _row_sum(low, node, lambda a, t: f"({a} - {t}) * ({a} - {t})", after=f"{low.constant(0.5)} * c")
