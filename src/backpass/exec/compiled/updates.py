"""Carried values: what replaces them, in place, at the end of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from backpass.exec.compiled.contractions import product
from backpass.exec.compiled.source import variable
from backpass.ir import Elementwise, Graph, Node
from backpass.ir.types import size_of
from backpass.ops import Broadcast, Identity, MatMul, Reshape, Transpose
from backpass.passes import Term, linear_terms

if TYPE_CHECKING:
    from backpass.exec.compiled.lower import Lowering


def carried_only(step: Graph, watch: str) -> Graph:
    """The part of a step that a loop calculates: what is carried, and the watched value.

    Each carried output becomes a node that nothing else is: no input, and no output under two names. An
    input that is carried without being needed is an output, so that the loop keeps it.
    """
    outputs: dict[str, Node] = {}
    carry: dict[str, str] = {}
    taken = set(step.named) | set(step.outputs)
    seen: set[Node] = set()
    for new, old in step.carry.items():
        node, name = step.outputs[new], new
        if not node.inputs or node in seen:
            node = Identity()(node)
            while name in taken:
                name += "_"
            taken.add(name)
        seen.add(node)
        outputs[name], carry[name] = node, old
    outputs[watch] = step[watch]
    cut = Graph(outputs)
    unread = [old for old in carry.values() if old not in cut.inputs]
    return Graph(outputs | {old: step.inputs[old] for old in unread}, carry, step.origins)


class ProductUpdate(NamedTuple):
    """``new = beta * old + alpha * (a @ b)``: what one product does in place."""

    beta: Term
    alpha: Term
    product: Node


def products_in_updates(low: Lowering) -> dict[Node, ProductUpdate]:
    """The carried outputs that accumulate a product; what lies between is marked as absorbed."""
    found = {}
    for root, old in low.replaces.items():
        terms, inside = linear_terms(root, lambda n: len(low.users[n]) == 1 and n not in low.kept)
        base = [t for t in terms if t.value is old]
        products = [t for t in terms if _is_product(t.value) and t.value in inside]
        if len(terms) == 2 and len(base) == len(products) == 1:
            low.absorbed.update(inside)
            found[root] = ProductUpdate(base[0], products[0], products[0].value)
    return found


def _is_product(node: Node) -> bool:
    return isinstance(node.op, MatMul) and len(node.shape) == 2 and node.dtype in ("f32", "f64")


def _factor(low: Lowering, term: Term) -> str:
    codes = []
    for factor in term.factors:
        lines, code = low.entry(factor, ())
        low.out.extend(lines)
        codes.append(code)
    together = "*".join(codes) or low.constant(1.0)
    return f"-({together})" if term.negative else together


def replace_carried(low: Lowering, products: Mapping[Node, ProductUpdate]) -> None:
    """Write each new carried value over the old one, in program order.

    Where a later one still reads an old value, the new value is written aside first.
    """
    order = sorted(low.replaces, key=lambda n: n.serial)
    place, reads = low.result.place, [_reads(low, n) for n in order]
    copies: list[tuple[Node, str]] = []
    for i, node in enumerate(order):
        old = low.replaces[node]
        target = low.names[old]
        aside = any(old in r for r in reads[i + 1 :]) or _disturbs(low, node, old)
        with low.grouped(node) as group:
            if aside:
                target = f"{low.prefix}aside{i}"
                copies.append((node, target))
                if node.shape:
                    low.result.buffers[target] = node.array_type
            (group.writes if node.shape else group.defines).add(target)
            _replace(low, node, target, None if aside else products.get(node))
        place[node] = target
    for node, buffer in copies:
        with low.grouped(node) as group:
            target = low.names[low.replaces[node]]
            (group.writes if node.shape else group.defines).add(target)
            _copy(low, node, target, buffer)
    for node in order:
        place[node] = low.names[low.replaces[node]]


def _replace(low: Lowering, node: Node, target: str, update: ProductUpdate | None) -> None:
    """Write a carried value to where it belongs."""
    place = low.result.place
    if update is not None and node not in place:
        codes = _factor(low, update.alpha), _factor(low, update.beta)
        product(low, target, update.product, *codes)
    elif node in place:
        _copy(low, node, target, place[node])
    elif _is_product(node):  # where it reads the old value, the target is aside
        product(low, target, node, low.constant(1.0), low.constant(0.0))
    elif isinstance(node.op, (Elementwise, Broadcast, Transpose)) or node.op.name == "slice":
        low.elementwise(node, target)
    else:
        low.statement(node)
        _copy(low, node, target, place[node])


def _copy(low: Lowering, node: Node, target: str, source: str) -> None:
    if not node.shape:
        low.out.append(f"{target} = {source}")
        return
    low.read(source)
    low.out.extend([f"for i in range({variable(size_of(node.shape))}):", f"    {target}[i] = {source}[i]"])


def _reads(low: Lowering, root: Node) -> set[Node]:
    """The stored values that calculating a carried output reads, through what is not stored."""
    found: set[Node] = set()
    stack = list(root.inputs)
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found.add(node)
        stored = node in low.result.place or node in low.replaces
        # The buffer of a Reshape is that of its input.
        if not stored or node in low.absorbed or isinstance(node.op, Reshape):
            stack.extend(node.inputs)
    return found


def _disturbs(low: Lowering, root: Node, old: Node) -> bool:
    """Whether writing an entry over the old value spoils another entry that is still to be calculated."""
    stack, seen = [(root, True)], set()
    while stack:
        node, straight = stack.pop()
        if (node, straight) in seen:
            continue
        seen.add((node, straight))
        straight = straight and isinstance(node.op, Elementwise)
        for x in node.inputs:
            if x is old and not straight:
                return True
            stored = x in low.result.place or x in low.replaces
            if not stored or x in low.absorbed or isinstance(x.op, Reshape):
                stack.append((x, straight))
    return False
