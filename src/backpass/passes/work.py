"""What a program costs, counted from its types: floating-point operations and bytes moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backpass.ir.graph import Graph
from backpass.ir.node import Node


@dataclass(frozen=True)
class Work:
    """Counts for one run of a program.

    Attributes
    ----------
    flops : int
        Floating-point operations, by each op's own count.
    traffic : int
        Bytes read and written if every value of a line is moved once (views are free).
    by_node : dict of Node to int
        The operations of each node.
    """

    flops: int
    traffic: int
    by_node: dict[Node, int]

    @property
    def intensity(self) -> float:
        """Operations per byte moved (the roofline model's arithmetic intensity)."""
        return self.flops / self.traffic if self.traffic else 0.0


def work(graph: Graph, dims: Mapping[str, int]) -> Work:
    """Count the work of a program.

    Parameters
    ----------
    graph : Graph
    dims : mapping of str to int
        Sizes of the named dimensions, ``{"B": 10}``.

    Examples
    --------
    >>> from backpass.ops import data, parameter
    >>> g = Graph({"z": data("x", "f32[B,784]") @ parameter("W", "f32[784,30]")})
    >>> work(g, {"B": 10}).flops == 2 * 10 * 784 * 30
    True
    """
    flops: dict[Node, int] = {}
    traffic = 0
    for node in graph.nodes:
        if node.op.feeds:
            continue
        types = [x.type.bind(dims) for x in node.inputs]
        result = node.type.bind(dims)
        flops[node] = node.op.flops(result, *types)
        if not node.op.view:
            traffic += result.nbytes + sum(t.nbytes for t in types)
    return Work(sum(flops.values()), traffic, flops)
