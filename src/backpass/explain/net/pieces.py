"""A piece of a program: what stands between some of its values and one value that is calculated from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from backpass.exec.base import Array
from backpass.ir import Graph, Node
from backpass.ir.interpret import interpret
from backpass.ir.node import inputs_of
from backpass.ops import Identity, Input, Size
from backpass.passes import backward
from backpass.record.replay import Moment


@dataclass(frozen=True, eq=False)
class Piece:
    """A value as a function of the values at which the program was cut.

    Attributes
    ----------
    graph : Graph
        Its inputs are the cuts, under the names that they were given, and the inputs of the whole program.
    root : Node
        The value, in `graph`.
    feeds : mapping of str to array
    dims : mapping of str to int
    value : array
        As the whole program calculated it.
    units : tuple of str
        The names of the cuts that are read.
    """

    graph: Graph
    root: Node
    feeds: Mapping[str, Array]
    dims: Mapping[str, int]
    value: Array
    units: tuple[str, ...]

    OUT: ClassVar[str] = "out__"
    SEED: ClassVar[str] = "seed__"
    ALONG: ClassVar[str] = "along__"

    @cached_property
    def _reverse(self) -> Graph:
        wrt = [n for n, node in self.graph.inputs.items() if node.dtype in ("f32", "f64")]
        kinds = {n: self.graph.inputs[n].op.settings()["kind"] for n in wrt}
        wrt = [n for n in wrt if n in self.units or kinds[n] == "parameter"]
        return backward(self.graph, self.OUT, wrt, seed=self.SEED, prefix="adj__")

    def adjoint(self, name: str) -> Node | None:
        """The adjoint of a cut, as a program over the seed; None where nothing flows back."""
        node = self._reverse[f"adj__{name}"]
        while isinstance(node.op, Identity):
            (node,) = node.inputs
        return node if any(n.name == self.SEED for n in inputs_of([node])) else None

    def same_for_all(self, name: str) -> bool:
        """Whether the derivative is the same for all examples: it reads nothing of the batch."""
        nodes = inputs_of([self._reverse[f"adj__{name}"]])
        return not any(
            isinstance(n.op, Size) or (n.op.feeds and n.name != self.SEED and "B" in n.type.named)
            for n in nodes
        )

    def backwards(self, name: str, seed: Array, *, ones: bool = False) -> Array:
        """The adjoint of a cut for an adjoint of the value: vᵀJ.

        Parameters
        ----------
        name : str
        seed : array
            With its own number of rows where the derivative is the same for all examples.
        ones : bool
            With 1 in place of every number that is read: to see what is linked to what.
        """
        program = self._reverse.part([f"adj__{name}"])
        kind = self.root.array_type.numpy_dtype
        feeds = {k: v for k, v in self.feeds.items() if k in program.inputs}
        if ones:
            feeds = {k: np.ones_like(v) for k, v in feeds.items()}
        dims = dict(self.dims)
        if self.root.shape[:1] == ("B",):
            dims["B"] = len(seed)
        return _run(program, {**feeds, self.SEED: np.asarray(seed, kind)}, dims, f"adj__{name}")

    def forwards(self, name: str, direction: Array, *, ones: bool = False) -> Array:
        """How the value changes when an input changes along a direction: J·direction.

        The adjoint is linear in its seed, so its own adjoint, with respect to the seed, is this. [1]_

        .. [1] Townsend, A new trick for calculating Jacobian vector products (2017).
        """
        program = self._forwards_of(name)
        kind = self.graph.inputs[name].array_type.numpy_dtype
        feeds = {k: v for k, v in self.feeds.items() if k in program.inputs}
        if ones:
            feeds = {k: np.ones_like(v) for k, v in feeds.items()}
        if self.SEED in program.inputs:  # it is read for its shape alone
            feeds[self.SEED] = np.zeros(np.shape(self.value), self.root.array_type.numpy_dtype)
        return _run(program, {**feeds, self.ALONG: np.asarray(direction, kind)}, self.dims, self.OUT)

    def _forwards_of(self, name: str) -> Graph:
        programs: dict[str, Graph] = self.__dict__.setdefault("_programs", {})
        if name not in programs:
            linear = Graph({f"adj__{name}": self._reverse[f"adj__{name}"]})
            if self.SEED not in linear.inputs:  # nothing flows: J is 0
                from backpass.ops import filled

                programs[name] = Graph({self.OUT: filled(0.0, self.root.array_type)})
            else:
                twice = backward(linear, f"adj__{name}", [self.SEED], seed=self.ALONG, prefix="along_")
                programs[name] = Graph({self.OUT: twice[f"along_{self.SEED}"]})
        return programs[name]


def _run(program: Graph, feeds: Mapping[str, Array], dims: Mapping[str, int], name: str) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(interpret(program, feeds, dims)[program.outputs[name]])


def cut(
    moment: Moment,
    root: Node,
    cuts: Mapping[Node, str],
    dims: Mapping[str, int],
    given: Mapping[Node, str] | None = None,
) -> Piece:
    """The piece of a visited step's program that ends in `root` and begins at cuts and inputs.

    Parameters
    ----------
    moment : Moment
    root : Node
    cuts : mapping of Node to str
        Where to cut, and what the input that takes a cut's place is called.
    dims : mapping of str to int
    given : mapping of Node to str, optional
        Values that are taken as they were, such as a dropout mask, with their names.
    """
    given = given or {}
    new: dict[Node, Node] = {}
    feeds: dict[str, Array] = {}
    used: list[str] = []
    stop = [root]
    inside: set[Node] = set()
    while stop:  # what is below a cut is not entered
        node = stop.pop()
        if node not in inside:
            inside.add(node)
            if node is root or not (node in cuts or node in given):
                stop.extend(node.inputs)
    for node in sorted(inside, key=lambda n: n.serial):
        if node is not root and node in cuts:
            new[node] = _stand_in(node, cuts[node])
            used.append(cuts[node])
            feeds[cuts[node]] = np.asarray(moment.values[node])
        elif node.op.feeds:
            new[node] = node
            feeds[str(node.name)] = moment.feeds[str(node.name)]
        elif node in given and node is not root:
            new[node] = _stand_in(node, given[node])
            feeds[given[node]] = np.asarray(moment.values[node])
        else:
            new[node] = Node(node.op, tuple(new[x] for x in node.inputs), node.type)
    graph = Graph({Piece.OUT: new[root]})
    return Piece(graph, new[root], feeds, dims, np.asarray(moment.values[root]), tuple(used))


def _stand_in(node: Node, name: str) -> Node:
    return Input("data", node.array_type)(name=name)


def pieces_inside(source: Node, root: Node) -> list[Node]:
    """The nodes between an input of a piece and its value, the value included."""
    after = {source}
    found = []
    for node in inputs_of([root]):
        if any(x in after for x in node.inputs):
            after.add(node)
            found.append(node)
    return found
