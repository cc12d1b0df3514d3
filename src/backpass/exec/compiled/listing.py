"""The lowered source of a step in print, each part under the lines of the program that it calculates.

The source itself has no name of a program in it; they stand here only, in comments.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from backpass.exec.compiled.executor import CompiledLoop
from backpass.exec.compiled.groups import Group
from backpass.exec.compiled.lower import Lowered
from backpass.ir import Graph, Node
from backpass.ir.text import Line, Style, ascii_name, lines
from backpass.ir.tuples import Item

_WIDTH = 100
_STEP = "    "
_PRODUCTS = {
    "mm": "C = alpha A B + beta C by a product of our own: C, A, B, scratch, m, n, k, ..., alpha, beta, ...",
    "gemm": "C = alpha A B + beta C by BLAS: C, A, B, m, n, k, ..., alpha, beta",
}
_MEMORY = {
    "held": "weights and what else is held", "rows": "the rows of a batch", "values": "values",
    "scratch": "scratch for each thread",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Statements that belong together.

    Attributes
    ----------
    program : tuple of str
        The lines of the program that they calculate; none where they calculate no value.
    note : str
        What they are for, where that is not said by `program`.
    source : tuple of str
        None where a value needs no statement.
    """

    program: tuple[str, ...]
    note: str
    source: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """A kernel in print.

    Attributes
    ----------
    dtype : {"f32", "f64"}
        What `real` is.
    batch, threads : int
        Rows of the largest batch, and among how many threads a step is divided at the most.
    split : bool
        Whether the source is written for more than one thread.
    mm, gemm : tuple of str
        The values whose matrix products are our own, and those that BLAS calculates.
    blas : str
    memory : dict of str to int
        Bytes: what is "held" from step to step, the "rows" of a batch, "values", and "scratch", which each
        thread has.
    names : dict of str to str
        What the names of the source mean.
    arguments : tuple of str
    blocks : tuple of Block
    """

    dtype: str
    batch: int
    threads: int
    split: bool
    mm: tuple[str, ...]
    gemm: tuple[str, ...]
    blas: str
    memory: dict[str, int]
    names: dict[str, str]
    arguments: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def source(self) -> str:
        """What the compiler reads."""
        return "\n".join(line for block in self.blocks for line in block.source) + "\n"

    def __str__(self) -> str:
        told = "Comments have the names of the program. The source has names of its own:"
        head = [*self._facts(), "", told, "", *self._names(), ""]
        printed = [f"# {line}".rstrip() for line in head]
        signature = textwrap.wrap(", ".join(self.arguments), _WIDTH - len(_STEP), break_on_hyphens=False)
        printed += ["def kernel(", *(_STEP + line for line in signature), "):"]
        for block in self.blocks:
            first = block.source[0] if block.source else _STEP
            indent = _STEP + first[: len(first) - len(first.lstrip())]
            printed += [f"{indent}# {line}" for line in block.program]
            printed += [f"{indent}# {block.note}"] if block.note else []
            printed += [_STEP + line for line in block.source]
        return "\n".join(printed)

    def _facts(self) -> Iterator[str]:
        most = "one" if self.threads == 1 else f"up to {self.threads}"
        threads = f"divided among threads, here {most}" if self.split else "for one thread"
        yield f"Source of the compiled executor, {threads}."
        yield f"Numbers are {self.dtype} (real); a batch has up to {self.batch:,} rows."
        for products, by in ((self.mm, "of our own (mm)"), (self.gemm, f"by BLAS (gemm: {self.blas})")):
            yield from textwrap.wrap(f"Products {by}: {', '.join(products) or 'none'}.", _WIDTH)
        sizes = ", ".join(f"{self.memory[key]:,} for {what}" for key, what in _MEMORY.items())
        yield from textwrap.wrap(f"Bytes of memory: {sizes}.", _WIDTH)

    def _names(self) -> Iterator[str]:
        width = max(len(name) for name in self.names)
        for name, meaning in self.names.items():
            yield f"{name:<{width}}  {meaning}"


def without_data(step: Graph, batch: int, watch: str = "C") -> CompiledLoop:
    """The loop of a step that is not compiled and has no rows: to be looked at.

    Raises
    ------
    NotLowered
        The step has something that cannot be compiled; the message names it.
    """
    rows = {
        name: np.zeros((0, *(d if isinstance(d, int) else 0 for d in n.shape[1:])), n.array_type.numpy_dtype)
        for name, n in step.inputs_of_kind("data").items()
    }
    return CompiledLoop(step, rows, batch, watch)


def listing(loop: CompiledLoop, style: Style = "python") -> Listing:
    """The source of a loop with the program that it came from.

    Parameters
    ----------
    loop : CompiledLoop
        It need not have been compiled.
    style : {"python", "ascii"}
        How names of the program are spelled.

    Examples
    --------
    >>> from backpass.ops import Mean, data, number, parameter
    >>> x, w = data("x", "f64[B,3]"), parameter("w", "f64[3]")
    >>> step = Graph({"C": Mean()(x), "w_new": w - number("lr", "f64") * w}, {"w_new": "w"})
    >>> block = listing(without_data(step, 32)).blocks[-2]
    >>> print("\\n".join([*block.program, *block.source]))
    w_new = w - lr * w
        for i0 in range(3):
            in1[i0] = (in1[i0] - (in3 * in1[i0]))
    """
    return _Writer(loop, style).listing()


class _Scope:
    """A program that a part of the source came from: that of the step, or the body of a loop.

    Parameters
    ----------
    graph : Graph
        What was lowered.
    lowered : Lowered
    lines : list of Line
        The program as it is printed.
    copies : mapping of Node to str
        Values that only the lowered program has, and the names of the lines that they belong to.
    groups : list of Group
    suffix : str
        What is said after a name, to tell where it is from.
    """

    def __init__(
        self,
        graph: Graph,
        lowered: Lowered,
        lines: list[Line],
        copies: Mapping[Node, str],
        groups: Iterable[Group],
        suffix: str = "",
    ) -> None:
        self.graph, self.lowered, self.place, self.suffix = graph, lowered, lowered.place, suffix
        self.by_node: dict[Node, Line] = {}
        for line in lines:
            self.by_node.setdefault(line.node, line)
        by_name = {line.name: line for line in lines}
        for node, name in copies.items():
            self.by_node.setdefault(node, by_name[name])
        self.order = {line.name: k for k, line in enumerate(lines)}
        self.groups = list(groups)
        self.grouped = {n for g in self.groups for n in (g.node, *g.others) if n is not None}

    def line_of(self, node: Node) -> Line:
        """The line of the program that a value is on: its own, or the first that contains it."""
        while node not in self.by_node:
            node = self.graph.users[node][0]
        return self.by_node[node]

    def name_of(self, node: Node) -> str:
        return self.line_of(node).name + self.suffix

    def results(self, group: Group) -> list[Node]:
        """The values that a group stores."""
        found = [n for n in (group.node, *group.others) if n is not None]
        # A loss and the softmax of the same scores are calculated together.
        with_it = [n for n, at in self.place.items() if at in group.writes and n.inputs]
        return found + [n for n in with_it if n not in self.grouped]

    def inside(self, results: Iterable[Node]) -> list[Node]:
        """Values with those that are calculated on the way and not stored."""
        found = dict.fromkeys(results)
        stack = list(found)
        while stack:
            for x in stack.pop().inputs:
                if x not in found and x not in self.grouped and x not in self.place and x.inputs:
                    found[x] = None
                    stack.append(x)
        return list(found)


class _Writer:
    def __init__(self, loop: CompiledLoop, style: Style) -> None:
        self.loop, self.style = loop, style
        # What is carried can be a copy that the loop makes; then the line is that of the output.
        new, cut = {old: name for name, old in loop.step.carry.items()}, loop.cut
        copies = {cut.outputs[name]: self.spell(new[old]) for name, old in cut.carry.items()}
        self.step = _Scope(cut, loop.lowered, lines(loop.step, style), copies, loop.groups())
        self.groups = list(self.flat(self.step, self.step.groups))

    def flat(self, scope: _Scope, groups: Iterable[Group]) -> Iterator[tuple[_Scope, Group]]:
        """The groups, those inside of loops too, and the programs that they belong to."""
        for group in groups:
            if not group.inside:
                yield scope, group
                continue
            assert group.node is not None
            body, (start, *inside) = scope.lowered.bodies[group.node], group.inside
            yield scope, start
            inner = _Scope(
                body.graph,
                body.lowered,
                lines(body.printed, self.style),
                {node: self.spell(name) for node, name in body.results.items()},
                inside,
                f" in {scope.name_of(group.node)}",
            )
            yield from self.flat(inner, inside)

    def listing(self) -> Listing:
        loop, blocks = self.loop, list[Block]()
        products: dict[str, dict[str, None]] = {name: {} for name in _PRODUCTS}
        for scope, group in self.groups:
            results = scope.results(group)
            values = scope.inside(results)
            found = {scope.line_of(n) for n in (*results, *(n for n in values if n in scope.by_node))}
            program = tuple(map(str, sorted(found, key=lambda line: scope.order[line.name])))
            for name, by in products.items():
                if any(line.lstrip().startswith(f"{name}(") for line in group.lines):
                    by |= {scope.name_of(n): None for n in values if n.op.name == "matmul"}
            before = blocks[-1] if blocks else None
            if program and before is not None and before.program == program and before.source and group.lines:
                blocks[-1] = Block(program, "", (*before.source, *group.lines))
            elif program or group.lines:
                note = group.note if group.lines else "(no statement: the same memory)"
                blocks.append(Block(program, note, tuple(group.lines)))
        words = set(re.findall(r"\w+", loop.source)) | {a.name for a in loop.arguments}
        return Listing(
            dtype=loop.lowered.dtype,
            batch=loop.batch,
            threads=loop.threads,
            split=loop.lowered.split,
            mm=tuple(products["mm"]),
            gemm=tuple(products["gemm"]),
            blas=f"{loop.blas.name} {loop.blas.version}",
            memory=self.memory(),
            names={name: meaning for name, meaning in self.names() if name in words},
            arguments=tuple(a.name for a in loop.arguments),
            blocks=tuple(blocks),
        )

    def spell(self, name: str) -> str:
        return ascii_name(name) if self.style == "ascii" else name

    # ---- names and memory

    def memory(self) -> dict[str, int]:
        loop = self.loop
        names = {
            "held": [f"held {k}" for k in loop.held],
            "rows": loop.batches,
            "values": loop.lowered.buffers,
        }
        sizes = {what: sum(loop.memory[k].nbytes for k in keys) for what, keys in names.items()}
        dims = {loop.dim: loop.batch}
        return sizes | {"scratch": sum(t.bind(dims).nbytes for t in loop.lowered.private.values())}

    def names(self) -> Iterator[tuple[str, str]]:
        """What each name of the source means."""
        loop, dim, place = self.loop, self.loop.dim, self.step.place
        for name, node in loop.data_inputs.items():
            yield f"d_{place[node]}", f"{self.spell(name)}, all rows of the data"
        for name, node in loop.data_inputs.items():
            yield place[node], f"{self.spell(name)}  {node.type}"
        for name, node in loop.kept.items():
            at, single = f"in{loop.cut.nodes.index(node)}", node.shape == ()
            yield at, f"{self.spell(name)}  {node.type}"
            if single:
                yield f"c_{at}", f"{self.spell(name)}, from call to call"
        for name, node in loop.numbers.items():
            if node in place:
                yield place[node], f"{self.spell(name)}  {node.type}"
        held = {f"in{loop.cut.nodes.index(n)}" for n in loop.kept.values()}
        at_place: dict[str, dict[str, None]] = {}
        for scope in dict.fromkeys(scope for scope, _ in self.groups):
            for node, at in scope.place.items():
                if at not in held and (node.inputs or scope is not self.step):
                    at_place.setdefault(at, {})[f"{self.called(scope, node)}  {node.type}"] = None
            for node, body in scope.lowered.bodies.items():
                yield body.time, f"which entry of its sequences {scope.name_of(node)} is at"
                yield body.turn, "how many entries it has done"
        for at, values in at_place.items():
            yield at, ", ".join(values)
        for name, type_ in loop.lowered.buffers.items():
            if name not in at_place:
                yield name, f"a new value, while others still read the old one  {type_}"
        for name, type_ in loop.lowered.private.items():
            yield name, f"scratch, for each thread its own  {type_}"
        yield from ((name, repr(value)) for name, value in loop.lowered.constants.items())
        yield f"n_{dim}", "how many rows the batch has"
        for _, group in self.groups:
            if group.split is not None:
                what = "the rows of the batch" if group.split == dim else f"entries 0 to {group.split}"
                yield f"from_{group.split}", f"where this thread begins with {what}"
                yield f"to_{group.split}", "and where it ends"
        yield "order", "row numbers of the data"
        yield "starts", "step s takes the rows order[starts[s]:starts[s + 1]]"
        yield "numbers", f"of each step: {', '.join(map(self.spell, loop.numbers)) or 'none'}"
        yield "watched", f"{self.spell(loop.watch)} of each step"
        yield "sync", "where threads meet"
        yield "steps", "how many steps"
        yield "thread", "which of the threads this is"
        yield "threads", "how many there are"
        yield from _PRODUCTS.items()

    def called(self, scope: _Scope, node: Node) -> str:
        """What a value is called in the program."""
        if not node.inputs:
            return self.spell(str(node.name)) + scope.suffix
        name = scope.name_of(node)
        if scope.line_of(node).node is node:
            return name
        if isinstance(node.op, Item):
            return f"{scope.name_of(node.inputs[0])}[{node.op.index}]"
        return f"part of {name}"
