"""Lowering: a Graph as the source of one native function (see `compiler` for its language).

Elementwise chains are fused into the loop that needs them; bias and activation are applied in the buffer of
the product before them; the update of a weight is accumulated by the product itself (``beta = 1``); carried
values are replaced in place, last (`updates`). Each value keeps its own buffer unless it is overwritten by
its only reader, so that after a step the operands of every update can still be read (`Loop.peek`).

A kernel has one floating-point type, `real`; integers and booleans may stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backpass.errors import NotLowered
from backpass.exec.compiled.groups import Group, Read, loops, over
from backpass.exec.compiled.lowerings import LOWERINGS
from backpass.exec.compiled.scalars import entry_of
from backpass.exec.compiled.source import PANEL, Index, array_of, flat, variable
from backpass.ir import ArrayType, Elementwise, Graph, Node
from backpass.ir.tuples import Item
from backpass.ir.types import Dim, TupleType, size_of
from backpass.ops import Broadcast, Constant, Reshape, Size, Transpose

if TYPE_CHECKING:
    from backpass.exec.compiled.loops import Inside

_REAL = ("f32", "f64")
#: Ops that read an operand entry by entry, in any order: an elementwise operand need not be stored for them.
_STREAMING = ("max", "min", "prod", "cumsum", "concatenate", "stack", "pad")


@dataclass(eq=False)
class Lowered:
    """The body of a kernel.

    Attributes
    ----------
    dtype : {"f32", "f64"}
        What `real` is.
    groups : list of Group
        Statements, indented from 0.
    updates : list of Group
        Statements that replace carried values; they come after the watched value was checked.
    buffers : dict of str to ArrayType
        The arrays that the statements write to, besides the inputs.
    place : dict of Node to str
        Where a value lies after the statements have run: a buffer, an input or a scalar.
    constants : dict of str to float
        Real numbers by the name that they have in the source.
    private : dict of str to ArrayType
        Scratch memory, of which each thread has its own.
    split : bool
        Whether the statements are divided among threads.
    bodies : dict of Node to Inside
        The bodies of loops, by the loop.
    """

    dtype: str = "f64"
    groups: list[Group] = field(default_factory=list)
    updates: list[Group] = field(default_factory=list)
    buffers: dict[str, ArrayType] = field(default_factory=dict)
    private: dict[str, ArrayType] = field(default_factory=dict)
    split: bool = False
    place: dict[Node, str] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    bodies: dict[Node, Inside] = field(default_factory=dict)


def lower(
    graph: Graph, in_place: bool, sizes: Mapping[str, int], split: bool = False, blas: str = "scipy"
) -> Lowered:
    """Lower a program.

    Parameters
    ----------
    graph : Graph
        Every output is needed.
    in_place : bool
        Replace carried inputs by the outputs that `graph.carry` names. Each such output is a node of its
        own and no input (see `updates.carried_only`).
    sizes : mapping of str to int
        How large the named dimensions usually are. Kernels take any size; this chooses between products.
    split : bool
        Divide the statements among threads, where the program allows it.
    blas : {"scipy", "mkl"}
        Which BLAS there is for large products.

    Raises
    ------
    NotLowered
        The program has an op, a dtype or a shape that has no lowering; the message names the op.
    """
    dtype = one_real_type(graph)
    replaces = {graph.outputs[new]: graph.inputs[old] for new, old in graph.carry.items()} if in_place else {}
    lowering = Lowering(graph, replaces, sizes, Lowered(dtype, split=split), blas)
    lowering.run()
    if split and not lowering.can_split:
        lowering = Lowering(graph, replaces, sizes, Lowered(dtype), blas)
        lowering.run()
    return lowering.result


class Lowering:
    """One lowering under way.

    Parameters
    ----------
    graph : Graph
    replaces : mapping of Node to Node
        The outputs that are carried, and the inputs that they replace.
    sizes : mapping of str to int
    result : Lowered
        To be filled.
    blas : {"scipy", "mkl"}
    prefix : str
        What all names begin with.
    """

    def __init__(
        self,
        graph: Graph,
        replaces: Mapping[Node, Node],
        sizes: Mapping[str, int],
        result: Lowered,
        blas: str,
        prefix: str = "",
    ) -> None:
        self.graph, self.users, self.replaces = graph, graph.users, replaces
        self.sizes, self.result, self.blas, self.prefix = sizes, result, blas, prefix
        self.dtype = result.dtype
        self.groups = self.result.groups
        self.group = Group()  # the one that is being written
        self.can_split = True
        self.body: list[str] | None = None  # statements before the entry that is being written
        self.temporaries = 0
        self.kept = set(graph.outputs.values())
        # Names of our own making: nothing of a file's text reaches the source.
        self.names = {n: f"{prefix}{'in' if n.op.feeds else 'v'}{i}" for i, n in enumerate(graph.nodes)}
        self.ordered: dict[Node, str] = {}  # where a value has to be put, if not into a buffer of its own
        self.parts: dict[Node, list[str | None]] = {}  # of a tuple: where each lies
        self.absorbed: set[Node] = set()
        self.done: set[Node] = set()
        self.result.place.update({n: self.names[n] for n in graph.nodes if n.op.feeds})

    def run(self) -> None:
        """Write the statements of the whole program."""
        from backpass.exec.compiled import updates

        products = updates.products_in_updates(self)
        for node in self.graph.nodes:
            known = node in self.replaces or node in self.absorbed or node in self.result.place
            if not known and not self.virtual(node) and node not in self.done:
                self.statement(node)
        self.groups = self.result.updates
        updates.replace_carried(self, products)

    def inside(self, graph: Graph, replaces: Mapping[Node, Node], prefix: str) -> Lowering:
        """A lowering of the body of a loop, whose names begin with a prefix."""
        result = Lowered(self.dtype, constants=self.result.constants, split=self.result.split)
        return Lowering(graph, replaces, self.sizes, result, self.blas, prefix)

    @property
    def out(self) -> list[str]:
        """Where statements go."""
        return self.group.lines

    @contextmanager
    def grouped(self, node: Node) -> Iterator[Group]:
        """A group for the statements of a value."""
        outer, self.group = self.group, Group(node)
        yield self.group
        group, self.group = self.group, outer
        if group.writes and group.defines and group.split is None and not group.inside:
            self.can_split = False  # one thread would keep the number for itself
        self.groups.append(group)

    def split(self, dim: Dim, index: str) -> None:
        """Let each thread do its own entries along a dimension, over which `index` runs."""
        if self.result.split and (isinstance(dim, int) or dim in self.sizes):
            self.group.split, self.group.index = dim, index

    def read(self, place: str, own: bool = False, straight: bool = False) -> str:
        """Note that the group reads what lies in a place."""
        if place not in self.result.private:
            self.group.reads.append(Read(array_of(place), own, straight))
        return place

    def virtual(self, node: Node) -> bool:
        """Whether a value is never stored: calculated inside the loop that reads it."""
        if node.op.feeds:
            return False
        if node in self.kept:
            return False
        if isinstance(node.op, (Broadcast, Transpose)) or node.op.name == "slice":
            return True
        if isinstance(node.op, (Constant, Size)):
            return True
        if not isinstance(node.op, Elementwise) or node.shape == () or len(self.users[node]) != 1:
            return False
        (user,) = self.users[node]
        if isinstance(user.op, Elementwise) or user.op.name in _STREAMING:
            return True
        if user.op.name in ("sum", "mean"):
            axes = user.op.settings()["axis"]
            # A sum over the batch is a gradient: its operands are kept, to be looked at (`Loop.peek`).
            return 0 not in axes and (bool(axes) or len(node.shape) > 1)
        return False

    # ---- values

    def constant(self, value: float) -> str:
        """The name of a real number in the source."""
        for name, known in self.result.constants.items():
            if repr(known) == repr(value):  # 0.0 is not -0.0
                return name
        name = f"K{len(self.result.constants)}"
        self.result.constants[name] = value
        return name

    def literal(self, value: float, dtype: str) -> str:
        """A number of any type."""
        if dtype in _REAL:
            return self.constant(value)
        return str(value != 0) if dtype == "bool" else str(int(value))

    def value(self, node: Node, index: Index) -> str:
        """The source of one entry of a value; what it needs before goes to `body`."""
        op, place = node.op, self.result.place.get(node)
        if place is not None:
            if not node.shape:
                return place
            own = self.group.split == node.shape[0] and index[0] == self.group.index
            straight = index == tuple(f"i{k}" for k in range(len(index)))
            return f"{self.read(place, own, straight)}[{flat(node.shape, index)}]"
        if isinstance(op, Constant):
            return self.literal(op.value, op.dtype)
        if isinstance(op, Size):
            return f"{'int64' if op.dtype == 'i64' else 'real'}({variable(op.dim)})"
        if isinstance(op, Broadcast):
            return self.value(node.inputs[0], tuple(index[a] for a in op.axes))
        if isinstance(op, Transpose):
            return self.value(node.inputs[0], tuple(index[op.axes.index(i)] for i in range(len(index))))
        if op.name == "slice":
            starts = op.settings()["starts"]
            moved = tuple(f"({i} + {s})" if s else i for i, s in zip(index, starts, strict=True))
            return self.value(node.inputs[0], moved)
        if isinstance(op, Elementwise):
            inputs = [self.value(x, index) for x in node.inputs]
            return entry_of(node, inputs, self.constant, self.temporary)
        self.stored(node)
        return self.value(node, index)

    def entry(self, node: Node, index: Index) -> tuple[list[str], str]:
        """One entry of a value: statements that come before it, and its source."""
        outer, self.body = self.body, []
        code = self.value(node, index)
        lines, self.body = self.body, outer
        return lines, code

    def temporary(self, code: str) -> str:
        """A variable that holds an expression."""
        assert self.body is not None
        name = f"{self.prefix}t{self.temporaries}"
        self.temporaries += 1
        self.body.append(f"{name} = {code}")
        return name

    # ---- statements

    def new_buffer(self, node: Node) -> str:
        """A buffer for a value, which from now on lies there."""
        name = self.target(node)
        if node not in self.ordered:
            self.result.buffers[name] = node.array_type
        self.result.place[node] = name
        self.group.writes.add(array_of(name))
        return name

    def target(self, node: Node) -> str:
        """Where a value goes that is stored."""
        return self.ordered.get(node, self.names[node])

    def scratch(self, name: str, type_: ArrayType) -> str:
        """Memory that only this group uses."""
        self.result.private[name] = type_
        return name

    def new_target(self, node: Node) -> str:
        """A buffer for a value, or a variable for a single number."""
        if node.shape:
            return self.new_buffer(node)
        self.result.place[node] = self.names[node]
        self.group.defines.add(self.names[node])
        return self.names[node]

    def statement(self, node: Node) -> None:
        """Calculate a value and store it."""
        with self.grouped(node):
            self._statement(node)

    def _statement(self, node: Node) -> None:
        op = node.op
        self.done.add(node)
        if isinstance(op, Reshape):
            self._reshape(node)
        elif isinstance(op, Item):
            part = self.parts[node.inputs[0]][op.index]
            assert part is not None
            self.result.place[node] = part
        elif isinstance(op, Elementwise) and node.shape:
            overwritten = self.reused(node)
            if overwritten is None:
                self.elementwise(node, self.target(node))
                self.new_buffer(node)
            else:
                place = self.result.place[overwritten]
                self.elementwise(node, place)
                self.result.place[node] = self.result.place.pop(overwritten)
                self.group.writes.add(array_of(place))
        elif isinstance(op, (Elementwise, Broadcast, Transpose, Constant, Size)) or op.name == "slice":
            self.elementwise(node, self.target(node))
            self.new_target(node)
        elif op.name in LOWERINGS:
            LOWERINGS[op.name](self, node)
        else:
            raise NotLowered(f"{op.name} has no lowering")

    def _reshape(self, node: Node) -> None:
        """The same buffer under another shape; a single number has none."""
        (x,) = node.inputs
        if x.shape and node.shape:
            self.result.place[node] = self.stored(x)
            return
        lines, code = self.entry(x, ("0",) * len(x.shape))
        target = self.new_target(node)
        self.out.extend([*lines, f"{target}{'[0]' if node.shape else ''} = {code}"])

    def stored(self, node: Node) -> str:
        """Where a value lies; it is calculated now if it was not yet."""
        if node not in self.result.place:
            self.statement(node)
        return self.read(self.result.place[node]) if node.shape else self.result.place[node]

    def rows_of(self, node: Node) -> str:
        """Where a value lies; of its first axis, each thread reads its own entries."""
        if node not in self.result.place:
            self.statement(node)
        return self.read(self.result.place[node], own=self.group.split == node.shape[0])

    def reused(self, node: Node) -> Node | None:
        """An operand that only this value reads, entry by entry: its buffer can be written over."""
        if node in self.kept:
            return None
        candidates = list(node.inputs)
        while candidates:
            x = candidates.pop()
            if x in self.kept or x.op.feeds or len(self.users[x]) != 1:
                continue
            if x not in self.result.place:
                if isinstance(x.op, Elementwise):
                    candidates += x.inputs
            elif x.type == node.type and not isinstance(x.op, (Reshape, Item)):  # their buffer is another's
                return x
        return None

    def elementwise(self, node: Node, target: str) -> None:
        """Write every entry of a value to a buffer, or a single number to a variable."""
        index = tuple(f"i{k}" for k in range(len(node.shape)))
        if node.shape:
            self.split(node.shape[0], "i0")
        lines, code = self.entry(node, index)
        here = f"{target}[{flat(node.shape, index)}]" if node.shape else target
        body = [*lines, f"{here} = {code}"]
        if node.shape and not self.out:  # nothing else is in this group
            self.group.loop = node.shape, body
        self.out.extend(over(node.shape, body, self.group))

    def mm(self, target: str, a: str, b: str, sizes: str, usual: str, indent: str = "") -> None:
        """A product of our own; all of them share their scratch memory."""
        panel = self.scratch("panel", ArrayType((PANEL,), self.dtype))
        self.out.append(f"{indent}mm({target}, {a}, {b}, {panel}, {sizes}, {usual})")

    def fill(self, node: Node, target: str, code: str) -> None:
        """Give every entry of a buffer, or a variable, one value."""
        if not node.shape:
            self.out.append(f"{target} = {code}")
            return
        self.out.extend([f"for i in range({variable(size_of(node.shape))}):", f"    {target}[i] = {code}"])

    def loops(self, shape: Iterable[Dim], index: Iterable[str], body: Iterable[str]) -> None:
        """Nested loops over a shape around a body."""
        self.out.extend(loops(shape, index, body, self.group))


def one_real_type(graph: Graph) -> str:
    """The floating-point type of a program; f64 for one without."""
    nodes = list(_all_nodes(graph))
    found = {t.dtype for n in nodes for t in _types(n) if t.dtype in _REAL}
    if len(found) > 1:
        between = next(
            (
                n.op.name
                for n in nodes
                if len({t.dtype for x in (n, *n.inputs) for t in _types(x)} & {*_REAL}) > 1
            ),
            None,
        )
        raise NotLowered(
            "a kernel calculates in one of f32 and f64, this program in both"
            + (f": {between}" if between else "")
        )
    return next(iter(found), "f64")


def _all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a program and of the bodies of its loops."""
    for node in graph.nodes:
        yield node
        body = node.op.settings().get("body")
        if isinstance(body, Graph):
            yield from _all_nodes(body)


def _types(node: Node) -> tuple[ArrayType, ...]:
    return node.type.items if isinstance(node.type, TupleType) else (node.type,)
