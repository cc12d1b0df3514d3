"""The spine: types, `Op`, `Node`, `Graph`, and their text.

This layer knows no concrete op. `ops` registers them, and fills in the few that the infix operators of a
Node need (`node.SURFACE`).
"""

from backpass.ir.graph import Graph, Origin
from backpass.ir.node import Node, apply
from backpass.ir.op import REGISTRY, Elementwise, Op, Precedence, Sample
from backpass.ir.types import ArrayType, TupleType, parse_type

__all__ = [
    "REGISTRY",
    "ArrayType",
    "Elementwise",
    "Graph",
    "Node",
    "Op",
    "Origin",
    "Precedence",
    "Sample",
    "TupleType",
    "apply",
    "parse_type",
]
