"""`Graph`: named outputs and, through them, every node in program order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from backpass.errors import GraphError, nearest
from backpass.ir.node import Node, inputs_of, normalised
from backpass.ir.op import Op
from backpass.ir.types import ArrayType

if TYPE_CHECKING:
    from backpass.ir.text import Style


class Origin(NamedTuple):
    """Why a backward node exists: the forward node, and which of its inputs it differentiates."""

    primal: Node
    slot: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A program: one training step, a forward pass, the body of a loop.

    Parameters
    ----------
    outputs : mapping of str to Node
        The named results, in order.
    carry : mapping of str to str
        Which output replaces which input at the next step: ``{"W1_new": "W1"}``. Weights, optimiser slots,
        running statistics and step counters are all carried the same way.
    origins : mapping of Node to tuple of Origin
        For a backward node, the forward nodes and inputs that it serves.

    Raises
    ------
    GraphError
        Two values share a name, or `carry` names something that is not there or has another type.

    Examples
    --------
    >>> from backpass.ops import data, parameter
    >>> x, w = data("x", "f64[B]"), parameter("w", "f64[]")
    >>> print(Graph({"y": x * w}).text(prelude=False))
    y = x * w  # f64[B]
    """

    outputs: Mapping[str, Node]
    carry: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[Node, tuple[Origin, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", {normalised(k): v for k, v in self.outputs.items()})
        self.check()

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node, inputs first, in program order."""
        return inputs_of(self.outputs.values())

    @cached_property
    def inputs(self) -> dict[str, Node]:
        """The nodes whose values are fed, by name, in program order."""
        return {str(n.name): n for n in self.nodes if n.op.feeds}

    @cached_property
    def input_types(self) -> dict[str, ArrayType]:
        return {name: n.array_type for name, n in self.inputs.items()}

    @cached_property
    def dims(self) -> frozenset[str]:
        """The named dimensions of the program."""
        return frozenset().union(*(n.type.named for n in self.nodes))

    @cached_property
    def named(self) -> dict[str, Node]:
        """Every value that has a name, inputs included, in program order."""
        found = {n.name: n for n in self.nodes if n.name is not None}
        for name, node in self.outputs.items():
            found.setdefault(name, node)
        return found

    @cached_property
    def users(self) -> dict[Node, list[Node]]:
        """For each node, the nodes that read it (once a use)."""
        users: dict[Node, list[Node]] = {n: [] for n in self.nodes}
        for n in self.nodes:
            for x in n.inputs:
                users[x].append(n)
        return users

    def inputs_of_kind(self, kind: str) -> dict[str, Node]:
        """The inputs of one kind: "data", "parameter", "state" or "number"."""
        known: dict[str, dict[str, Node]] = self.__dict__.setdefault("_kinds", {})
        if kind not in known:  # a loop that is run a step at a time asks at each
            known[kind] = {n: x for n, x in self.inputs.items() if x.op.settings().get("kind") == kind}
        return dict(known[kind])

    def bound(self, dims: Mapping[str, int]) -> tuple[Op, ...]:
        """The op of each of `nodes`, for these sizes of the named dimensions.

        Kept for the last few sizes: a loop asks for the same ones step after step.
        """
        known: dict[tuple[tuple[str, int], ...], tuple[Op, ...]] = self.__dict__.setdefault("_bound", {})
        key = tuple(dims.items())
        if key not in known:
            while len(known) >= 8:
                known.pop(next(iter(known)))
            known[key] = tuple(node.op.bind(dims) for node in self.nodes)
        return known[key]

    def __getitem__(self, name: str) -> Node:
        try:
            return self.named[normalised(name)]
        except KeyError:
            raise GraphError(f"there is no value named {name!r}. {nearest(name, self.named)}") from None

    def check(self) -> None:
        """Names are unique, and each carried output has exactly its input's type."""
        owner: dict[str, Node] = {}
        for n in self.nodes:
            if n.name is not None and owner.setdefault(n.name, n) is not n:
                raise GraphError(f"two values are named {n.name!r}: {owner[n.name].op.name} and {n.op.name}")
            if n.op.feeds and n.name is None:
                raise GraphError(f"an input has no name: {n}")
        for name, n in self.outputs.items():
            if owner.get(name, n) is not n:
                raise GraphError(f"the output {name!r} has the name of another value, {owner[name]}")
            if not isinstance(n.type, ArrayType):
                raise GraphError(f"the output {name!r} is a tuple, {n.type}; take its parts with Item(i)")
        for new, old in self.carry.items():
            if new not in self.outputs:
                raise GraphError(f"carry names the output {new!r}. {nearest(new, self.outputs)}")
            if old not in self.inputs:
                raise GraphError(f"carry names the input {old!r}. {nearest(old, self.inputs)}")
            if self.outputs[new].type != self.inputs[old].type:
                raise GraphError(
                    f"{new} ({self.outputs[new].type}) cannot replace {old} ({self.inputs[old].type})"
                )

    def part(self, outputs: Iterable[str]) -> Graph:
        """The same program, cut down to what `outputs` need."""
        kept = {name: self[name] for name in outputs}
        carry = {new: old for new, old in self.carry.items() if new in kept}
        nodes = set(inputs_of(kept.values()))
        return Graph(
            kept,
            {new: old for new, old in carry.items() if any(n.name == old for n in nodes)},
            {n: o for n, o in self.origins.items() if n in nodes},
        )

    def extended(self, outputs: Mapping[str, Node], carry: Mapping[str, str] | None = None) -> Graph:
        """This program with more outputs, and more of them carried."""
        return Graph({**self.outputs, **outputs}, {**self.carry, **(carry or {})}, self.origins)

    def text(self, style: Style = "python", **options: Any) -> str:
        """The program in print; see `backpass.ir.text.text`."""
        from backpass.ir.text import text

        return text(self, style, **options)

    @cached_property
    def digest(self) -> str:
        """A hash of the program: equal for two Graphs that print and compute the same."""
        import hashlib

        from backpass.ir.wire import to_json

        return hashlib.sha256(to_json(self).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"<Graph of {len(self.nodes)} nodes: {', '.join(self.inputs)} -> {', '.join(self.outputs)}>"
