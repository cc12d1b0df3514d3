"""Softmax, its logarithm, and the losses that are taken of a whole row of outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backpass.exec.compiled.source import variable
from backpass.ir import Node
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
    low.out += [f"for i in range({rows}):", *("    " + line for line in body)]


def _row_max_shift(low: Lowering, z: str, e: str, n: str) -> list[str]:
    """Inside a loop over rows i: ``top``, e[i] = exp(z[i] − top), and their ``total``."""
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


def softmax(low: Lowering, node: Node) -> None:
    (zn,) = node.inputs
    z, target = low.stored(zn), low.new_buffer(node)
    rows, n = _rows(zn)
    body = _row_max_shift(low, z, target, n)
    # The cross-entropy of the same scores comes from the same exponentials.
    for user in low.users[zn]:
        ready = isinstance(user.op, SoftmaxCrossEntropy) and user.inputs[1] in low.result.place
        if ready and user.inputs[0] is zn and user not in low.result.place:
            t = low.result.place[user.inputs[1]]
            low.done.add(user)
            body += _cross_entropy_of_row(low, z, t, _each(user, low.new_target(user)), n)
    body += [f"for j in range({n}):", f"    {target}[i*{n} + j] = {target}[i*{n} + j] / total"]
    _over_rows(low, rows, body)


def _cross_entropy_of_row(low: Lowering, z: str, t: str, loss: str, n: str) -> list[str]:
    return [
        "total_log = log(total)",
        f"c = {low.constant(0.0)}",
        f"for j in range({n}):",
        f"    c += {t}[i*{n} + j] * (total_log - ({z}[i*{n} + j] - top))",
        f"{loss} = c",
    ]


def softmax_cross_entropy(low: Lowering, node: Node) -> None:
    zn, tn = node.inputs
    z, t, target = low.stored(zn), low.stored(tn), low.new_target(node)
    rows, n = _rows(zn)
    scratch = f"{low.names[node]}e"
    low.result.buffers[scratch] = zn.array_type
    body = _row_max_shift(low, z, scratch, n) + _cross_entropy_of_row(low, z, t, _each(node, target), n)
    _over_rows(low, rows, body)


def log_softmax(low: Lowering, node: Node) -> None:
    """z − max z − ln Σ exp(z − max z)."""
    (zn,) = node.inputs
    z, target = low.stored(zn), low.new_buffer(node)
    rows, n = _rows(zn)
    body = [
        *_row_max_shift(low, z, target, n),
        "total_log = log(total)",
        f"for j in range({n}):",
        f"    {target}[i*{n} + j] = {z}[i*{n} + j] - top - total_log",
    ]
    _over_rows(low, rows, body)


def _row_sum(low: Lowering, node: Node, term: Callable[[str, str], str], after: str = "c") -> None:
    an, tn = node.inputs
    a, t, target = low.stored(an), low.stored(tn), low.new_target(node)
    rows, n = _rows(an)
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
