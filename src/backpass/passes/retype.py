"""The same program in another floating-point type: where the truth of an f32 program is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

from backpass.ir.graph import Graph, Origin
from backpass.ir.node import Node
from backpass.ir.op import Op
from backpass.ir.types import ArrayType

_FLOATS = ("f32", "f64")


def retyped(graph: Graph, dtype: str) -> Graph:
    """An equal program that calculates in `dtype`, with the same names, carry and origins.

    Parameters
    ----------
    graph : Graph
    dtype : {"f32", "f64"}
        Takes the place of every floating-point type; integers and booleans stay.

    Examples
    --------
    >>> from backpass.ops import data
    >>> print(retyped(Graph({"y": 2.0 * data("x", "f32[B]")}), "f64").text(prelude=False))
    y = 2 * x  # f64[B]
    """
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple(new[x] for x in node.inputs)
        op = _retyped(node.op, dtype)
        new[node] = Node(op, inputs, op.infer(*(x.type for x in inputs)), node.name)
    origins = {
        new[n]: tuple(Origin(new[o.primal], o.slot) for o in served if o.primal in new)
        for n, served in graph.origins.items()
        if n in new
    }
    return Graph({name: new[n] for name, n in graph.outputs.items()}, graph.carry, origins)


def _retyped(op: Op, dtype: str) -> Op:
    changed: dict[str, Any] = {}
    for name, value in op.settings().items():
        if isinstance(value, Graph):
            changed[name] = retyped(value, dtype)
        elif isinstance(value, ArrayType) and value.dtype in _FLOATS:
            changed[name] = ArrayType(value.shape, dtype)
        elif name == "dtype" and value in _FLOATS:
            changed[name] = dtype
    return dataclasses.replace(op, **changed) if changed else op  # type: ignore[type-var]
