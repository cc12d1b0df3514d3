"""Products of matrices and of arrays with more axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from backpass.errors import ShapeError
from backpass.ir.node import SURFACE, Node
from backpass.ir.op import Op, Precedence, Sample
from backpass.ir.types import ArrayType, Dim, bind_dim
from backpass.ops.shape import Broadcast, Transpose


def _turned(x: Node) -> Node:
    """The transpose of each matrix: the last two axes change places."""
    rank = len(x.shape)
    return Transpose((*range(rank - 2), rank - 1, rank - 2))(x)


@final
@dataclass(frozen=True)
class MatMul(Op):
    """Product of two matrices: (m, k) @ (k, n) gives (m, n).

    With more axes, as many products as there are matrices: the leading axes of both must be equal.
    """

    name = "matmul"
    notation = "{0} @ {1}"
    tex = r"{0}\,{1}"
    precedence = Precedence.PRODUCT
    joins = "add"
    samples = (
        Sample((("B", "k"), ("k", "n"))),
        Sample((("k", "B"), ("B", "n"))),
        Sample((("B", "m", "k"), ("B", "k", "n"))),
        Sample(((2, "m", "k", "B"), (2, "m", "B", "n")), within=(-1.0, 1.0)),
    )

    def infer(self, a: ArrayType, b: ArrayType) -> ArrayType:
        self.of_dtype(a, b)
        fits = a.ndim == b.ndim >= 2 and a.shape[-1] == b.shape[-2] and a.shape[:-2] == b.shape[:-2]
        if not fits or a.dtype != b.dtype:
            many = max(a.ndim, b.ndim) > 2
            wanted = "(..., m, k) @ (..., k, n) with equal leading axes" if many else "(m, k) @ (k, n)"
            raise ShapeError(f"matmul needs {wanted}, got {a} @ {b}")
        return ArrayType((*a.shape[:-1], b.shape[-1]), a.dtype)

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return xp.matmul(a, b)

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj @ _turned(b), _turned(a) @ adj

    def flops(self, y: ArrayType, a: ArrayType, b: ArrayType) -> int:
        return 2 * y.size * bind_dim(a.shape[-1], {})


@final
@dataclass(frozen=True)
class Einsum(Op):
    """A product of arrays, summed over the indices that the result does not have (Einstein 1916).

    Parameters
    ----------
    spec : str
        One letter an axis, as in NumPy, with the result written out: ``"bi,ij->bj"``. No letter twice in one
        operand, and no ellipsis.

    The derivative with respect to an operand is again such a product: of the adjoint and the other operands.
    Along an axis that only this operand has, the derivative is everywhere the same.
    """

    spec: str
    name = "einsum"
    notation = "einsum('{spec}', {*})"
    tex = r"\operatorname{einsum}_{\text{{spec}}}({*})"
    joins = "add"

    def parts(self) -> tuple[list[str], str]:
        """The letters of the operands, and those of the result."""
        left, _, right = self.spec.partition("->")
        return left.split(","), right

    def sizes(self, *xs: ArrayType) -> dict[str, Dim]:
        operands, result = self.parts()
        sizes: dict[str, Dim] = {}
        letters = "".join([*operands, result])
        plain = "->" in self.spec and all(c.isascii() and c.isalpha() for c in letters)
        if not plain or any(len(set(o)) != len(o) for o in (*operands, result)):
            raise ShapeError(f'einsum is told what to do as in "bi,ij->bj", not {self.spec!r}')
        if len(operands) != len(xs) or any(len(o) != x.ndim for o, x in zip(operands, xs, strict=False)):
            raise ShapeError(f"einsum {self.spec!r} does not fit {', '.join(map(str, xs))}")
        for operand, x in zip(operands, xs, strict=True):
            for letter, size in zip(operand, x.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise ShapeError(f"einsum {self.spec!r}: {letter} is both {sizes[letter]} and {size}")
        if not set(result) <= set(sizes):
            raise ShapeError(f"einsum {self.spec!r}: no operand has {sorted(set(result) - set(sizes))[0]}")
        return sizes

    def infer(self, *xs: ArrayType) -> ArrayType:
        self.of_dtype(*xs)
        sizes = self.sizes(*xs)
        if len({x.dtype for x in xs}) > 1:
            raise ShapeError(f"einsum needs inputs of one dtype, got {', '.join(map(str, xs))}")
        return ArrayType(tuple(sizes[c] for c in self.parts()[1]), xs[0].dtype)

    def forward(self, xp: Any, /, *xs: Any) -> Any:
        return xp.einsum(self.spec, *xs)

    def vjp(self, adj: Node, y: Node, /, *xs: Node) -> tuple[Node, ...]:
        operands, result = self.parts()
        shares = []
        for i, x in enumerate(xs):
            factors = [
                (result, adj),
                *((o, n) for j, (o, n) in enumerate(zip(operands, xs, strict=True)) if j != i),
            ]
            found = "".join(c for c in operands[i] if any(c in letters for letters, _ in factors))
            spec = f"{','.join(letters for letters, _ in factors)}->{found}"
            share = adj if spec == f"{result}->{result}" else Einsum(spec)(*(node for _, node in factors))
            where = tuple(k for k, c in enumerate(operands[i]) if c in found)
            shares.append(share if found == operands[i] else Broadcast(x.shape, where)(share))
        return tuple(shares)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return len(xs) * math.prod(bind_dim(d, {}) for d in self.sizes(*xs).values())


Einsum.samples = (
    Sample((("B", "k"), ("k", "n")), op=Einsum("bk,kn->bn")),
    Sample((("B", 2, "k"), ("B", 3, "k")), op=Einsum("bhk,bgk->bhg")),
    Sample((("B", "n"),), op=Einsum("bn->n")),
    Sample((("m", "n"),), op=Einsum("mn->nm")),
    Sample((("B", "m"), ("n", "k")), op=Einsum("bm,nk->bk")),
    Sample((("B", 2), ("B", 3), (2, 3)), op=Einsum("bi,bj,ij->b")),
)

SURFACE.binary["@"] = MatMul
