"""The ops that have a lowering of their own, by name. Each is tested against the op's forward rule.

Elementwise ops need none (`scalars`), nor do Broadcast, Transpose, Slice and Reshape (`lower`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backpass.exec.compiled import contractions, heads, loops, moves, reductions
from backpass.ir import Node

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering

LOWERINGS: dict[str, Callable[[Lowering, Node], None]] = {
    "argmax": reductions.argmax,
    "concatenate": moves.concatenate,
    "cumsum": reductions.cumsum,
    "einsum": contractions.einsum,
    "gather": moves.gather,
    "log_softmax": heads.log_softmax,
    "logsumexp": reductions.logsumexp,
    "matmul": contractions.matmul,
    "max": reductions.extreme,
    "mean": reductions.total,
    "min": reductions.extreme,
    "pad": moves.pad,
    "prod": reductions.prod,
    "scan": loops.scan,
    "scatter_add": moves.scatter_add,
    "sigmoid_cross_entropy": heads.sigmoid_cross_entropy,
    "softmax": heads.softmax,
    "softmax_cross_entropy": heads.softmax_cross_entropy,
    "squared_error": heads.squared_error,
    "stack": moves.stack,
    "sum": reductions.total,
    "uniform": moves.uniform,
}
