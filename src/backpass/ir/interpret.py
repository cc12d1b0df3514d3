"""The meaning of a Graph: each node's forward rule, in program order, over any array namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backpass.ir.graph import Graph
from backpass.ir.node import Node
from backpass.ir.xp import NUMPY


def interpret(
    graph: Graph, feeds: Mapping[str, Any], dims: Mapping[str, int], xp: Any = NUMPY
) -> dict[Node, Any]:
    """Every value of a program, by node.

    Parameters
    ----------
    graph : Graph
    feeds : mapping of str to array
        A value for each input.
    dims : mapping of str to int
        The sizes of the named dimensions.
    xp : ArrayNamespace
        Over what to compute.
    """
    values: dict[Node, Any] = {}
    for node, op in zip(graph.nodes, graph.bound(dims), strict=True):
        if op.feeds:
            values[node] = feeds[str(node.name)]
        else:
            values[node] = op.forward(xp, *(values[x] for x in node.inputs))
    return values
