"""``--check``: a second route to a gradient: the central difference, in f64, through the visited step.

Three of them, with h, h/2 and h/4, give two values without the h² term (Richardson 1911); how far these are
apart is how far off they may be. Where an op has a kink between x − h and x + h, h is made smaller; where the
kink is at x itself there is no derivative, and the check says so and which number is at the kink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.errors import UsageError, nearest
from backpass.exec.base import Array
from backpass.explain.answer import Check
from backpass.explain.net.links import Link, Units
from backpass.explain.step.places import printed_names, written
from backpass.ir import Graph, Node
from backpass.ir.interpret import interpret
from backpass.ir.op import FLOATS
from backpass.ir.types import ArrayType, dims_of
from backpass.ops import (
    Abs,
    ArgMax,
    Clip,
    Elu,
    Greater,
    GreaterEqual,
    HardTanh,
    Input,
    LeakyRelu,
    Less,
    LessEqual,
    Max,
    Maximum,
    Min,
    Minimum,
    Relu,
    Selu,
    Sign,
)
from backpass.passes import backward, retyped
from backpass.record.replay import Moment

_EPS = float(np.finfo(np.float64).eps)
_STEP = _EPS**0.2  # balances the h⁴ term against rounding / h
_SMALLEST = 1e-5  # of the first h; below, rounding outweighs what is measured
_SEEN = 0.01  # of the largest gradient of an array: rounding in the program's own type is less than this


@dataclass(frozen=True)
class Difference:
    """A central difference.

    Attributes
    ----------
    value : float
    error : float
        How far it may be from the derivative.
    h : float
    kink : str
        What is at a kink, so that there is no derivative; empty otherwise.
    sides : (float, float)
        The differences to the left and to the right, which differ at a kink.
    """

    value: float
    error: float
    h: float
    kink: str
    sides: tuple[float, float]


Run = Callable[[float], tuple[float, Mapping[Node, Array]]]


def checked(moment: Moment, name: str, entry: tuple[int, ...], shown: float | None = None) -> Check:
    """A gradient of the cost beside its central difference.

    Parameters
    ----------
    moment : Moment
        The visited step.
    name : str
        A gradient (``dW1``) or a delta (``δ1``) of the program, or what the cost is differentiated by: a
        weight (``W1``), an input or a value of the forward pass (``a1``).
    entry : tuple of int
    shown : float, optional
        The number that was displayed; the program's own, if left out.

    Returns
    -------
    Check
        Of the number shown less the central difference. Its bound is what the difference itself leaves open,
        and rounding: the program's own gradient in f64 shows how much that is.

    Raises
    ------
    UsageError
        The cost does not depend on such a value.

    Examples
    --------
    >>> import backpass as bp
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = bp.Network([bp.Dense(3, "tanh"), bp.Dense(2, "softmax")])
    >>> run = bp.train(net, (X, y), batch=4, epochs=1, executor="reference", validation=0)
    >>> checked(run.at(1), "dW1", (0, 2)).holds
    True
    """
    of = _differentiated(moment, name)
    forward = retyped(moment.graph.part(["C"]), "f64")
    opened = forward if of in forward.inputs else _opened(forward, of)
    feeds = _wide(moment.feeds, forward)
    dims = dims_of(moment.graph.input_types, moment.feeds)
    start = feeds[of] if of in feeds else np.asarray(interpret(forward, feeds, dims)[forward[of]])
    feeds = {k: v for k, v in {**feeds, of: start}.items() if k in opened.inputs}
    exact = _gradient(opened, of, feeds, dims)
    if len(entry) != start.ndim or any(not 0 <= i < n for i, n in zip(entry, start.shape, strict=True)):
        raise UsageError(f"{written(name, entry)} does not exist: {of} has the shape {list(start.shape)}")
    if shown is None:
        shown = (
            float(moment[name][entry]) if name in moment.graph.named and name != of else float(exact[entry])
        )
        own = f"d{of}" if name == of and f"d{of}" in moment.graph.named else ""
        shown = float(moment[own][entry]) if own else shown
    run = _along(opened, feeds, dims, of, entry, opened.outputs["C"])
    found = difference(run, float(start[entry]), _scale(start), printed_names(moment.graph), opened)
    kind = moment.graph[of].array_type.numpy_dtype
    visible = max(float(np.max(np.abs(exact))), 100 * float(np.finfo(kind).eps) / _SEEN)
    rounding = min(abs(shown - float(exact[entry])), _SEEN * visible)
    return _check(f"∂C/∂{written(of, entry)}", shown, found, rounding)


def checked_link(units: Units, link: Link, row: int, j: int, i: int) -> Check:
    """One derivative along a link beside its central difference: entry j of its target by i of its source.

    Parameters
    ----------
    units : Units
    link : Link
    row : int
        The row of the batch.
    j, i : int
    """
    piece, above, below = units.piece(link.target), units.units[link.target], units.units[link.source]
    if link.diagonal:
        shown = float(link.jacobian[row if len(link.jacobian) > 1 else 0, i]) if j == i else 0.0
    else:
        shown = float(link.jacobian[row if len(link.jacobian) > 1 else 0, j, i])
    graph = retyped(piece.graph, "f64")
    feeds = _wide({k: v for k, v in piece.feeds.items() if k in graph.inputs}, graph)
    at = (*((row,) if below.by_row else ()), *(int(k) for k in np.unravel_index(i, below.shape)))
    out = (*((row,) if above.by_row else ()), *(int(k) for k in np.unravel_index(j, above.shape)))
    start = feeds[link.source]
    run = _along(graph, feeds, piece.dims, link.source, at, graph.outputs[piece.OUT], out)
    found = difference(run, float(start[at]), _scale(start), {}, graph)
    rounding = 64 * float(np.finfo(piece.root.array_type.numpy_dtype).eps) * max(1.0, abs(shown))
    return _check(f"∂{above.entry(row, j)}/∂{below.entry(row, i)}", shown, found, rounding)


def difference(run: Run, x: float, scale: float, names: Mapping[Node, str], graph: Graph) -> Difference:
    """The central difference of a function of one number, with a step that keeps clear of kinks.

    Parameters
    ----------
    run : callable
        The number to its value, and to the values of the program on the way.
    x, scale : float
        Where, and what counts as large there.
    names : mapping of Node to str
    graph : Graph
    """
    first = h = _STEP * scale
    middle, here = run(x)
    while True:
        (left, below), (right, above) = run(x - h), run(x + h)
        kink = _crossed(graph, below, above)
        if kink is None or h <= _SMALLEST * first:
            break
        h /= 8
    sides = ((middle - left) / h, (right - middle) / h)
    plain = [(right - left) / (2 * h)]
    plain += [(run(x + h / k)[0] - run(x - h / k)[0]) * k / (2 * h) for k in (2, 4)]
    value, again = ((4 * plain[i + 1] - plain[i]) / 3 for i in (0, 1))  # without their h² terms
    error = abs(value - again) + 64 * _EPS * max(abs(left), abs(middle), abs(right)) / h
    if kink is None:
        return Difference(value, error, h, "", sides)
    return Difference(value, error + abs(sides[1] - sides[0]), h, _kink(kink, here), sides)


def _check(name: str, shown: float, found: Difference, rounding: float) -> Check:
    words = f"{name} = {shown:.7g} and its central difference {found.value:.7g} (f64, h = {found.h:.1e})"
    if found.kink:
        left, right = found.sides
        words += (
            f", at a kink of {found.kink}, where the slopes are {left:.4g} and {right:.4g} on its two sides,"
        )
    return Check("second route", shown - found.value, found.error + rounding, words)


def _differentiated(moment: Moment, name: str) -> str:
    """By what the cost is differentiated, for the name of a gradient, a delta, or of that itself."""
    graph = moment.graph
    deltas = {delta: z for z, delta in moment.replay.record.network.deltas.items()}
    of = deltas.get(name, name)
    if of == name and name.startswith("d") and name[1:] in graph.inputs:
        of = name[1:]
    forward = graph.part(["C"])
    arrays = {n: node.type for n, node in forward.named.items() if isinstance(node.type, ArrayType)}
    floats = {n for n, type_ in arrays.items() if type_.dtype in FLOATS}
    if of not in floats or of == "C":
        raise UsageError(f"the cost has no derivative by {name!r}. {nearest(name, floats | set(deltas))}")
    return of


def _opened(graph: Graph, name: str) -> Graph:
    """The program with one of its values as an input."""
    root = graph[name]
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        if node is root:
            new[node] = Input("data", node.array_type)(name=name)
        else:
            new[node] = Node(node.op, tuple(new[x] for x in node.inputs), node.type, node.name)
    return Graph({key: new[n] for key, n in graph.outputs.items()})


def _wide(feeds: Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """The values of the inputs, floating-point ones in f64."""
    return {
        name: np.asarray(feeds[name], np.float64 if node.dtype in FLOATS else None)
        for name, node in graph.inputs.items()
    }


def _gradient(graph: Graph, of: str, feeds: Mapping[str, Array], dims: Mapping[str, int]) -> Array:
    program = backward(graph, "C", [of], prefix="exact_").part([f"exact_{of}"])
    with np.errstate(all="ignore"):
        return np.asarray(interpret(program, feeds, dims)[program.outputs[f"exact_{of}"]])


def _along(
    graph: Graph, feeds: Mapping[str, Array], dims: Mapping[str, int], name: str, entry: tuple[int, ...],
    root: Node, out: tuple[int, ...] = (),
) -> Run:  # fmt: skip
    """One value of a program as a function of one entry of an input."""

    def run(x: float) -> tuple[float, Mapping[Node, Array]]:
        moved = feeds[name].copy()
        moved[entry] = x
        with np.errstate(all="ignore"):
            values = interpret(graph, {**feeds, name: moved}, dims)
        return float(np.asarray(values[root])[out]), values

    return run


def _scale(array: Array) -> float:
    return max(float(np.sqrt(np.mean(np.square(array)))), 1e-3)


def _at_zero(op: Any, x: Array) -> Array:
    return np.sign(x)


def _larger(op: Any, a: Array, b: Array) -> Array:
    return np.asarray(np.sign(a - b))


def _first(op: Any, x: Array) -> Array:
    axis = op.axis if isinstance(op.axis, int) else op.axis or None
    pick = np.min if isinstance(op, Min) else np.max
    return np.asarray(x == pick(x, axis=axis, keepdims=True))


#: On which side of its kinks each entry of an op's input is.
_SIDES: dict[type, Callable[..., Array]] = {
    **dict.fromkeys((Relu, LeakyRelu, Elu, Selu, Abs, Sign), _at_zero),
    **dict.fromkeys((Maximum, Minimum, Greater, GreaterEqual, Less, LessEqual), _larger),
    **dict.fromkeys((Max, Min, ArgMax), _first),
    HardTanh: lambda op, x: np.sign(x - 1) + np.sign(x + 1),
    Clip: lambda op, x: np.sign(x - op.low) + np.sign(x - op.high),
}


def _crossed(
    graph: Graph, below: Mapping[Node, Array], above: Mapping[Node, Array]
) -> tuple[Node, Any] | None:
    """The first entry that is on one side of a kink before and on the other side after."""
    for node in graph.nodes:
        sides = _SIDES.get(type(node.op))
        if sides is not None:
            one, two = (sides(node.op, *(np.asarray(v[x]) for x in node.inputs)) for v in (below, above))
            changed = np.argwhere(one != two)
            if len(changed):
                return node, tuple(int(i) for i in changed[0])
    return None


def _kink(crossed: tuple[Node, Any], here: Mapping[Node, Array]) -> str:
    node, at = crossed
    x = next((x for x in node.inputs if x.name is not None), node.inputs[0])
    value = np.asarray(here[x])
    place = at if value.ndim == len(at) else ()
    name = written(x.name, place) if x.name is not None else f"an entry {list(at)}"
    return f"{node.op.name} at {name}" + (f" = {float(value[place]):.3g}" if value.ndim == len(at) else "")
