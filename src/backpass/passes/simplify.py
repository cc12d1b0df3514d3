"""Simplify a program. Readability is the aim; fewer operations come with it.

Two kinds of rewriting, kept apart. The first is exact: the same roundings of the same numbers, in the order
in which the program names them. The second (``fold=True``) calculates with constants and moves them, which
changes rounding. Both are for a program that is still being built: NumPy chooses the order of a sum by the
layout of its operand in memory, which even an exact rewriting may change. Once a run has started, its
program is fixed.
"""

from __future__ import annotations

import numpy as np

from backpass.ir.chain import made_since
from backpass.ir.graph import Graph, Origin
from backpass.ir.node import Node
from backpass.ir.op import FLOATS, Op
from backpass.ir.tuples import Item
from backpass.ir.types import DTYPES
from backpass.ir.xp import NUMPY
from backpass.ops import (
    Add,
    Broadcast,
    Constant,
    Divide,
    Identity,
    Multiply,
    Negate,
    Reshape,
    Subtract,
    Transpose,
    filled,
)


def simplify(graph: Graph, *, fold: bool = False) -> Graph:
    """An equal program without repetition, detours and dead values.

    Parameters
    ----------
    graph : Graph
    fold : bool
        Also calculate with constants: ``1 / B * u`` becomes ``u / B``. Values may then differ in the last
        bit.

    Returns
    -------
    Graph
        With the same names, outputs, carry and origins.

    Examples
    --------
    >>> from backpass.ops import data
    >>> x = data("x", "f64[B]")
    >>> print(simplify(Graph({"y": 1.0 * x + -(-x)})).text(prelude=False))
    y = x + x  # f64[B]
    """
    while True:
        simpler = _once(graph, fold)
        if _structure(simpler) == _structure(graph):
            return simpler
        graph = simpler


def _structure(graph: Graph) -> list[tuple[object, ...]]:
    number = {n: i for i, n in enumerate(graph.nodes)}
    return [(n.op, n.name, *(number[x] for x in n.inputs)) for n in graph.nodes]


def _once(graph: Graph, fold: bool) -> Graph:
    new: dict[Node, Node] = {}
    known: dict[tuple[object, ...], Node] = {}
    origins: dict[Node, tuple[Origin, ...]] = {}
    latest = -1  # the youngest node of the new program so far
    names: dict[tuple[object, ...], str] = {}  # an unnamed value takes the name of a later twin
    for node in graph.nodes:
        if node.name is not None and not node.op.feeds:
            names.setdefault(_key(node.op, node.inputs), node.name)
    for node in graph.nodes:
        inputs = tuple(new[x] for x in node.inputs)
        rewritten = _rewrite(node, inputs, fold)
        if rewritten is None:
            key = _key(node.op, inputs)
            twin = None if node.op.feeds else known.get(key)
            if twin is not None and (node.name is None or twin.name == node.name):
                rewritten = twin
            else:
                name = node.name or names.get(_key(node.op, node.inputs))
                rewritten = Node(node.op, inputs, node.type, name)
                known.setdefault(key, rewritten)
        elif node.name is not None and rewritten.name != node.name:
            if rewritten.name is not None or rewritten.op.feeds or not rewritten.inputs:
                rewritten = Identity()(rewritten)
            rewritten = rewritten.named(node.name)
        new[node] = rewritten
        if node in graph.origins:  # for what a rewrite made along with it, too
            for made in {rewritten: None} | dict.fromkeys(made_since(rewritten, latest)):
                before = origins.get(made, ())
                origins[made] = before + tuple(o for o in graph.origins[node] if o not in before)
        latest = max(latest, rewritten.serial)
    first = min((n.serial for n in graph.origins), default=0)
    forward = {new[n] for n in graph.nodes if n.serial < first}
    origins = {
        n: tuple(Origin(new[o.primal], o.slot) for o in os if o.primal in new)
        for n, os in origins.items()
        if n not in forward
    }
    outputs = {name: new[n] for name, n in graph.outputs.items()}
    kept = Graph(outputs, graph.carry, {})
    alive = set(kept.nodes)
    return Graph(outputs, graph.carry, {n: o for n, o in origins.items() if n in alive})


def _key(op: Op, inputs: tuple[Node, ...]) -> tuple[object, ...]:
    """Equal for nodes of equal value. Not the op alone: 0.0 == -0.0."""
    return (op, repr(op) if isinstance(op, Constant) else "", *inputs)


def _rewrite(node: Node, x: tuple[Node, ...], fold: bool) -> Node | None:
    """A simpler node of equal value, or None. Values with a name stay: somebody wants to read them."""
    op = node.op
    if isinstance(op, Identity) and node.name is None:
        return x[0]
    if isinstance(op, Multiply) and _is(x[1], 1.0):
        return x[0]
    if isinstance(op, Multiply) and _is(x[0], 1.0):
        return x[1]
    if isinstance(op, Divide) and _is(x[1], 1.0):
        return x[0]
    if isinstance(op, Subtract) and _is(x[1], 0.0):  # not Add: -0.0 + 0.0 is +0.0
        return x[0]
    if isinstance(op, Negate) and isinstance(x[0].op, Negate) and x[0].name is None:
        return x[0].inputs[0]
    if isinstance(op, Add) and isinstance(x[1].op, Negate) and x[1].name is None:
        return Subtract()(x[0], x[1].inputs[0])
    if isinstance(op, Transpose) and isinstance(x[0].op, Transpose) and x[0].name is None:
        return _transpose(x[0].inputs[0], tuple(x[0].op.axes[i] for i in op.axes))
    if isinstance(op, Reshape):
        if x[0].shape == op.shape:
            return x[0]
        if isinstance(x[0].op, Reshape) and x[0].name is None:
            return op(x[0].inputs[0])
    if isinstance(op, Broadcast):
        if x[0].shape == op.shape:
            return x[0]
        if isinstance(x[0].op, Broadcast) and x[0].name is None:
            return Broadcast(op.shape, tuple(op.axes[a] for a in x[0].op.axes))(x[0].inputs[0])
    if isinstance(op, Item):
        return None
    return _folded(node, x) if fold else None


def _transpose(x: Node, axes: tuple[int, ...]) -> Node:
    return x if axes == tuple(range(len(axes))) else Transpose(axes)(x)


def _number(x: Node) -> float | None:
    """The value of a constant, seen through a broadcast."""
    while isinstance(x.op, Broadcast) and x.name is None:
        (x,) = x.inputs
    return x.op.value if isinstance(x.op, Constant) and x.name is None else None


def _is(x: Node, value: float) -> bool:
    return repr(_number(x)) == repr(value)  # -0.0 is not 0.0


def _folded(node: Node, x: tuple[Node, ...]) -> Node | None:
    """Calculate with constants, and bring a factor 1/s to the end as a division by s."""
    op = node.op
    if not isinstance(op, (Multiply, Divide, Add, Subtract)) or node.dtype not in FLOATS:
        return None
    if isinstance(op, Add) and x[0] is x[1]:
        return _repeated(2.0, node) * x[0]
    if node.shape == ():
        a, b = (_number(i) for i in x)
        if a is not None and b is not None and not (isinstance(op, Divide) and b == 0):
            value = float(op.forward(NUMPY, np.float64(a), np.float64(b)))
            return Constant(value, node.dtype)() if _ordinary(value, node.dtype) else None
    if isinstance(op, Multiply):
        for factor, other in (x, x[::-1]):
            scalar = factor
            while isinstance(scalar.op, Broadcast) and scalar.name is None:
                (scalar,) = scalar.inputs
            inverse = isinstance(scalar.op, Divide) and scalar.name is None and scalar.shape == ()
            if inverse and _is(scalar.inputs[0], 1.0):
                return Divide()(other, scalar.inputs[1])
        if _number(x[0]) is None and _number(x[1]) is not None:
            return Multiply()(x[1], x[0])  # numbers first
        (outer, first), (within, second) = (_factor(i) for i in x)
        if second is not None and within != 1.0 and _ordinary(outer * within, node.dtype):
            rest = second if first is None else first * second
            return rest if outer * within == 1.0 else _repeated(outer * within, node) * rest
    return None


def _repeated(number: float, like: Node) -> Node:
    return filled(number, like.array_type)


def _factor(x: Node) -> tuple[float, Node | None]:
    """A value as a number times a value: ``2 * W``, and ``0.5 * decay`` repeated everywhere."""
    number = _number(x)
    if number is not None:
        return number, None
    if isinstance(x.op, Multiply) and x.name is None and (number := _number(x.inputs[0])) is not None:
        return number, x.inputs[1]
    if isinstance(x.op, Broadcast) and x.name is None:
        within, rest = _factor(x.inputs[0])
        if within != 1.0 and rest is not None:
            return within, x.op(rest)
    return 1.0, x


def _ordinary(value: float, dtype: str) -> bool:
    """Whether `dtype` holds a number at full accuracy: neither overflow nor underflow."""
    limits = np.finfo(DTYPES[dtype])
    return float(limits.tiny) <= abs(value) <= float(limits.max)
