"""`Node`: one value of a program. And `apply`, the one way to make one."""

from __future__ import annotations

import itertools
import keyword
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from backpass.errors import GraphError, ShapeError, UsageError
from backpass.ir.op import FLOATS, Elementwise, Op
from backpass.ir.types import ArrayType, Dim, Type

_serial = itertools.count()


class Surface(Protocol):
    """The few concrete ops that the surface of a Node needs; `ops` fills this in at import."""

    binary: dict[str, Callable[[], Op]]  # "+", "-", "*", "/", "@", ">", ">=", "<", "<="
    power: Callable[[float], Op]
    item: Callable[[Node, Any], Node]  # x[1:3], x[i]
    functions: Iterable[str]  # names of the functions that take Nodes
    negate: Callable[[], Op]
    identity: Callable[[], Op]
    transpose: Callable[[tuple[int, ...]], Op]
    reshape: Callable[[tuple[Dim, ...]], Op]
    broadcast: Callable[[tuple[Dim, ...], tuple[int, ...]], Op]
    constant: Callable[[float, str], Op]


class _Surface:
    """Empty until `ops` is imported: `ir` knows no concrete op."""

    def __init__(self) -> None:
        self.binary: dict[str, Callable[[], Op]] = {}
        self.functions: Iterable[str] = ()


SURFACE: Surface = _Surface()  # type: ignore[assignment]


def normalised(name: str) -> str:
    """A name as Python itself will read it (identifiers are NFKC-normalised)."""
    plain = unicodedata.normalize("NFKC", name)
    if not plain.isidentifier() or keyword.iskeyword(plain):
        raise GraphError(f"a value's name must be a Python identifier and no keyword, got {name!r}")
    return plain


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One value: an op on inputs, with its type. Immutable; equality is identity.

    ``serial`` grows with creation, so any set of nodes sorted by it is a valid program order, and reads as
    a person would write it: forward, then backward, then update.

    Infix operators build nodes; numbers become constants and shapes are broadcast explicitly.

    Examples
    --------
    >>> from backpass.ops import data, parameter
    >>> x, b = data("x", "f64[B,3]"), parameter("b", "f64[3]")
    >>> str((x + b).type)
    'f64[B,3]'
    """

    op: Op
    inputs: tuple[Node, ...]
    type: Type
    name: str | None = None
    serial: int = field(default_factory=lambda: next(_serial))

    def named(self, name: str) -> Node:
        """The same value under a name: a new node."""
        return Node(self.op, self.inputs, self.type, normalised(name))

    @property
    def array_type(self) -> ArrayType:
        """The type, where the value is an array."""
        if not isinstance(self.type, ArrayType):
            raise ShapeError(f"{self} is a tuple; take a part of it with Item(i)")
        return self.type

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.array_type.shape

    @property
    def dtype(self) -> str:
        return self.array_type.dtype

    def __add__(self, other: Node | float) -> Node:
        return SURFACE.binary["+"]()(self, other)

    def __radd__(self, other: float) -> Node:
        return SURFACE.binary["+"]()(other, self)

    def __sub__(self, other: Node | float) -> Node:
        return SURFACE.binary["-"]()(self, other)

    def __rsub__(self, other: float) -> Node:
        return SURFACE.binary["-"]()(other, self)

    def __mul__(self, other: Node | float) -> Node:
        return SURFACE.binary["*"]()(self, other)

    def __rmul__(self, other: float) -> Node:
        return SURFACE.binary["*"]()(other, self)

    def __truediv__(self, other: Node | float) -> Node:
        return SURFACE.binary["/"]()(self, other)

    def __rtruediv__(self, other: float) -> Node:
        return SURFACE.binary["/"]()(other, self)

    def __matmul__(self, other: Node) -> Node:
        return SURFACE.binary["@"]()(self, other)

    def __pow__(self, exponent: float) -> Node:
        if isinstance(exponent, Node):
            raise UsageError("the exponent of ** is a number; write exp(b * log(a)) for a ** b")
        return SURFACE.power(float(exponent))(self)

    def __gt__(self, other: Node | float) -> Node:
        return SURFACE.binary[">"]()(self, other)

    def __ge__(self, other: Node | float) -> Node:
        return SURFACE.binary[">="]()(self, other)

    def __lt__(self, other: Node | float) -> Node:
        return SURFACE.binary["<"]()(self, other)

    def __le__(self, other: Node | float) -> Node:
        return SURFACE.binary["<="]()(self, other)

    def __neg__(self) -> Node:
        return SURFACE.negate()(self)

    def __getitem__(self, key: Any) -> Node:
        return SURFACE.item(self, key)

    __iter__ = None  # else Python would try x[0], x[1], ... without end

    def __bool__(self) -> bool:
        raise UsageError(
            f"{self} has no value while a program is written, so it is neither true nor false; write "
            "backpass.functions.where(condition, a, b) for a choice, `x is None` for a test of presence"
        )

    def __float__(self) -> float:
        raise UsageError(
            f"{self} has no value while a program is written, so it is no Python number; functions of Nodes "
            "are in backpass.functions"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Node:
        """NumPy's own numbers work with infix operators; anything else of NumPy's is refused, by name."""
        symbol = _UFUNCS.get(ufunc.__name__)
        if symbol and method == "__call__" and not settings:
            a, b = (x if isinstance(x, Node) or np.ndim(x) else float(x) for x in inputs)
            if not (hasattr(a, "__array__") or hasattr(b, "__array__")):
                return SURFACE.binary[symbol]()(a, b)
            raise UsageError(
                f"an array cannot be combined with {self}: give it to the program as an input, for example "
                'backpass.ops.data("x", "f64[B,3]")'
            )
        raise _numpy_instead(ufunc.__name__, self)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Node:
        raise _numpy_instead(function.__name__, self)

    @property
    def T(self) -> Node:
        """The transpose: axes in reverse order."""
        return SURFACE.transpose(tuple(reversed(range(self.array_type.ndim))))(self)

    def __str__(self) -> str:
        return f"{self.name or self.op.name}: {self.type}"

    __repr__ = __str__


_UFUNCS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "matmul": "@",
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
}


def _numpy_instead(name: str, node: Node) -> UsageError:
    ours = {"absolute": "abs"}.get(name, name)
    if ours in SURFACE.functions:
        hint = f"use backpass.functions.{ours}"
    else:
        hint = f"there is no backpass.functions.{ours}; there are {', '.join(sorted(SURFACE.functions))}"
    return UsageError(f"np.{name} calculates with numbers, and {node} is a value of a program: {hint}")


def apply(op: Op, *inputs: Node | float, name: str | None = None) -> Node:
    """The Node of `op` on `inputs`.

    Numbers become constants of the dtype of the inputs that share the value's, if there are any. For an
    elementwise op, inputs of smaller shape are broadcast by NumPy's rule, and the broadcast is a node of its
    own: no vjp ever has to undo one.

    Raises
    ------
    ShapeError
        The inputs do not fit the op; the message shows every input.
    """
    dtype = _dtype_of_numbers(op, inputs)
    try:
        nodes = tuple(x if isinstance(x, Node) else _constant(x, dtype) for x in inputs)
    except TypeError:
        wrong = next(x for x in inputs if not isinstance(x, Node) and not isinstance(x, (int, float)))
        raise UsageError(
            f"{op.name} takes values of a program and numbers, not {type(wrong).__name__}"
        ) from None
    try:
        if isinstance(op, Elementwise):
            nodes = _broadcast(nodes)
        type_ = op.infer(*(x.type for x in nodes))
    except ShapeError as error:
        where = f"\n  {name} = " if name else "\n  "
        raise ShapeError(f"{error}{where}{op.name}({', '.join(map(str, nodes))})") from None
    return Node(op, nodes, type_, None if name is None else normalised(name))


def _dtype_of_numbers(op: Op, inputs: tuple[Node | float, ...]) -> str:
    known = {
        i: x.type.dtype for i, x in enumerate(inputs) if isinstance(x, Node) and isinstance(x.type, ArrayType)
    }
    typed = [t for i, t in known.items() if i not in op.untyped]
    floats = [t for t in known.values() if t in FLOATS]
    return next(iter(typed or floats), "f64")


def _constant(value: float, dtype: str) -> Node:
    number = float(value)
    if dtype == "i64" and not number.is_integer():
        raise ShapeError(f'{value} beside integers; cast these first, for example with Cast("f64")')
    return SURFACE.constant(number, dtype)()


def _broadcast(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Give all nodes the shape that NumPy's broadcasting would give them."""
    shapes = [x.shape for x in nodes]
    if len(set(shapes)) == 1:
        return nodes
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    target: list[Dim] = []
    for sizes in zip(*padded, strict=True):
        proper = {s for s in sizes if s != 1}
        if len(proper) > 1:
            raise ShapeError(f"shapes do not broadcast: {' and '.join(str(x.type) for x in nodes)}")
        target.append(proper.pop() if proper else 1)
    return tuple(broadcast_to(x, tuple(target)) for x in nodes)


def broadcast_to(x: Node, shape: tuple[Dim, ...]) -> Node:
    """Repeat `x` along leading and size-1 axes so that it takes `shape`."""
    if x.shape == shape:
        return x
    lead = len(shape) - len(x.shape)
    kept = [i for i, s in enumerate(x.shape) if not (s == 1 and shape[lead + i] != 1)]
    if len(kept) < len(x.shape):
        bare = tuple(x.shape[i] for i in kept)
        kept_dims = x.name is None and type(x.op) is SURFACE.reshape and x.inputs[0].shape == bare
        x = x.inputs[0] if kept_dims else SURFACE.reshape(bare)(x)
    return SURFACE.broadcast(shape, tuple(lead + i for i in kept))(x)


def inputs_of(roots: Any) -> list[Node]:
    """Every node that `roots` depend on, themselves included, in program order."""
    seen: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node.serial not in seen:
            seen[node.serial] = node
            stack.extend(node.inputs)
    return [seen[serial] for serial in sorted(seen)]
