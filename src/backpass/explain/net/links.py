"""Units and links: the forward pass of a step as a net of numbers, and the derivative along each link.

The program is cut at its named values (pre-activations z, activations a, sums, normalised values) and at what
mixes the batch (a batch's mean). Between two cuts stands a small program of its own; its Jacobian comes from
the program's vjps, in the program's own arithmetic, so products of links are what backpropagation multiplied.
A Jacobian is stored by its structure: entry by entry (an activation), the same for all examples (a layer's
weights), or one for each example. [1]_

.. [1] Griewank & Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, ch. 9: elimination on the linearised
   computational graph.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.explain.net.pieces import Piece, cut, pieces_inside
from backpass.explain.step.places import printed_names
from backpass.ir import Elementwise, Graph, Node
from backpass.ir.op import FLOATS
from backpass.ir.types import ArrayType, dims_of
from backpass.ops import Broadcast, Identity, MatMul, Max, Mean, Min, Multiply, Sum, Transpose, Uniform
from backpass.record.replay import Moment

Floats = NDArray[np.float64]

_MOST = 2e8  # numbers of one Jacobian


@dataclass(frozen=True)
class Unit:
    """A value of the forward pass at which it is cut, with all its entries.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of one example; of the value itself where the batch shares it.
    by_row : bool
        Whether each example of the batch has its own.
    """

    name: str
    node: Node
    shape: tuple[int, ...]
    by_row: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def entry(self, row: int, i: int) -> str:
        """The name of one number: ``a1[12,7]``."""
        index = [str(k) for k in np.unravel_index(i, self.shape)] if self.shape else []
        index = [str(row), *index] if self.by_row else index
        return f"{self.name}[{','.join(index)}]" if index else self.name


@dataclass(frozen=True)
class Link:
    """How the entries of one unit depend on those of another, directly.

    Attributes
    ----------
    source, target : str
        The target is calculated from the source.
    diagonal : bool
        Entry i depends on entry i alone.
    jacobian : ndarray
        Of float64, (rows, n) if diagonal, else (rows, entries of the target, entries of the source); one row
        where it is the same for all examples.
    present : ndarray of bool
        Which entries are linked at all, whatever the numbers: as `jacobian`, rows or 1 of them.
    factor : str
        What the derivative is in the program: a weight (``W2``), a mask, the slope of an activation
        (``tanh′``); empty where it has no short name.
    indexed : {"matrix", "row", "feature", "slope", ""}
        How that is indexed: ``W2[i,j]``, ``mask1[row,i]``, ``γ3[i]``, ``tanh′(z1[row,i])``, or not at all.
    """

    source: str
    target: str
    diagonal: bool
    jacobian: Floats
    present: NDArray[np.bool_]
    factor: str = ""
    indexed: str = ""


class Units:
    """The units of a visited step and their links.

    Parameters
    ----------
    moment : Moment
    inputs : iterable of str
        Inputs of the program that are units, too: ``x`` for paths to a pixel.
    """

    def __init__(self, moment: Moment, inputs: Iterable[str] = ()) -> None:
        self.moment = moment
        self.forward = moment.graph.part(["C"])
        self.dims = dims_of(moment.graph.input_types, moment.feeds)
        self.rows = self.dims.get("B", 1)
        names = printed_names(moment.graph)
        self.nodes, self.given = _cuts(self.forward, [self.forward[name] for name in inputs], names)
        self.units = {names.get(n, f"{n.op.name}_{n.serial}"): self._unit(n, names) for n in self.nodes}
        self.names = {unit.node: name for name, unit in self.units.items()}
        self._pieces: dict[str, Piece] = {}

    def _unit(self, node: Node, names: Mapping[Node, str]) -> Unit:
        by_row = node.shape[:1] == ("B",)
        shape = np.shape(self.moment.values[node])
        return Unit(names.get(node, f"{node.op.name}_{node.serial}"), node, shape[by_row:], by_row)

    def piece(self, name: str) -> Piece:
        """The program between the units that a unit reads, and the unit."""
        if name not in self._pieces:
            cuts = {n: self.names[n] for n in self.nodes}
            self._pieces[name] = cut(self.moment, self.units[name].node, cuts, self.dims, self.given)
        return self._pieces[name]

    @cached_property
    def links(self) -> list[Link]:
        """All links, those nearest to the cost first."""
        found = []
        for name in reversed(self.units):
            piece = self.piece(name)
            for source in filter(self.units.__contains__, piece.units):
                link = _link(self, piece, name, source)
                if link is not None:
                    found.append(link)
        return found

    def needed(self, targets: Iterable[str]) -> Units:
        """Only the units between these and the cost; their links are calculated, no others."""
        kept = set(targets)
        for name in self.units:
            if kept & set(self.piece(name).units):
                kept.add(name)
        some = object.__new__(Units)
        some.__dict__.update({k: v for k, v in self.__dict__.items() if k != "links"})
        some.units = {name: unit for name, unit in self.units.items() if name in kept}
        return some

    def readers(self, parameter: str) -> list[str]:
        """The units that read a parameter: several where weights are shared."""
        return [name for name in self.units if parameter in self.piece(name).graph.inputs]

    def leaf(self, name: str, parameter: str, entry: tuple[int, ...]) -> Floats:
        """The derivative of each entry of a unit with respect to one weight, (rows, size)."""
        direction = np.zeros(np.shape(self.moment.feeds[parameter]))
        direction[entry] = 1.0
        return self._rows_of(name, self.piece(name).forwards(parameter, direction))

    def leaf_present(self, name: str, parameter: str, entry: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which entries of a unit a weight reaches directly, whatever the numbers; of the shape of `leaf`."""
        direction = np.zeros(np.shape(self.moment.feeds[parameter]))
        direction[entry] = 1.0
        ones = self._rows_of(name, self.piece(name).forwards(parameter, direction, ones=True)) != 0
        found = (ones | (self.leaf(name, parameter, entry) != 0)).any(axis=0, keepdims=True)
        return np.broadcast_to(found, ones.shape)

    def leaf_name(self, name: str, parameter: str, row: int, i: int, entry: tuple[int, ...]) -> str:
        """What the derivative of an entry of a unit by a weight is called: ``x[12,5]`` in a dense layer."""
        piece = self.piece(name)
        adjoint = piece.adjoint(parameter)
        if adjoint is not None and isinstance(adjoint.op, MatMul):
            turned, seed = adjoint.inputs
            if seed.name == piece.SEED and isinstance(turned.op, Transpose) and turned.inputs[0].op.feeds:
                return f"{turned.inputs[0].name}[{row},{entry[0]}]"
        if adjoint is not None and isinstance(adjoint.op, Sum) and adjoint.inputs[0].name == piece.SEED:
            return "1"
        return f"∂{self.units[name].entry(row, i)}/∂{parameter}[{','.join(map(str, entry))}]"

    def only_loss_of(self, row: int) -> Units:
        """The same net, with the loss of one example of the batch as the cost."""
        some = self.needed(self.units)
        links = []
        for link in self.links:
            if (link.target, link.source) == ("C", "loss"):
                only = np.arange(self.rows)[:, None, None] == row
                jacobian, present = np.where(only, link.jacobian, 0.0), only & link.present
                link = dataclasses.replace(link, jacobian=jacobian, present=present)
            links.append(link)
        some.__dict__["links"] = links
        return some

    def _rows_of(self, name: str, value: Array) -> Floats:
        unit = self.units[name]
        return np.asarray(value, np.float64).reshape(self.rows if unit.by_row else 1, unit.size)


def _cuts(
    forward: Graph, inputs: list[Node], names: Mapping[Node, str]
) -> tuple[list[Node], dict[Node, str]]:
    """Where the forward pass is cut, in program order; and the values that no weight and no input reaches.

    It is cut at named values, and at what the rows of a batch share: the mean of a batch.
    """
    kinds = {n: n.op.settings().get("kind") for n in forward.inputs.values()}
    reached = {n for n, kind in kinds.items() if kind in ("parameter", "data")}
    by_row = {n for n, kind in kinds.items() if kind == "data" and "B" in n.type.named}
    for node in forward.nodes:
        if any(x in reached for x in node.inputs):
            reached.add(node)
        if any(x in by_row for x in node.inputs):
            by_row.add(node)
    read_by_rows: set[Node] = set()
    for node in reversed(forward.nodes):
        if "B" in node.type.named or node in read_by_rows:
            read_by_rows.update(node.inputs)
    found, given = [], {}
    for node in forward.nodes:
        if node in inputs or node is forward["C"]:
            found.append(node)
        if node.op.feeds or node is forward["C"] or not isinstance(node.type, ArrayType):
            continue
        batched = "B" in node.type.named
        if node not in reached:
            if node.name is not None or isinstance(node.op, Uniform):
                given[node] = node.name or f"given_{node.serial}"
            continue
        named = node.name is not None and (node.shape[:1] == ("B",) or not batched)
        mixing = not batched and node in by_row and any("B" in x.type.named for x in node.inputs)
        if node.dtype in FLOATS and (named or (mixing and node in read_by_rows)):
            found.append(node)
    return found, given


def _link(units: Units, piece: Piece, target: str, source: str) -> Link | None:
    """The link between two units, from the vjps of what stands between them."""
    above, below = units.units[target], units.units[source]
    adjoint = piece.adjoint(source)
    if adjoint is None:
        return None
    between = pieces_inside(piece.graph.inputs[source], piece.root)
    if above.by_row and below.by_row:
        _refuse_mixing(between)
    factor, indexed = _called(piece, adjoint, between, source)
    if _entry_by_entry(between):
        if above.by_row and not below.by_row:
            value = piece.forwards(source, np.ones(below.shape))
            jacobian = units._rows_of(target, value)
        else:
            jacobian = units._rows_of(source, piece.backwards(source, np.ones(np.shape(piece.value))))
        return Link(source, target, True, jacobian, np.ones((1, below.size), bool), factor, indexed)
    if above.by_row and below.by_row and piece.same_for_all(source):
        eye = np.eye(above.size).reshape(above.size, *above.shape)
        jacobian = np.asarray(piece.backwards(source, eye), np.float64).reshape(1, above.size, below.size)
        ones = np.asarray(piece.backwards(source, eye, ones=True)).reshape(above.size, below.size)
        return Link(source, target, False, jacobian, (ones != 0) | (jacobian != 0), factor, indexed)
    jacobian = _full(units, piece, above, below)
    return Link(source, target, False, jacobian, (jacobian != 0).any(axis=0, keepdims=True), factor, indexed)


def _full(units: Units, piece: Piece, above: Unit, below: Unit) -> Floats:
    """A Jacobian for each example: a pass for each entry of the target, or of the source if fewer pass."""
    rows = units.rows if above.by_row or below.by_row else 1
    if rows * above.size * below.size > _MOST:
        raise UsageError(
            f"{above.name} depends on {below.name} by {above.size:,} x {below.size:,} derivatives for each "
            f"of {rows} examples: too many to follow. Ask for a value that comes after {below.name}."
        )
    jacobian = np.empty((rows, above.size, below.size))
    if above.by_row and not below.by_row:
        for i in range(below.size):
            direction = np.zeros(below.size)
            direction[i] = 1.0
            moved = piece.forwards(below.name, direction.reshape(below.shape))
            jacobian[:, :, i] = units._rows_of(above.name, moved)
        return jacobian
    shape = np.shape(piece.value)
    for j in range(above.size):
        seed = np.zeros((units.rows, above.size) if above.by_row else (1, above.size))
        seed[:, j] = 1.0  # of all examples at once: they do not depend on each other
        sent = piece.backwards(below.name, seed.reshape(shape))
        jacobian[:, j, :] = units._rows_of(below.name, sent)
    return jacobian


def _entry_by_entry(between: list[Node]) -> bool:
    """Whether entry i of what comes out depends on entry i of what goes in alone, over all of the batch."""

    def keeps(node: Node) -> bool:
        op = node.op
        if isinstance(op, Broadcast):
            return op.shape[:1] == ("B",) and op.axes == tuple(range(1, len(op.shape)))
        if isinstance(op, (Sum, Mean, Max, Min)):
            return op.axis == (0,) and node.inputs[0].shape[:1] == ("B",)
        return isinstance(op, Elementwise)

    return all(keeps(node) for node in between)


def _refuse_mixing(between: list[Node]) -> None:
    for node in between:
        lost = "B" not in node.type.named and any("B" in x.type.named for x in node.inputs)
        if "B" in node.op.mixes(*(x.type for x in node.inputs)) or lost:
            raise UsageError(
                f"{node.op.name} mixes the examples of the batch along the way, so there are no paths of one "
                "example through it"
            )


def _called(piece: Piece, adjoint: Node, between: list[Node], source: str) -> tuple[str, str]:
    """What a link's derivative is called in the program, and how it is indexed there."""
    if adjoint.name == piece.SEED:
        return "1", ""
    if isinstance(adjoint.op, MatMul):
        seed, other = adjoint.inputs
        if seed.name == piece.SEED and isinstance(other.op, Transpose) and other.inputs[0].op.feeds:
            return str(other.inputs[0].name), "matrix"
    if isinstance(adjoint.op, Multiply):
        others = [x.inputs[0] if isinstance(x.op, Broadcast) else x for x in adjoint.inputs]
        others = [x for x in others if x.name != piece.SEED]
        if len(others) == 1 and others[0].op.feeds and others[0].name != source:
            return str(others[0].name), "row" if "B" in others[0].type.named else "feature"
    real = [n for n in between if not isinstance(n.op, Identity)]
    if len(real) == 1 and isinstance(real[0].op, Elementwise) and len(real[0].inputs) == 1:
        return f"{real[0].op.name}′", "slope"
    return "", ""


def factor_name(units: Units, link: Link, row: int, j: int, i: int) -> str:
    """The derivative of entry j of a link's target by entry i of its source, by name: ``W2[7,3]``."""
    above, below = units.units[link.target], units.units[link.source]
    index = above.entry(row, j).removeprefix(above.name)
    ways = {
        "matrix": f"{link.factor}[{i},{j}]",
        "slope": f"{link.factor}({below.entry(row, i)})",
        "row": f"{link.factor}{index}",
        "feature": f"{link.factor}[{j}]",
    }
    if link.indexed:
        return ways[link.indexed]
    return link.factor or f"∂{above.entry(row, j)}/∂{below.entry(row, i)}"
