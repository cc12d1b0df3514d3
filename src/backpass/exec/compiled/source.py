"""Pieces of kernel source: sizes and places of entries."""

from __future__ import annotations

from typing import TypeAlias

from backpass.ir.types import Dim, Shape

#: Entries of scratch memory that a product may use: half of a usual second cache.
PANEL = 65_536
#: Kinds of `compiler` by the dtypes of a Graph.
KINDS = {"f32": "f32", "f64": "f64", "i64": "int64", "bool": "boolean"}
Index: TypeAlias = tuple[str, ...]  #: the source of the index along each axis


def variable(dim: Dim) -> str:
    """A size in the source."""
    if isinstance(dim, int):
        return str(dim)
    factors = [f if f.isdigit() else f"n_{f}" for f in dim.split("*")]
    return factors[0] if len(factors) == 1 else f"({'*'.join(factors)})"


def array_of(place: str) -> str:
    """The array that a place lies in: a place may be what follows an entry (``x[start:]``)."""
    return place.partition("[")[0]


def flat(shape: Shape, index: Index) -> str:
    """The place of an entry in a row-major buffer."""
    if not index:
        return "0"
    code = index[0]
    for dim, i in zip(shape[1:], index[1:], strict=True):
        code = f"{code}*{variable(dim)}" if code.isalnum() else f"({code})*{variable(dim)}"
        code = f"{code} + {i}"
    return code
