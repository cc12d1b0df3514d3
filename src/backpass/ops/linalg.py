"""Matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.errors import ShapeError
from backpass.ir.node import SURFACE, Node
from backpass.ir.op import Op, Precedence, Sample
from backpass.ir.types import ArrayType, bind_dim


@final
@dataclass(frozen=True)
class MatMul(Op):
    """Product of two matrices: (m, k) @ (k, n) gives (m, n)."""

    name = "matmul"
    notation = "{0} @ {1}"
    tex = r"{0}\,{1}"
    precedence = Precedence.PRODUCT
    joins = "add"
    samples = (Sample((("B", "k"), ("k", "n"))), Sample((("k", "B"), ("B", "n"))))

    def infer(self, a: ArrayType, b: ArrayType) -> ArrayType:
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or a.dtype != b.dtype:
            raise ShapeError(f"matmul needs (m, k) @ (k, n), got {a} @ {b}")
        return ArrayType((a.shape[0], b.shape[1]), a.dtype)

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return xp.matmul(a, b)

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj @ b.T, a.T @ adj

    def flops(self, y: ArrayType, a: ArrayType, b: ArrayType) -> int:
        return 2 * y.size * bind_dim(a.shape[1], {})


SURFACE.binary["@"] = MatMul
