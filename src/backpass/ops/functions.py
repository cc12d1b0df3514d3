"""The ops as functions, spelled like NumPy's: what a program is written with.

Every function takes and gives Nodes; beside a Node, numbers will do. Axes may be counted from the end. Infix
operators, ``x ** 2``, ``x > 0``, ``x[:, 1:3]``, ``E[i]`` and ``x.T`` work on Nodes themselves.

Examples
--------
>>> import backpass.ops.functions as F
>>> from backpass.ir import Graph
>>> from backpass.ops import data
>>> x = data("x", "f64[B,3]")
>>> y = F.where(x > 0, F.sqrt(F.abs(x)), F.sum(x**2, axis=-1, keepdims=True))
>>> print(Graph({"y": y}).text(prelude=False))
y = where(x > 0, sqrt(abs(x)), sum(x ** 2, axis=1)[:, None])  # f64[B,3]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from backpass.errors import ShapeError, UsageError
from backpass.ir.node import SURFACE, Node, inputs_of
from backpass.ir.node import broadcast_to as _broadcast_to
from backpass.ir.op import FLOATS, Op
from backpass.ir.types import ArrayType, Dim
from backpass.ops import activations, arithmetic, compare, heads, index, linalg, reduce, shape, transcendental
from backpass.ops.leaves import constant
from backpass.ops.random import Uniform

Axes: TypeAlias = int | Sequence[int] | None
Value: TypeAlias = Node | float


def _node(x: Any, function: str) -> Node:
    if not isinstance(x, Node):
        raise UsageError(
            f"{function} takes a value of a program (a Node), got {type(x).__name__}. To calculate with "
            "arrays, write a function of Nodes and call backpass.value_and_grad(function)"
        )
    return x


def _axis(axis: int, rank: int, function: str) -> int:
    """An axis counted from 0."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
        raise ShapeError(
            f"{function} along axis {axis!r}: there are {rank} axes, so it is from {-rank} to {rank - 1}"
        )
    return axis % rank


def _axes(axis: Axes, x: Node, function: str) -> tuple[int, ...]:
    """Axes as the setting of a reduction: counted from 0, empty for all."""
    if axis is None:
        return ()
    wanted = (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(sorted(_axis(a, len(x.shape), function) for a in wanted))


# ---- entry by entry


def _unary(op: Callable[[], Op], doc: str) -> Callable[[Node], Node]:
    name = op().name

    def function(x: Node) -> Node:
        return op()(_node(x, name))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}\n\n    See `backpass.ops.{type(op()).__name__}`."
    return function


def _binary(op: Callable[[], Op], doc: str) -> Callable[[Value, Value], Node]:
    name = op().name

    def function(a: Value, b: Value) -> Node:
        _node(a if isinstance(a, Node) else b, name)
        return op()(a, b)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}\n\n    See `backpass.ops.{type(op()).__name__}`."
    return function


abs = _unary(arithmetic.Abs, "Absolute value.")
negate = _unary(arithmetic.Negate, "Change of sign.")
sign = _unary(arithmetic.Sign, "−1, 0 or 1.")
square = _unary(arithmetic.Square, "x².")
sqrt = _unary(arithmetic.Sqrt, "Square root.")
exp = _unary(transcendental.Exp, "Exponential function.")
expm1 = _unary(transcendental.Expm1, "eˣ − 1.")
log = _unary(transcendental.Log, "Natural logarithm.")
log1p = _unary(transcendental.Log1p, "ln(1 + x).")
sin = _unary(transcendental.Sin, "Sine.")
cos = _unary(transcendental.Cos, "Cosine.")
erf = _unary(transcendental.Erf, "Error function.")
tanh = _unary(activations.Tanh, "Hyperbolic tangent.")
sigmoid = _unary(activations.Sigmoid, "Logistic function.")
relu = _unary(activations.Relu, "max(x, 0).")
softplus = _unary(activations.Softplus, "ln(1 + eˣ).")
softsign = _unary(activations.Softsign, "x / (1 + |x|).")
selu = _unary(activations.Selu, "Self-normalising exponential linear unit.")
silu = _unary(activations.Silu, "x σ(x).")
hard_tanh = _unary(activations.HardTanh, "x moved into [−1, 1].")
stop_gradient = _unary(compare.StopGradient, "The same value, through which no derivative flows.")

add = _binary(arithmetic.Add, "a + b.")
subtract = _binary(arithmetic.Subtract, "a − b.")
multiply = _binary(arithmetic.Multiply, "a times b, entry by entry.")
divide = _binary(arithmetic.Divide, "a / b.")
maximum = _binary(arithmetic.Maximum, "The larger, entry by entry.")
minimum = _binary(arithmetic.Minimum, "The smaller, entry by entry.")
greater = _binary(compare.Greater, "Whether a > b.")
greater_equal = _binary(compare.GreaterEqual, "Whether a ≥ b.")
less = _binary(compare.Less, "Whether a < b.")
less_equal = _binary(compare.LessEqual, "Whether a ≤ b.")
equal = _binary(compare.Equal, "Whether a = b.")
not_equal = _binary(compare.NotEqual, "Whether a ≠ b.")


def power(x: Node, exponent: float) -> Node:
    """x to a fixed power."""
    return _node(x, "power") ** exponent


def leaky_relu(x: Node, slope: float = 0.01) -> Node:
    """x where it is positive, else `slope` x."""
    return activations.LeakyRelu(float(slope))(_node(x, "leaky_relu"))


def elu(x: Node, alpha: float = 1.0) -> Node:
    """x where it is positive, else `alpha` (eˣ − 1)."""
    return activations.Elu(float(alpha))(_node(x, "elu"))


def gelu(x: Node, approximate: str = "none") -> Node:
    """x Φ(x), with Φ by the error function ("none") or approximated ("tanh")."""
    return activations.Gelu(approximate)(_node(x, "gelu"))


def clip(x: Node, low: float, high: float) -> Node:
    """x moved into [low, high]; infinite bounds do nothing."""
    return arithmetic.Clip(float(low), float(high))(_node(x, "clip"))


def where(condition: Node, a: Value, b: Value) -> Node:
    """a where the condition is true, else b. See `backpass.ops.Where` for what that means for derivatives.

    Where both are numbers, they take the dtype of what the condition compares.
    """
    below = inputs_of([_node(condition, "where")])
    if not isinstance(a, Node) and not isinstance(b, Node):
        floats = (x.dtype for x in reversed(below) if isinstance(x.type, ArrayType) and x.dtype in FLOATS)
        a = constant(a, next(floats, "f64"))
    return compare.Where()(condition, a, b)


def cast(x: Node, dtype: str) -> Node:
    """The same values as "f32", "f64", "i64" or "bool"."""
    return compare.Cast(dtype)(_node(x, "cast"))


# ---- reductions


def _reduced(op: Callable[[tuple[int, ...]], Op], x: Node, axis: Axes, keepdims: bool) -> Node:
    name = op(()).name
    axes = _axes(axis, _node(x, name), name)
    y = op(axes)(x)
    if not keepdims:
        return y
    gone = axes or tuple(range(len(x.shape)))
    return shape.Reshape(tuple(1 if i in gone else d for i, d in enumerate(x.shape)))(y)


def sum(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Sum of entries along `axis` (None: over all)."""
    return _reduced(reduce.Sum, x, axis, keepdims)


def mean(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Mean of entries along `axis` (None: over all)."""
    return _reduced(reduce.Mean, x, axis, keepdims)


def max(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Largest entry along `axis` (None: of all)."""
    return _reduced(reduce.Max, x, axis, keepdims)


def min(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Smallest entry along `axis` (None: of all)."""
    return _reduced(reduce.Min, x, axis, keepdims)


def prod(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Product of entries along `axis` (None: of all)."""
    return _reduced(reduce.Prod, x, axis, keepdims)


def logsumexp(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """ln Σ exp(x) along `axis` (None: over all)."""
    return _reduced(reduce.LogSumExp, x, axis, keepdims)


def argmax(x: Node, axis: int = -1) -> Node:
    """Where along `axis` the largest entry is."""
    return reduce.ArgMax(_axis(axis, len(_node(x, "argmax").shape), "argmax"))(x)


def cumsum(x: Node, axis: int = -1, reverse: bool = False) -> Node:
    """Sums of the entries up to each one along `axis`."""
    return reduce.CumSum(_axis(axis, len(_node(x, "cumsum").shape), "cumsum"), reverse)(x)


# ---- shape


def reshape(x: Node, shape_: Sequence[Dim]) -> Node:
    """The same entries in another shape; names of dimensions may be among its sizes."""
    _node(x, "reshape")
    return shape.Reshape((shape_,) if isinstance(shape_, (int, str)) else tuple(shape_))(x)


def transpose(x: Node, axes: Sequence[int] | None = None) -> Node:
    """Axes in another order; in reverse order if it is not given."""
    rank = len(_node(x, "transpose").shape)
    order = tuple(reversed(range(rank))) if axes is None else tuple(_axis(a, rank, "transpose") for a in axes)
    return shape.Transpose(order)(x)


def broadcast_to(x: Node, shape_: Sequence[Dim]) -> Node:
    """x repeated along new leading axes and axes of size 1."""
    target, x = tuple(shape_), _node(x, "broadcast_to")
    lead = len(target) - len(x.shape)
    if lead < 0 or any(s not in (1, t) for s, t in zip(x.shape, target[lead:], strict=True)):
        raise ShapeError(f"{x.type} does not broadcast to {target}")
    return _broadcast_to(x, target)


def expand_dims(x: Node, axis: int) -> Node:
    """x with a new axis of size 1."""
    at = _axis(axis, len(_node(x, "expand_dims").shape) + 1, "expand_dims")
    return shape.Reshape((*x.shape[:at], 1, *x.shape[at:]))(x)


def concatenate(xs: Sequence[Node], axis: int = 0) -> Node:
    """Arrays one after another along `axis`."""
    nodes = [_node(x, "concatenate") for x in xs]
    return index.Concatenate(_axis(axis, len(nodes[0].shape) if nodes else 0, "concatenate"))(*nodes)


def stack(xs: Sequence[Node], axis: int = 0) -> Node:
    """Arrays of one type beside each other along a new axis."""
    nodes = [_node(x, "stack") for x in xs]
    return index.Stack(_axis(axis, (len(nodes[0].shape) if nodes else 0) + 1, "stack"))(*nodes)


def pad(x: Node, widths: int | Sequence[tuple[int, int]]) -> Node:
    """Zeros before and after the entries along each axis; one number means that many everywhere."""
    rank = len(_node(x, "pad").shape)
    pairs = (
        ((widths, widths),) * rank if isinstance(widths, int) else tuple((int(a), int(b)) for a, b in widths)
    )
    return index.Pad(pairs)(x)


def gather(x: Node, i: Node | int, axis: int = 0) -> Node:
    """Slices of x along `axis`, one for each integer of an index (``np.take``)."""
    at = _axis(axis, len(_node(x, "gather").shape), "gather")
    return index.Gather(at)(x, constant(i, "i64") if isinstance(i, int) else i)


take = gather


def scatter_add(values: Node, i: Node, size: Dim, axis: int = 0) -> Node:
    """Zeros of length `size` along `axis`, with slices of `values` added where an index says."""
    return index.ScatterAdd(axis, size)(_node(values, "scatter_add"), i)


# ---- products, heads, random numbers


def matmul(a: Node, b: Node) -> Node:
    """Matrix product; of stacks of matrices, where the leading axes are equal."""
    return linalg.MatMul()(_node(a, "matmul"), _node(b, "matmul"))


def einsum(spec: str, *xs: Node) -> Node:
    """Product of arrays, summed over the indices that the result lacks: ``einsum("bi,ij->bj", x, W)``."""
    return linalg.Einsum(spec.replace(" ", ""))(*(_node(x, "einsum") for x in xs))


def _over_last(op: Op, x: Node, axis: int) -> Node:
    rank = len(_node(x, op.name).shape)
    at = _axis(axis, rank, op.name)
    if at == rank - 1:
        return op(x)
    swapped = list(range(rank))
    swapped[at], swapped[-1] = swapped[-1], at
    turn = shape.Transpose(tuple(swapped))
    return turn(op(turn(x)))


def softmax(x: Node, axis: int = -1) -> Node:
    """exp(x) / Σ exp(x) along `axis`."""
    return _over_last(heads.Softmax(), x, axis)


def log_softmax(x: Node, axis: int = -1) -> Node:
    """ln softmax(x) along `axis`."""
    return _over_last(heads.LogSoftmax(), x, axis)


softmax_cross_entropy = _binary(
    heads.SoftmaxCrossEntropy, "Cross-entropy of softmax(z) against a distribution t."
)
sigmoid_cross_entropy = _binary(
    heads.SigmoidCrossEntropy, "Cross-entropy of each σ(z) against its own target."
)
squared_error = _binary(heads.SquaredError, "½ Σ (a − t)² along the last axis.")


def uniform(counter: Node, key: int, shape_: Sequence[Dim], dtype: str = "f64") -> Node:
    """Numbers in [0, 1), a pure function of an i64[] counter. See `backpass.ops.Uniform`."""
    return Uniform(key, tuple(shape_), dtype)(_node(counter, "uniform"))


#: What this module offers; NumPy's function of that name, called with a Node, says so.
NAMES = tuple(
    sorted(
        name
        for name, value in list(globals().items())
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == __name__
    )
)
SURFACE.functions = NAMES
