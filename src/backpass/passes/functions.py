"""Programs and derivatives from Python functions of Nodes: `trace`, `grad`, `value_and_grad`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backpass.errors import UsageError
from backpass.ir.chain import pullback
from backpass.ir.graph import Graph
from backpass.ir.interpret import interpret
from backpass.ir.node import Node
from backpass.ir.types import DTYPES, ArrayType, dims_of, parse_type
from backpass.ops import constant, data

_DTYPES = {dtype: name for name, dtype in DTYPES.items()}
#: How many programs, one for each combination of types, a function of arrays keeps.
_KEPT = 64


def trace(fn: Callable[..., Any], *types: str | ArrayType, names: Sequence[str] | None = None) -> Graph:
    """The program that a function of Nodes writes.

    Parameters
    ----------
    fn : callable
        Takes Nodes and gives a Node, a tuple of them, or a dict of them by name. It is called once.
    *types : str or ArrayType
        The type of each argument: ``"f64[B,3]"``.
    names : sequence of str, optional
        What the inputs are called; the names of the function's parameters if not given.

    Returns
    -------
    Graph
        The arguments are its inputs, of kind "data". A Node is the output ``y``, the parts of a tuple are
        ``y0``, ``y1``, ...; the parts of a dict have their own names.

    Raises
    ------
    UsageError
        There are not as many types as parameters, or the function gives something other than Nodes.

    Examples
    --------
    >>> import backpass.ops.functions as F
    >>> print(trace(lambda x, w: F.tanh(x @ w), "f64[B,3]", "f64[3,2]").text())
    from numpy import tanh
    <BLANKLINE>
    y = tanh(x @ w)  # f64[B,2]
    """
    parsed = [parse_type(t) if isinstance(t, str) else t for t in types]
    inputs = [data(name, t) for name, t in zip(_names(fn, len(parsed), names), parsed, strict=True)]
    return Graph(_outputs(fn, fn(*inputs), {str(x.name) for x in inputs}))


def grad(fn: Callable[..., Any], wrt: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The gradient of a function that gives one number, as a function.

    Parameters
    ----------
    fn : callable
        Takes Nodes and gives a Node of shape ().
    wrt : int or sequence of int
        Which arguments to differentiate with respect to, counted from 0.

    Returns
    -------
    callable
        Called with Nodes it gives Nodes, so ``grad(grad(f))`` works and functions can be composed. Called
        with arrays or numbers it writes the program, runs the reference executor and gives arrays; the
        program is kept for other arrays of the same types. For a sequence `wrt`, a tuple.

    Raises
    ------
    UsageError
        The function gives no single number, or an argument is not floating-point.
    NotDifferentiable
        A path from the value to an argument has no derivative; the message prints the path.

    Examples
    --------
    >>> import backpass.ops.functions as F
    >>> f = lambda x: F.sum(x**3)
    >>> print(grad(f)(np.array([1.0, 2.0])))
    [ 3. 12.]
    >>> print(grad(grad(lambda x: x**3))(2.0))
    12.0
    """
    both = value_and_grad(fn, wrt)

    @functools.wraps(fn)
    def gradient(*arguments: Any) -> Any:
        return both(*arguments)[1]

    return gradient


def value_and_grad(fn: Callable[..., Any], wrt: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The value of a function and its gradient, as a function; see `grad`.

    Examples
    --------
    >>> value, gradient = value_and_grad(lambda w, x: (w * x) ** 2, wrt=(0, 1))(3.0, 2.0)
    >>> float(value), [float(g) for g in gradient]
    (36.0, [24.0, 36.0])
    """
    several = not isinstance(wrt, int)
    places = (wrt,) if isinstance(wrt, int) else tuple(wrt)

    def of_nodes(arguments: Sequence[Node]) -> tuple[Node, Any]:
        for i in places:
            if not -len(arguments) <= i < len(arguments):
                raise UsageError(f"wrt={i}, but {_called(fn)} was given {len(arguments)} arguments")
            if arguments[i].dtype not in ("f32", "f64"):
                raise UsageError(
                    f"argument {i} of {_called(fn)} is {arguments[i].type}; only floating-point arguments "
                    "have derivatives"
                )
        value = _node(fn, fn(*arguments))
        if value.shape != ():
            raise UsageError(
                f"the gradient is that of one number, but {_called(fn)} gives {value.type}; add its entries "
                "up with backpass.functions.sum or mean"
            )
        adjoints, _ = pullback({value: constant(1.0, value.dtype)}, [arguments[i] for i in places])
        found = tuple(adjoints[arguments[i]] for i in places)
        return value, found if several else found[0]

    @functools.lru_cache(maxsize=_KEPT)
    def program(types: tuple[ArrayType, ...]) -> Graph:
        inputs = [data(name, t) for name, t in zip(_names(fn, len(types), None), types, strict=True)]
        value, found = of_nodes(inputs)
        return Graph(
            {"value_": value, **{f"grad_{i}_": g for i, g in enumerate(found if several else (found,))}}
        )

    @functools.wraps(fn)
    def both(*arguments: Any) -> Any:
        if any(isinstance(x, Node) for x in arguments):
            return of_nodes(_all_nodes(arguments))
        arrays = [_array(fn, i, x) for i, x in enumerate(arguments)]
        graph = program(tuple(ArrayType(a.shape, _DTYPES[a.dtype]) for a in arrays))
        feeds = dict(zip(_names(fn, len(arrays), None), arrays, strict=True))
        value, *found = _run(graph, feeds).values()
        return value, tuple(found) if several else found[0]

    return both


def _run(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """What the reference executor does; passes stand below executors."""
    with np.errstate(all="ignore"):
        values = interpret(graph, feeds, dims_of(graph.input_types, feeds))
    return {name: np.asarray(values[node]) for name, node in graph.outputs.items()}


def _called(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    return "the function" if name == "<lambda>" else f"{name}()"


def _names(fn: Callable[..., Any], count: int, names: Sequence[str] | None) -> list[str]:
    """One name for each argument: those of the function's parameters."""
    if names is not None:
        if len(names) != count:
            raise UsageError(f"{len(names)} names for {count} arguments of {_called(fn)}")
        return list(names)
    try:
        signature = inspect.signature(fn)
        signature.bind(*range(count))
    except TypeError as error:
        raise UsageError(f"{_called(fn)} does not take {count} arguments: {error}") from None
    except ValueError:  # a function of C has no signature
        return [f"x{i}" for i in range(count)]
    found: list[str] = []
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            found += [f"{p.name}{i}" for i in range(count - len(found))]
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            found.append(p.name)
    return found[:count]


def _node(fn: Callable[..., Any], value: Any) -> Node:
    if isinstance(value, Node):
        return value
    hint = ""
    if isinstance(value, (np.ndarray, np.generic, float, int)):
        hint = ": it does not depend on its arguments, or leaves the program with a function of NumPy"
    elif value is None:
        hint = ": has it no return?"
    raise UsageError(
        f"{_called(fn)} must give a value of the program (a Node), not {type(value).__name__}{hint}"
    )


def _outputs(fn: Callable[..., Any], given: Any, taken: set[str]) -> dict[str, Node]:
    if isinstance(given, Mapping):
        return {str(name): _node(fn, value) for name, value in given.items()}
    if isinstance(given, (tuple, list)):
        return {_free(f"y{i}", taken): _node(fn, value) for i, value in enumerate(given)}
    return {_free("y", taken): _node(fn, given)}


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(name + "_", taken)


def _all_nodes(arguments: Sequence[Any]) -> list[Node]:
    """Nodes, with numbers among them as constants of the first Node's dtype."""
    dtype = next(x.dtype for x in arguments if isinstance(x, Node))
    found = []
    for x in arguments:
        if not isinstance(x, Node) and np.ndim(x) > 0:
            raise UsageError("arrays and values of a program (Nodes) cannot be arguments of the same call")
        found.append(x if isinstance(x, Node) else constant(float(x), dtype))
    return found


def _array(fn: Callable[..., Any], i: int, x: Any) -> Any:
    array = np.asarray(x)
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 8:
        array = array.astype(np.float64 if isinstance(x, int) else np.int64)  # a bare 3 is meant as 3.0
    if array.dtype not in _DTYPES:
        raise UsageError(
            f"argument {i} of {_called(fn)} is an array of {array.dtype}; convert it to one of "
            f"{', '.join(map(str, _DTYPES))}"
        )
    return array
