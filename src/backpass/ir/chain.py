"""The chain rule: from adjoints of outputs to adjoints of what they depend on.

This is backpropagation itself, and it knows no concrete op: one rule (`Op.vjp`) a node, in reverse program
order; the adjoints of a value with several uses are added (the multivariate chain rule). [1]_

.. [1] Griewank & Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, ch. 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backpass.errors import NotDifferentiable, RuleError
from backpass.ir.graph import Origin
from backpass.ir.node import SURFACE, Node, broadcast_to, inputs_of
from backpass.ir.op import Blocked
from backpass.ir.tuples import Item
from backpass.ir.types import ArrayType, TupleType

Origins = dict[Node, tuple[Origin, ...]]


def pullback(
    seeds: Mapping[Node, Node], wrt: Iterable[Node], names: Mapping[Node, str] | None = None
) -> tuple[dict[Node, Node], Origins]:
    """Adjoints of every node between `wrt` and the seeded outputs.

    Parameters
    ----------
    seeds : mapping of Node to Node
        The adjoint of each output, of exactly its type.
    wrt : iterable of Node
        What to differentiate with respect to.
    names : mapping of Node to str, optional
        What the adjoint of a node is called: ``{z1: "δ1"}``.

    Returns
    -------
    adjoints : dict of Node to Node
        Zeros for a node of `wrt` that the outputs do not depend on.
    origins : dict of Node to tuple of Origin
        For each node made here, which forward nodes and inputs it serves.

    Raises
    ------
    NotDifferentiable
        A path to `wrt` passes through something without a derivative; the message shows the path.
    RuleError
        An op's vjp broke its contract.
    """
    wrt, names = list(wrt), names or {}
    nodes = inputs_of(seeds)
    reached = set(wrt)  # the nodes that depend on `wrt`
    for node in nodes:
        if any(x in reached for x in node.inputs):
            reached.add(node)
    found: dict[tuple[Node, int], list[Node]] = {(node, 0): [seed] for node, seed in seeds.items()}
    adjoints: dict[Node, Node] = {}
    origins: Origins = {}
    for node in reversed(nodes):
        types = node.type.items if isinstance(node.type, TupleType) else (node.type,)
        if node not in reached or not any((node, i) in found for i in range(len(types))):
            continue
        parts = [_total(found.get((node, i), []), types[i], origins) for i in range(len(types))]
        if isinstance(node.type, ArrayType):
            adjoints[node] = parts[0] = _called(parts[0], names.get(node), origins)
        if isinstance(node.op, Item):
            found.setdefault((node.inputs[0], node.op.index), []).append(parts[0])
            continue
        rule = node.op.vjp(parts[0] if isinstance(node.type, ArrayType) else tuple(parts), node, *node.inputs)
        if len(rule) != len(node.inputs):
            raise RuleError(f"{node.op.name}: vjp gave {len(rule)} adjoints for {len(node.inputs)} inputs")
        for i, (x, share) in enumerate(zip(node.inputs, rule, strict=True)):
            if share is None or x not in reached:
                continue
            if isinstance(share, Blocked):
                raise NotDifferentiable(_path(node, x, wrt, share.why))
            if not isinstance(share, Node) or share.type != x.type:
                given = share.type if isinstance(share, Node) else repr(share)
                raise RuleError(f"{node.op.name}: the adjoint of input {i} is {given}, the input is {x.type}")
            found.setdefault((x, 0), []).append(share)
            for made in made_since(share, max(n.serial for n in (node, *parts))):
                origins[made] = (*origins.get(made, ()), Origin(node, i))
    for node in wrt:
        if node not in adjoints:
            adjoints[node] = _called(_total([], node.array_type, origins), names.get(node), origins)
    return adjoints, origins


def _total(adjoints: list[Node], type_: ArrayType, origins: Origins) -> Node:
    """The sum over all uses of a value; it serves whatever its addends serve."""
    if not adjoints:
        zero = SURFACE.constant(0.0, type_.dtype)()
        zeros = broadcast_to(zero, type_.shape)
        origins |= {zero: (), zeros: ()}
        return zeros

    total = adjoints[0]
    for adj in adjoints[1:]:
        total = total + adj
        origins[total] = origins.get(adj, ())
    if len(adjoints) > 1:
        origins[total] = tuple(o for adj in adjoints for o in origins.get(adj, ()))
    return total


def _called(adj: Node, name: str | None, origins: Origins) -> Node:
    """The adjoint under the name that it was given."""
    if name is None:
        return adj
    other = SURFACE.identity()(adj) if adj.name is not None or adj.op.feeds else adj  # δ1 = δ2
    named = other.named(name)
    origins[named] = origins.get(adj, ())
    return named


def made_since(root: Node, serial: int) -> list[Node]:
    """The nodes below `root` that are younger than `serial`."""
    seen: dict[Node, None] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node.serial > serial and node not in seen:
            seen[node] = None
            stack.extend(node.inputs)
    return list(seen)


def _path(obstacle: Node, x: Node, wrt: list[Node], why: str) -> str:
    """How a parameter leads to the obstacle."""
    steps = [x]
    while steps[-1] not in wrt:
        below = set(inputs_of(steps[-1].inputs))
        steps.append(next(i for i in steps[-1].inputs if i in wrt or below & set(wrt) & set(inputs_of([i]))))
    trail = " -> ".join(n.name or n.op.name for n in reversed(steps))
    return (
        f"{obstacle.op.name} has no derivative with respect to {x.name or x.op.name}: {why}.\n"
        f"  the path: {trail} -> {obstacle.name or obstacle.op.name}"
    )
