"""Loops through a sequence: the body of a `Scan`, lowered by itself, in a loop of the source.

Inside the body, an input that runs along a sequence is a view of it (``x[t*size:]``), a collected value is
written to its place among all that are collected, and carried values are replaced in place at the end of
each turn, as a step replaces its weights (`updates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from backpass.errors import NotLowered
from backpass.exec.compiled.groups import Group, indented, joined, shared_turns
from backpass.exec.compiled.source import variable
from backpass.ir import Graph, Node
from backpass.ir.node import inputs_of
from backpass.ir.tuples import Item
from backpass.ir.types import ArrayType, TupleType, size_of
from backpass.ops import Identity, Reshape, Scan

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowered, Lowering


class Inside(NamedTuple):
    """The body of a loop, as it was lowered and as it is printed."""

    graph: Graph  #: what was lowered of it
    lowered: Lowered
    printed: Graph
    results: Mapping[Node, str]  #: what is carried and collected, by the names of the outputs in print
    time: str  #: in the source, the entry of the sequences
    turn: str  #: and which turn of the loop it is


@dataclass
class _Body:
    """The body of a scan, cut down to what is read of it.

    Each carried or collected value is a node of its own: no input, none that has two tasks, and none that
    lies in the buffer of another.
    """

    graph: Graph
    replaces: dict[Node, Node]
    results: dict[int, Node]  #: what is carried and collected, by its number among the scan's parts


def scan(low: Lowering, node: Node) -> None:
    """A loop of the source around the statements of the body."""
    op, type_ = node.op, node.type
    assert isinstance(op, Scan)
    assert isinstance(type_, TupleType)
    scans = [user for user in low.users[node.inputs[op.carries]] if isinstance(user.op, Scan)]
    most = max((s for s in scans if _does_the_same(s, node)), key=lambda s: len(_outputs(s)))
    if most is not node:  # its parts are the first of the other's
        low.statement(most)
        low.parts[node] = low.parts[most]
        return
    name = low.names[node]
    readers = [user for s in scans if _does_the_same(node, s) for user in low.users[s]]
    read = {user.op.index for user in readers if isinstance(user.op, Item)}
    body = _needed(op, node, read)
    unknown = body.graph.dims - low.graph.dims
    if unknown:
        raise NotLowered(f"scan has a body with a dimension that nothing outside of it has: {min(unknown)}")
    inner = low.inside(body.graph, body.replaces, f"{name}_")
    time = turn = f"{name}_t"
    begin = _given(low, inner, op, node, time)
    length = variable(node.inputs[op.carries].shape[0])
    if op.reverse:
        turn = f"{name}_s"
        begin.insert(0, f"{time} = {length} - 1 - {turn}")

    parts: list[str | None] = [None] * len(type_.items)
    single = []
    for i, out in body.results.items():
        if i < op.carries:
            parts[i] = inner.names[body.replaces[out]]
            continue
        parts[i] = buffer = f"{name}_{i}"
        low.result.buffers[buffer] = type_.items[i]
        low.group.writes.add(buffer)
        if out.shape:
            inner.ordered[out] = _entry(buffer, time, type_.items[i])
        else:
            single.append((buffer, out))
    inner.run()
    result = inner.result
    end = Group(lines=[f"{buffer}[{time}] = {result.place[out]}" for buffer, out in single])
    end.writes.update(buffer for buffer, _ in single)
    turns = joined([*result.groups, end, *result.updates])
    if result.split:
        turns = joined(shared_turns(turns))
        low.can_split &= inner.can_split
    head = Group(lines=[f"for {turn} in range({length}):"], note="for each entry of the sequences")
    low.group.inside = [Group(node, list(low.out)), head, *map(indented, [Group(lines=begin), *turns])]
    low.out[:] = [line for group in low.group.inside for line in group.lines]

    low.parts[node] = parts
    low.result.buffers |= result.buffers
    low.result.private |= result.private
    outputs = list(op.body.outputs)
    results = {out: outputs[i] for i, out in body.results.items()}
    low.result.bodies[node] = Inside(body.graph, result, op.body, results, time, turn)


def _outputs(node: Node) -> list[Node]:
    assert isinstance(node.op, Scan)
    return list(node.op.body.outputs.values())


def _does_the_same(other: Node, node: Node) -> bool:
    """Whether another scan calculates all that this one does, and perhaps more.

    A backward pass has the forward loop again, to keep what was carried into each turn.
    """
    assert isinstance(other.op, Scan)
    assert isinstance(node.op, Scan)
    same = replace(other.op, body=node.op.body) == node.op and other.inputs == node.inputs
    return same and _outputs(other)[: len(_outputs(node))] == _outputs(node)


def _needed(op: Scan, node: Node, read: set[int]) -> _Body:
    """What of the body has to be calculated, where these parts of the scan are read."""
    outputs = _outputs(node)
    inputs = [op.body_input(i, x) for i, x in enumerate(node.inputs)]
    needed: set[int] = set()
    more = read
    while more - needed:
        needed |= more
        reached = set(inputs_of([outputs[i] for i in needed]))
        more = {i for i in range(op.carries) if inputs[i] in reached}

    tasks = [outputs[i] for i in needed]
    results: dict[str, Node] = {}
    taken = {*op.body.named, *op.names}
    for i in sorted(needed):
        out = outputs[i]
        read_again = i < op.carries and op.body.users[out]
        if out.op.feeds or isinstance(out.op, (Reshape, Item)) or tasks.count(out) > 1 or read_again:
            out = Identity()(out)
        key = f"part{i}"
        while key in taken:
            key += "_"
        results[key] = out
    made = dict(zip(sorted(needed), results.values(), strict=True))
    replaces = {out: inputs[i] for i, out in made.items() if i < op.carries}
    reached = set(inputs_of(results.values()))
    kept = {str(old.name): old for old in replaces.values() if old not in reached}
    return _Body(Graph(results | kept), replaces, made)


def _given(low: Lowering, inner: Lowering, op: Scan, node: Node, time: str) -> list[str]:
    """Tell the body where its inputs lie; the statements that each turn begins with."""
    turn = []
    for i, x in enumerate(node.inputs):
        old = inner.graph.inputs.get(op.names[i])
        if old is None:
            continue
        name = inner.names[old]
        if i < op.carries:
            with low.grouped(node) as group:
                low.elementwise(x, name)
                (group.writes if x.shape else group.defines).add(name)
            if x.shape:
                low.result.buffers[name] = x.array_type
                low.group.writes.add(name)
            else:
                low.group.defines.add(name)
        elif i >= op.carries + op.sequences:
            if x.shape:
                inner.result.place[old] = low.stored(x)
            else:
                lines, code = low.entry(x, ())
                low.out.extend([*lines, f"{name} = {code}"])
        elif old.shape:
            inner.result.place[old] = _entry(low.stored(x), time, x.array_type)
        else:
            turn.append(f"{name} = {low.stored(x)}[{time}]")
    return turn


def _entry(place: str, time: str, type_: ArrayType) -> str:
    """One entry of a sequence, and those that follow it."""
    return f"{place}[{time}*{variable(size_of(type_.shape[1:]))}:]"
