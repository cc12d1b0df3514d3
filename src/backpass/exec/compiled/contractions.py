"""Sums of products: matrix products, one or a stack of them, and einsum."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from backpass.errors import NotLowered
from backpass.exec.compiled.source import flat, variable
from backpass.ir import Node
from backpass.ir.types import Dim, bind_dim, size_of
from backpass.ops import Transpose

#: By BLAS: products of at least so many multiplications; or of so many, where the result has so many entries.
_FROM = {"scipy": (1 << 26, 1 << 24, 1 << 19), "mkl": (1 << 26, 1 << 24, 1 << 19)}
_TINY = 64  # multiplications

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering


def prefers_blas(m: int, n: int, k: int, dtype: str, blas: str = "scipy") -> bool:
    """Whether (m, k) @ (k, n) is large enough for a BLAS, on one thread, to win over our own product.

    From a table, so that the choice is the same on every machine and every day. Measured on a processor with
    AVX2 (`benchmarks/products.py`).
    """
    most, wide, entries = _FROM[blas]
    size = 2 if dtype == "f64" else 1
    return m * n * k >= most or (m * n * k * size >= wide and m * n * size >= entries)


def matmul(low: Lowering, node: Node) -> None:
    """A matrix product, or one for each leading index."""
    if node.dtype not in ("f32", "f64"):
        raise NotLowered(f"{node.op.name} of {node.dtype}")
    a, b = node.inputs
    if min(len(a.shape), len(b.shape)) < 2 or a.shape[:-2] != b.shape[:-2]:
        raise NotLowered(f"{node.op.name} of {a.type} and {b.type}")
    if len(node.shape) == 2:
        product(low, low.new_buffer(node), node, low.constant(1.0), low.constant(0.0))
        return
    _stack_of_products(low, node)


def product(low: Lowering, target: str, node: Node, alpha: str, beta: str) -> None:
    """``target ← alpha a @ b + beta target``, rows first; each thread some rows of it."""
    a, b = node.inputs
    m, k, n = a.shape[0], a.shape[1], b.shape[1]
    low.split(m, "")
    (a_buffer, a_turned), (b_buffer, b_turned) = operand(low, a, rows=True), operand(low, b)
    m_, n_, k_ = variable(m), variable(n), variable(k)
    rows, columns, depth = (bind_dim(d, low.sizes) for d in (m, n, k))
    if low.group.split is not None:
        rows = -(-rows // 2)  # those of a thread, where there are two
        m_ = f"to_{m} - from_{m}"
        target = f"{target}[from_{m}*{n_}:]"
        a_buffer = f"{a_buffer}[from_{m}:]" if a_turned else f"{a_buffer}[from_{m}*{k_}:]"
    whole = variable(m)
    if prefers_blas(rows, columns, depth, low.dtype, low.blas):
        a_row, b_row = (whole if a_turned else k_), (k_ if b_turned else n_)
        turned = f"{a_turned:d}, {a_row}, {b_turned:d}, {b_row}"
        low.out.append(f"gemm({target}, {a_buffer}, {b_buffer}, {m_}, {n_}, {k_}, {turned}, {alpha}, {beta})")
        return
    strides = f"1, {whole}" if a_turned else f"{k_}, 1"
    strides += f", 1, {k_}" if b_turned else f", {n_}, 1"
    if rows * columns * depth <= _TINY:
        x = f"{a_buffer}[u*{whole} + i]" if a_turned else f"{a_buffer}[i*{k_} + u]"
        y = f"{b_buffer}[j*{k_} + u]" if b_turned else f"{b_buffer}[u*{n_} + j]"
        _written_out(low, target, x, y, (m_, n_, k_), alpha, beta)
        return
    low.mm(target, a_buffer, b_buffer, f"{m_}, {n_}, {k_}, {strides}, {alpha}, {beta}", f"{rows}, {depth}")


def _written_out(
    low: Lowering, target: str, x: str, y: str, sizes: tuple[str, str, str], alpha: str, beta: str
) -> None:
    """A product so small that calling anything takes longer; the same operations as those of `mm`.

    `x` and `y` are the entries A[i, u] and B[u, j].
    """
    m, n, k = sizes
    before = low.constant(0.0) if beta == low.constant(0.0) else f"{beta} * {target}[i*{n} + j]"
    low.out.extend([
        f"for i in range({m}):",
        f"    for j in range({n}):",
        f"        part = {low.constant(0.0)}",
        f"        for u in range({k}):",
        f"            part = fma({x}, {y}, part)",
        f"        {target}[i*{n} + j] = fma({alpha}, part, {before})",
    ])  # fmt: skip


def operand(low: Lowering, node: Node, rows: bool = False) -> tuple[str, bool]:
    """The buffer of a matrix, and whether it holds the transpose. Where only some rows of it are read, so."""
    if isinstance(node.op, Transpose) and node not in low.result.place:
        return low.stored(node.inputs[0]), True
    return (low.rows_of(node) if rows else low.stored(node)), False


def _stack_of_products(low: Lowering, node: Node) -> None:
    a, b = node.inputs
    lead: tuple[Dim, ...] = node.shape[:-2]
    m, k, n = (variable(d) for d in (a.shape[-2], a.shape[-1], b.shape[-1]))
    a_buffer, b_buffer, target = low.stored(a), low.stored(b), low.new_buffer(node)

    def part(buffer: str, rows: str, columns: str) -> str:
        return f"{buffer}[u*{rows}*{columns}:(u + 1)*{rows}*{columns}]"

    parts = part(target, m, n), part(a_buffer, m, k), part(b_buffer, k, n)
    low.out.append(f"for u in range({variable(size_of(lead))}):")
    sizes = f"{m}, {n}, {k}, {k}, 1, {n}, 1, {low.constant(1.0)}, {low.constant(0.0)}"
    usual = f"{bind_dim(a.shape[-2], low.sizes)}, {bind_dim(a.shape[-1], low.sizes)}"
    low.mm(*parts, sizes, usual, indent="    ")


def einsum(low: Lowering, node: Node) -> None:
    """Loops over the indices of the result, and inside them over those that are summed."""
    op: Any = node.op
    if node.dtype not in ("f32", "f64"):
        raise NotLowered(f"{op.name} of {node.dtype}")
    letters, result = op.parts()
    sizes = op.sizes(*(x.array_type for x in node.inputs))
    summed = [c for c in dict.fromkeys(itertools.chain(*letters)) if c not in result]
    lines, entries = [], []
    for term, x in zip(letters, node.inputs, strict=True):
        before, entry = low.entry(x, tuple(f"i_{c}" for c in term))
        lines += before
        entries.append(entry)
    target = low.new_target(node)
    here = target if not node.shape else f"{target}[{flat(node.shape, tuple(f'i_{c}' for c in result))}]"
    low.loops([sizes[c] for c in result], [f"i_{c}" for c in result], [f"{here} = {low.constant(0.0)}"])
    order = [*result, *summed]
    body = [*lines, f"{here} += {' * '.join(entries)}"]
    low.loops([sizes[c] for c in order], [f"i_{c}" for c in order], body)
