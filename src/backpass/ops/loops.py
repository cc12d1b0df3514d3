"""Loops: ops with a Graph inside.

`Scan` runs its body once for each entry of a sequence; its vjp is a reversed Scan of the body's own
backward Graph, which is backpropagation through time (Werbos 1990).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

from backpass.errors import ShapeError
from backpass.ir.chain import pullback
from backpass.ir.graph import Graph
from backpass.ir.interpret import interpret
from backpass.ir.node import Node
from backpass.ir.op import Op, Sample
from backpass.ir.tuples import Item
from backpass.ir.types import ArrayType, Dim, TupleType, bind_dim
from backpass.ops.leaves import data, filled


@final
@dataclass(frozen=True)
class Scan(Op):
    """Run a body once for each entry along the first axis of its sequences.

    Parameters
    ----------
    body : Graph
        Its first `carries` outputs are the carried values for the next entry; the others are collected.
    names : tuple of str
        The body's inputs in the order of this op's inputs: carried values, sequences, constants.
    carries, sequences : int
        How many of the inputs are carried values, and how many are sequences ``[T, ...]``.
    reverse : bool
        From the last entry to the first; collected values keep the order of the sequence.
    dims : tuple
        Sizes of the named dimensions, filled in by `bind`.

    The value is a tuple: the last carried values, then the collected outputs, each ``[T, ...]``.
    """

    body: Graph
    names: tuple[str, ...]
    carries: int
    sequences: int
    reverse: bool = False
    dims: tuple[tuple[str, int], ...] = ()
    name = "scan"
    notation = "scan({body})"
    tex = r"\operatorname{scan}({0})"
    prelude = """\
def scan(body, carries, sequences, constants, reverse=False):
    collected = []
    steps = range(len(sequences[0]))
    for t in reversed(steps) if reverse else steps:
        carries, outputs = body(*carries, *(x[t] for x in sequences), *constants)
        collected.append(outputs)
    if reverse:
        collected.reverse()
    return *carries, *(stack(values) for values in zip(*collected))
"""

    def infer(self, *xs: ArrayType) -> TupleType:
        first = self.carries
        lengths = [x.shape[0] if x.ndim else None for x in xs[first : first + self.sequences]]
        if len(xs) != len(self.names):
            raise ShapeError(f"scan needs {len(self.names)} inputs, got {len(xs)}")
        if not lengths or lengths[0] is None or set(lengths) != {lengths[0]}:
            raise ShapeError(f"scan needs sequences of one length, got {', '.join(map(str, lengths))}")
        length = lengths[0]
        for i, (name, x) in enumerate(zip(self.names, xs, strict=True)):
            given = ArrayType(x.shape[1:], x.dtype) if first <= i < first + self.sequences else x
            wanted = self.body.input_types.get(name, given)
            if given != wanted:
                raise ShapeError(f"the body of scan takes {name}: {wanted}, got {given}")
        outputs = [n.array_type for n in self.body.outputs.values()]
        for name, x, new in zip(self.names[:first], xs[:first], outputs[:first], strict=True):
            if x != new:
                raise ShapeError(f"scan carries {name}: {x}, but its body gives {new}")
        collected = (ArrayType((length, *y.shape), y.dtype) for y in outputs[first:])
        return TupleType((*outputs[:first], *collected))

    def mixes(self, *xs: ArrayType) -> tuple[Dim, ...]:
        """The sequence's own axis, and whatever the body mixes or adds up at each step."""
        mixed = [xs[self.carries].shape[0]]
        for node in self.body.nodes:
            types = [x.type for x in node.inputs]
            mixed += [d for t in types for d in t.named - node.type.named]
            mixed += node.op.mixes(*types)
        return tuple(mixed)

    def flops(self, y: TupleType, *xs: ArrayType) -> int:
        dims: dict[str, int] = {}
        for name, x in zip(self.names, xs, strict=True):
            if name in self.body.inputs:
                shape = self.body.inputs[name].shape
                sizes = x.shape[len(x.shape) - len(shape) :]  # without the sequence's own axis
                dims |= {
                    d: n
                    for d, n in zip(shape, sizes, strict=True)
                    if isinstance(d, str) and isinstance(n, int)
                }
        each = 0
        for node in self.body.nodes:
            each += node.op.flops(node.type.bind(dims), *(i.type.bind(dims) for i in node.inputs))
        return bind_dim(xs[self.carries].shape[0], {}) * each

    def bind(self, dims: Mapping[str, int]) -> Scan:
        return dataclasses.replace(self, dims=tuple(sorted(dims.items())))

    def source(self) -> str:
        slots = [f"{{{i}}}" for i in range(len(self.names))]
        cut = (0, self.carries, self.carries + self.sequences, len(slots))
        parts = [slots[a:b] for a, b in pairwise(cut)]
        groups = [f"({', '.join(part)}{',' if len(part) == 1 else ''})" for part in parts]
        return f"scan({{body}}, {', '.join(groups)}{', reverse=True' if self.reverse else ''})"

    def latex(self) -> str:
        return r"\operatorname{scan}(" + ", ".join(f"{{{i}}}" for i in range(len(self.names))) + ")"

    def forward(self, xp: Any, /, *xs: Any) -> Any:
        first, last = self.carries, self.carries + self.sequences
        carried, sequences, constants = list(xs[:first]), xs[first:last], xs[last:]
        steps = range(len(sequences[0]))
        collected = []
        for t in reversed(steps) if self.reverse else steps:
            feeds = dict(zip(self.names, [*carried, *(s[t] for s in sequences), *constants], strict=True))
            values = interpret(self.body, feeds, dict(self.dims), xp)
            outputs = [values[n] for n in self.body.outputs.values()]
            carried, new = outputs[:first], outputs[first:]
            collected.append(new)
        if self.reverse:
            collected.reverse()
        return (*carried, *(xp.stack(ys) for ys in zip(*collected, strict=True)))

    def vjp(self, adj: tuple[Node, ...], y: Node, /, *xs: Node) -> tuple[Node, ...]:
        n, m = self.carries, self.sequences
        inputs = [self.body_input(i, x) for i, x in enumerate(xs)]
        # The body's backward pass needs what was carried into each step: run forward again and keep it.
        taken = {*self.body.named, *self.names}
        kept = {_fresh(f"kept_{name}", taken): inputs[i] for i, name in enumerate(self.names[:n])}
        forward = dataclasses.replace(self, body=Graph({**self.body.outputs, **kept}))(*xs)
        trajectory = [Item(len(self.body.outputs) + i)(forward) for i in range(n)]

        outputs = list(self.body.outputs.values())
        adj_in = [data(_fresh(f"adj_{name}", taken), o.array_type) for name, o in self.body.outputs.items()]
        seeds: dict[Node, Node] = {}
        for out, a in zip(outputs, adj_in, strict=True):
            seeds[out] = seeds[out] + a if out in seeds else a
        adjoints, origins = pullback(seeds, inputs)
        carried, along, fixed = inputs[:n], inputs[n : n + m], inputs[n + m :]
        sums = [data(_fresh(f"sum_{x.name}", taken), x.array_type) for x in fixed]
        back = {_fresh(f"adj_{x.name}", taken): adjoints[x] for x in carried}
        back |= {_fresh(f"new_{s.name}", taken): s + adjoints[x] for s, x in zip(sums, fixed, strict=True)}
        back |= {_fresh(f"adj_{x.name}", taken): adjoints[x] for x in along}
        reversed_scan = Scan(
            Graph(back, origins=origins),
            names=tuple(str(i.name) for i in (*adj_in[:n], *sums, *adj_in[n:], *inputs)),
            carries=n + len(sums),
            sequences=len(adj_in) - n + n + m,
            reverse=not self.reverse,
        )
        zeros = [filled(0.0, x.array_type) for x in fixed]
        result = reversed_scan(*adj[:n], *zeros, *adj[n:], *trajectory, *xs[n:])
        parts = [Item(i)(result) for i in range(len(back))]
        k = n + len(sums)
        return (*parts[:n], *parts[k:], *parts[n:k])

    def body_input(self, i: int, x: Node) -> Node:
        """The body's own input node; a new one where the body does not read it."""
        name = self.names[i]
        if name in self.body.inputs:
            return self.body.inputs[name]
        along = self.carries <= i < self.carries + self.sequences
        return data(name, ArrayType(x.shape[1:], x.dtype) if along else x.array_type)


def _fresh(name: str, taken: set[str]) -> str:
    """`name`, or with underscores until no other value has it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _example_body() -> Graph:
    h, x, w = data("h", "f64[B,3]"), data("x", "f64[B,3]"), data("w", "f64[3]")
    from backpass.ops.activations import Tanh

    new = Tanh()(h * w + x)
    return Graph({"h_new": new, "y": new * x})


Scan.samples = (Sample((("B", 3), ("T", "B", 3), (3,)), op=Scan(_example_body(), ("h", "x", "w"), 1, 1)),)
