"""Lowering: a Graph as the source of one native function.

Elementwise chains are fused into the loop that needs them; bias and activation are applied in the buffer of
the product before them; the update of a weight is accumulated by the product itself (``beta = 1``); carried
values are replaced in place, last. Each value keeps its own buffer unless it is overwritten by its only
reader, so that after a step the operands of every update can still be read (`Loop.peek`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backpass.errors import NotLowered
from backpass.exec.compiled.lowerings import LOWERINGS
from backpass.exec.compiled.source import Index, flat, variable
from backpass.ir import ArrayType, Elementwise, Graph, Node
from backpass.ir.trace import Expr, traced
from backpass.ir.types import Shape, bind_dim, size_of
from backpass.ops import (
    Broadcast,
    Constant,
    MatMul,
    Mean,
    Reshape,
    Size,
    Sum,
    Transpose,
)
from backpass.passes import Term, linear_terms


@dataclass(eq=False)
class Lowered:
    """The body of a kernel.

    Attributes
    ----------
    lines : list of str
        Statements, indented from 0.
    updates : list of str
        Statements that replace carried values; they come after the watched value was checked.
    buffers : dict of str to ArrayType
        The arrays that the statements write to, besides the inputs.
    place : dict of Node to str
        Where a value lies after the statements have run: a buffer, an input or a scalar.
    constants : dict of str to float
        Numbers by the name that they have in the source.
    """

    lines: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    buffers: dict[str, ArrayType] = field(default_factory=dict)
    place: dict[Node, str] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)


def lower(graph: Graph, in_place: bool, sizes: Mapping[str, int]) -> Lowered:
    """Lower a program.

    Parameters
    ----------
    graph : Graph
        Every output is needed.
    in_place : bool
        Replace carried inputs by the outputs that `graph.carry` names.
    sizes : mapping of str to int
        How large the named dimensions usually are. Kernels take any size; this chooses between products.

    Raises
    ------
    NotLowered
        The program has an op, a dtype or a shape that has no lowering; the message names it.
    """
    return Lowering(graph, in_place, sizes).result


def prefers_blas(m: int, n: int, k: int, dtype: str) -> bool:
    """Whether (m, k) @ (k, n) is large enough for BLAS to win over our own product.

    Measured on a processor with AVX2: at 784 x 300 x 64 our own still wins, at 1024 x 1024 x 128 BLAS does.
    """
    return m * n * k * (2 if dtype == "f64" else 1) >= 1 << 24


class Lowering:
    """One lowering under way."""

    def __init__(self, graph: Graph, in_place: bool, sizes: Mapping[str, int]) -> None:
        self.graph, self.users, self.sizes = graph, graph.users, sizes
        self.result = Lowered()
        self.out = self.result.lines
        self.kept = set(graph.outputs.values())
        self.replaces = (
            {graph.outputs[new]: graph.inputs[old] for new, old in graph.carry.items()} if in_place else {}
        )
        self.dtype = self._one_dtype()
        self.names = self._buffer_names()
        self.absorbed: set[Node] = set()
        self.done: set[Node] = set()
        self.result.place.update({n: self.names[n] for n in graph.nodes if n.op.feeds})
        products = {node: found for node in self.replaces if (found := self._product_update(node))}
        order = [n for n in graph.nodes if n not in self.replaces]
        for node in order:
            if (
                not node.op.feeds
                and node not in self.absorbed
                and not self.virtual(node)
                and node not in self.done
            ):
                self.statement(node)
        self.out = self.result.updates
        self._replace_carried(products)

    # ---- analysis

    def _one_dtype(self) -> str:
        kinds = {n.type.dtype for n in self.graph.nodes if isinstance(n.type, ArrayType)}
        if len(kinds) != 1 or kinds - {"f32", "f64"}:
            raise NotLowered(f"a kernel calculates in one of f32 and f64, this program in {sorted(kinds)}")
        for n in self.graph.nodes:
            if not isinstance(n.type, ArrayType):
                raise NotLowered(f"{n.op.name} gives a tuple, which has no lowering yet")
        return kinds.pop()

    def _buffer_names(self) -> dict[Node, str]:
        """Names of our own making: nothing of a file's text reaches the source."""
        return {n: f"{'in' if n.op.feeds else 'v'}{i}" for i, n in enumerate(self.graph.nodes)}

    def virtual(self, node: Node) -> bool:
        """Whether a value is never stored: calculated inside the loop that reads it."""
        if node.op.feeds:
            return False
        if isinstance(node.op, (Broadcast, Transpose)):
            return node not in self.kept
        if node in self.kept or not isinstance(node.op, Elementwise) or node.shape == ():
            return False
        if len(self.users[node]) != 1:
            return False
        (user,) = self.users[node]
        if isinstance(user.op, Elementwise):
            return True
        return isinstance(user.op, (Sum, Mean)) and 0 not in (user.op.axis or (0,))

    def _product_update(self, root: Node) -> tuple[str, Node, str, Node] | None:
        """Match ``new = beta * old + alpha * (a @ b)``: what one gemm does in place.

        Gives beta and alpha as source, the old value and the product.
        """
        terms, inside = linear_terms(root, lambda n: len(self.users[n]) == 1 and n not in self.kept)
        old = self.replaces[root]
        base = [t for t in terms if t.value is old]
        products = [t for t in terms if isinstance(t.value.op, MatMul) and t.value in inside]
        if len(terms) != 2 or len(base) != 1 or len(products) != 1:
            return None
        self.absorbed.update(inside)
        return self._factor(base[0]), old, self._factor(products[0]), products[0].value

    def _factor(self, term: Term) -> str:
        product = "*".join(self.value(f, ()) for f in term.factors) or self.constant(1.0)
        return f"-({product})" if term.negative else product

    # ---- values

    def constant(self, value: float) -> str:
        for name, known in self.result.constants.items():
            if known == value or (known != known and value != value):
                return name
        name = f"K{len(self.result.constants)}"
        self.result.constants[name] = value
        return name

    def value(self, node: Node, index: Index) -> str:
        """The source of one entry of a value."""
        op = node.op
        if isinstance(op, Constant):
            return self.constant(op.value)
        if isinstance(op, Size):
            return f"real({variable(op.dim)})"
        if node in self.result.place:
            place = self.result.place[node]
            return place if node.shape == () else f"{place}[{flat(node.shape, index)}]"
        if isinstance(op, Broadcast):
            return self.value(node.inputs[0], tuple(index[a] for a in op.axes))
        if isinstance(op, Transpose):
            return self.value(node.inputs[0], tuple(index[op.axes.index(i)] for i in range(len(index))))
        if isinstance(op, Elementwise):
            return self.scalar_code(node, [self.value(x, index) for x in node.inputs])
        raise NotLowered(f"{op.name} has no lowering")

    def scalar_code(self, node: Node, inputs: list[str]) -> str:
        """An elementwise op's own forward rule, on scalars."""
        names, rule = traced(node.op)
        given = dict(zip(names, inputs, strict=True))

        def code(e: Expr) -> str:
            if e.function == "name":
                return given[e.arguments[0]]
            if e.function == "number":
                return self.constant(float(e.arguments[0]))
            arguments = [code(a) for a in e.arguments]
            if e.function in "+-*/":
                return f"({arguments[0]} {e.function} {arguments[1]})"
            if e.function == "neg":
                return f"(-{arguments[0]})"
            if e.function == ">":
                return f"({self.constant(1.0)} if {arguments[0]} > {arguments[1]} else {self.constant(0.0)})"
            if e.function == "maximum":
                a, b = arguments
                return f"({b} if {a} < {b} or {b} != {b} else {a})"
            if e.function in ("exp", "tanh", "log", "log1p", "abs"):
                return f"{e.function}({arguments[0]})"
            raise NotLowered(f"{node.op.name} calls {e.function}, which has no lowering")

        return code(rule)

    # ---- statements

    def new_buffer(self, node: Node) -> str:
        name = self.names[node]
        self.result.buffers[name] = node.array_type
        return name

    def statement(self, node: Node) -> None:
        """The loop that calculates a stored value."""
        op = node.op
        self.done.add(node)
        if isinstance(op, (Constant, Size)):
            return
        if node.shape == () and isinstance(op, Elementwise):
            self.out.append(f"{self.names[node]} = {self.value(node, ())}")
            self.result.place[node] = self.names[node]
        elif isinstance(op, (Elementwise, Broadcast, Transpose)):
            overwritten = self.reused(node)
            self.elementwise(node, self.result.place[overwritten] if overwritten else self.new_buffer(node))
            if overwritten:
                del self.result.place[overwritten]
        elif isinstance(op, Reshape):
            self.stored(node.inputs[0])
            self.result.place[node] = self.result.place[node.inputs[0]]
        elif type(op) in LOWERINGS:
            LOWERINGS[type(op)](self, node)
        else:
            raise NotLowered(f"{op.name} has no lowering")

    def stored(self, node: Node) -> str:
        """The buffer of a value that must have one."""
        if node not in self.result.place:
            if isinstance(node.op, (Constant, Size)):
                raise NotLowered(f"a bare number as the operand of {self.users[node][0].op.name}")
            self.elementwise(node, self.new_buffer(node))
        return self.result.place[node]

    def reused(self, node: Node) -> Node | None:
        """An operand that only this value reads, entry by entry: its buffer can be written over."""
        if node in self.kept:
            return None
        candidates = list(node.inputs) if isinstance(node.op, Elementwise) else []
        while candidates:
            x = candidates.pop()
            if x not in self.result.place and isinstance(x.op, Elementwise):
                candidates += x.inputs
            elif (
                x in self.result.place
                and not x.op.feeds
                and x not in self.kept
                and x.shape == node.shape
                and len(self.users[x]) == 1
                and not isinstance(x.op, Reshape)
                and not any(isinstance(u.op, (Broadcast, Transpose, Reshape)) for u in self.users[x])
            ):
                return x
        return None

    def elementwise(self, node: Node, target: str) -> None:
        index = tuple(f"i{k}" for k in range(len(node.shape)))
        code = (
            self.scalar_code(node, [self.value(x, index) for x in node.inputs])
            if isinstance(node.op, Elementwise)
            else self.value(node, index)
        )
        if node.shape == ():
            self.out.append(f"{target} = {code}")
        else:
            self.loops(node.shape, index, [f"{target}[{flat(node.shape, index)}] = {code}"])
        self.result.place[node] = target

    def loops(self, shape: Shape, index: Index, body: Iterable[str]) -> None:
        """Nested loops over a shape around a body."""
        for k, (i, dim) in enumerate(zip(index, shape, strict=True)):
            self.out.append(f"{'    ' * k}for {i} in range({variable(dim)}):")
        self.out.extend("    " * len(index) + line for line in body)

    def product(self, target: str, node: Node, alpha: str, beta: str) -> None:
        """``target ← alpha a @ b + beta target``, rows first."""
        a, b = node.inputs
        (a_buffer, a_turned), (b_buffer, b_turned) = self.operand(a), self.operand(b)
        m, k, n = a.shape[0], a.shape[1], b.shape[1]
        m_, n_, k_ = variable(m), variable(n), variable(k)
        one, zero = self.constant(1.0), self.constant(0.0)
        rows, columns, depth = (bind_dim(d, self.sizes) for d in (m, n, k))
        if prefers_blas(rows, columns, depth, self.dtype):
            # BLAS thinks in columns, so it is told the transposes of everything, in the other order.
            shape = f"{b_turned:d}, {a_turned:d}, {n_}, {m_}, {k_}"
            given = f"{b_buffer}, {k_ if b_turned else n_}, {a_buffer}, {m_ if a_turned else k_}"
            self.out.append(f"gemm({shape}, {alpha}, {given}, {beta}, {target}, {n_})")
            return
        if b_turned or alpha != one:  # our own product wants b in rows, and takes no factor
            copy = f"{target}_b{len(self.result.buffers)}"
            self.result.buffers[copy] = ArrayType((k, n), self.dtype)
            entry = f"{b_buffer}[j*{k_} + i]" if b_turned else f"{b_buffer}[i*{n_} + j]"
            factor = "" if alpha == one else f"{alpha} * "
            self.out += [
                f"for i in range({k_}):",
                f"    for j in range({n_}):",
                f"        {copy}[i*{n_} + j] = {factor}{entry}",
            ]
            b_buffer = copy
        if beta != one:
            scaled = zero if beta == zero else f"{beta} * {target}[i]"
            self.out += [f"for i in range({m_}*{n_}):", f"    {target}[i] = {scaled}"]
        strides = f"1, {m_}" if a_turned else f"{k_}, 1"
        self.out.append(f"mm({target}, {a_buffer}, {b_buffer}, {m_}, {n_}, {k_}, {strides})")

    def operand(self, node: Node) -> tuple[str, bool]:
        """The buffer of a matrix, and whether it holds the transpose."""
        if isinstance(node.op, Transpose) and node not in self.result.place:
            return self.stored(node.inputs[0]), True
        return self.stored(node), False

    # ---- carried values

    def _replace_carried(self, products: Mapping[Node, tuple[str, Node, str, Node]]) -> None:
        """Write each new carried value over the old one, in program order.

        Where a later one still reads an old value, that value is written aside first.
        """
        order = sorted(self.replaces, key=lambda n: n.serial)
        reads = [self._reads(n) for n in order]
        copies: list[tuple[Node, str]] = []
        for i, node in enumerate(order):
            old = self.replaces[node]
            target = self.names[old]
            aside = any(old in r for r in reads[i + 1 :])
            if aside:
                if node.shape == ():
                    raise NotLowered(f"{old.name} is replaced before its last use")
                self.result.buffers[f"aside{i}"] = node.array_type
                target = f"aside{i}"
            if node in products and not aside:
                beta, _, alpha, product = products[node]
                self.product(target, product, alpha, beta)
            elif node in self.result.place or node.op.feeds:
                self._copy(node.shape, target, self.result.place[node])
            elif isinstance(node.op, (Elementwise, Broadcast, Transpose)):
                if node in products:  # the product was left to the gemm that cannot be used here
                    _, _, _, product = products[node]
                    self.product(self.new_buffer(product), product, self.constant(1.0), self.constant(0.0))
                    self.result.place[product] = self.names[product]
                self.elementwise(node, target)
            else:
                self.statement(node)
                self._copy(node.shape, target, self.result.place[node])
            if aside:
                copies.append((node, target))
            self.result.place[node] = target
        for node, buffer in copies:
            self._copy(node.shape, self.names[self.replaces[node]], buffer)
        for node in order:
            self.result.place[node] = self.names[self.replaces[node]]

    def _copy(self, shape: Shape, target: str, source: str) -> None:
        if target == source:
            return
        if shape == ():
            self.out.append(f"{target} = {source}")
            return
        self.out += [f"for i in range({variable(size_of(shape))}):", f"    {target}[i] = {source}[i]"]

    def _reads(self, root: Node) -> set[Node]:
        """The stored values that calculating a carried output reads, through what is not stored."""
        found: set[Node] = set()
        stack = list(root.inputs)
        while stack:
            node = stack.pop()
            found.add(node)
            stored = node in self.result.place or node in self.replaces
            if not stored or node in self.absorbed:
                stack.extend(node.inputs)
        return found
