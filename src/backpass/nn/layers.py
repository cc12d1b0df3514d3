"""Layers: each adds its nodes to a program and says which weights it needs. It holds no weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass import ops
from backpass.errors import ShapeError, UsageError
from backpass.ir import Node, Op
from backpass.nn.activations import activated, activation_name, activation_op, default_initialiser
from backpass.nn.initialisers import Initialiser, Normal, initialiser, real
from backpass.nn.wires import ALWAYS, ARRAY, Layer, Place, Start, whole

Init = str | Initialiser | None


def drawn(
    rule: Init, default: Initialiser, shape: tuple[int, ...], given: ArrayLike | None, what: str
) -> Start:
    """Where an array of weights starts: drawn by a rule, or given.

    A given array is drawn for all the same, so that the weights of other layers do not depend on it.
    """
    chosen = default if rule is None else initialiser(rule)

    def start(rng: np.random.Generator) -> NDArray[np.float64]:
        array = chosen.draw(rng, shape)
        return array if given is None else given_array(given, shape, what)

    return start


def given_array(given: ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    """An array that was given to start from, checked."""
    array = np.asarray(given, dtype=np.float64)
    if array.shape != shape:
        raise ShapeError(f"the given {what} needs {list(shape)}, not shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise UsageError(f"the given {what} holds NaN or infinity")
    return array


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """Every input linked to every unit: z = x W + b, a = f(z).

    Parameters
    ----------
    units : int
        How many units the layer has.
    activation : str or Op
        One of `ACTIVATIONS`, or an op of one input, such as ``ops.LeakyRelu(0.2)`` or your own. "softmax"
        only in the last layer.
    in_features : int, optional
        How many inputs; inferred from what comes before if it is left out.
    init : str or Initialiser, optional
        Where the weights start; see `backpass.nn.initialisers`. By default "he" before the ReLU family
        (relu, leaky_relu, elu, gelu, silu), "lecun" before selu, and "glorot" otherwise.
    bias_init : str or Initialiser
        Where the biases start, "zeros" by default.
    weights, bias : array, optional
        Where to start instead: shapes (in_features, units) and (units,).
    use_bias : bool
        False for z = x W.
    trainable : bool
        False for weights that stay as they start.

    Notes
    -----
    The value before it has the shape [B, features]. After a value with more axes, such as that of an
    `Embedding`, put a `Flatten` in between.

    Examples
    --------
    >>> Dense(30, "sigmoid").shapes(784)
    {'W': (784, 30), 'b': (30,)}
    """

    units: int
    activation: str | Op = field(default="identity", metadata=ALWAYS)
    in_features: int | None = None
    init: Init = field(default=None, metadata=ALWAYS)
    bias_init: Init = None
    weights: ArrayLike | None = field(default=None, metadata=ARRAY)
    bias: ArrayLike | None = field(default=None, metadata=ARRAY)
    use_bias: bool = True
    trainable: bool = True

    kind: ClassVar[str] = "dense"
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not whole(self.units):
            raise UsageError(f"a layer needs at least one unit, got Dense({self.units!r})")
        activation_op(self.activation)
        for rule in (self.init, self.bias_init):
            if rule is not None:
                initialiser(rule)
        if not self.use_bias and (self.bias is not None or self.bias_init is not None):
            raise UsageError(f"{self!r} has use_bias=False, so there is no bias to start anywhere")

    @property
    def values(self) -> tuple[str, ...]:
        return ("z",) if activation_op(self.activation) is None else ("z", "a")

    def width(self, *before: int | None) -> int | None:
        return int(self.units)

    def shapes(self, in_features: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the layer's weights."""
        return {"W": (in_features, int(self.units))} | ({"b": (int(self.units),)} if self.use_bias else {})

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        number, in_features = place.names.number, x.shape[-1]
        if len(x.shape) != 2:
            raise ShapeError(
                f"{place.what} takes one axis of features, [B, features], but what comes before it is {x}\n"
                f"  Put Flatten() before Dense({self.units})."
            )
        if self.in_features is not None and self.in_features != in_features:
            raise ShapeError(
                f"layer {number}, Dense({self.units}), was given in_features={self.in_features}, "
                f"but what comes before it has {in_features} features\n"
                f"  Write Dense({self.units}, in_features={in_features}), or leave in_features out."
            )
        shapes = self.shapes(int(in_features))
        of = f"of Dense({self.units}) after {in_features} inputs"
        start = drawn(
            self.init, default_initialiser(self.activation), shapes["W"], self.weights, f"weights {of}"
        )
        z = x @ place.weight("W", shapes["W"], start, trainable=self.trainable)
        if self.use_bias:
            start = drawn(self.bias_init, initialiser("zeros"), shapes["b"], self.bias, f"bias {of}")
            z = z + place.weight("b", shapes["b"], start, trainable=self.trainable)
        return activated(self.activation, z.named(place.name("z")), place.name("a"))

    @property
    def final_activation(self) -> str:
        return activation_name(self.activation)

    def __repr__(self) -> str:
        shown = self.activation if isinstance(self.activation, Op) else repr(self.activation)
        return f"Dense({self.units}, {shown})"


@dataclass(frozen=True, eq=False)
class Activation(Layer):
    """An activation as a layer of its own: after a normalisation, or after wires that were added.

    Parameters
    ----------
    function : str or Op
        One of `ACTIVATIONS`, or an op of one input that keeps its shape.

    Examples
    --------
    >>> from backpass.nn import LayerNorm, Network
    >>> net = Network([Dense(8, use_bias=False), LayerNorm(), Activation("relu"), Dense(1)])
    """

    function: str | Op

    kind: ClassVar[str] = "activation"

    def __post_init__(self) -> None:
        activation_op(self.function)

    @property
    def values(self) -> tuple[str, ...]:
        return ("a",)

    @property
    def final_activation(self) -> str:
        return activation_name(self.function)

    def build(self, place: Place, *xs: Node) -> Node:
        return activated(self.function, xs[0], place.name("a"))


@dataclass(frozen=True, eq=False)
class Dropout(Layer):
    """While training, each entry is left out with probability `rate`, and the others are divided by 1 − rate.

    The mean stays what it was, so the prediction needs no scaling: there nothing is left out. (Srivastava et
    al., JMLR 15, 2014, section 10: inverted dropout.) The draws are a function of the step, of this layer's
    place and of the row of the batch: any step can be run again.

    Parameters
    ----------
    rate : float
        At least 0, below 1.
    """

    rate: float = 0.5

    kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        if not real(self.rate) or not 0 <= self.rate < 1:
            raise UsageError(
                f"the rate of Dropout is a probability of at least 0 and below 1, got {self.rate!r}"
            )

    @property
    def values(self) -> tuple[str, ...]:
        return ("mask", "drop")

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        if not place.training or not self.rate:
            return x
        draw = ops.Uniform(place.key, x.shape, x.dtype)(place.draws())
        kept = ops.filled(1 / (1 - float(self.rate)), x.array_type)
        mask = ops.Where()(ops.GreaterEqual()(draw, float(self.rate)), kept, 0.0, name=place.name("mask"))
        return (x * mask).named(place.name("drop"))


@dataclass(frozen=True, eq=False)
class Embedding(Layer):
    """Each category has a vector of its own, which is learned: [B,k] numbers of categories give [B,k,units].

    Parameters
    ----------
    categories : int
        How many there are, numbered from 0. They arrive as floats, as all inputs do; a fraction is cut off.
    units : int
        How long each vector is.
    init : str or Initialiser
        Where the vectors start, Normal(1.0) by default.
    weights : array, optional
        Where to start instead: shape (categories, units).
    trainable : bool
        False for vectors that stay as they start.

    Notes
    -----
    A number that is no category (negative, too large, or NaN) has the vector 0, and teaches nothing. The
    same as a one-hot code times E, without the zeros.
    """

    categories: int
    units: int
    init: Init = None
    weights: ArrayLike | None = field(default=None, metadata=ARRAY)
    trainable: bool = True

    kind: ClassVar[str] = "embedding"
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for word, value in (("categories", self.categories), ("units", self.units)):
            if not whole(value):
                raise UsageError(f"Embedding needs a whole number of {word}, at least 1, got {value!r}")
        if self.init is not None:
            initialiser(self.init)

    @property
    def values(self) -> tuple[str, ...]:
        return ("z",)

    def width(self, *before: int | None) -> int | None:
        return int(self.units)

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        shape = (int(self.categories), int(self.units))
        what = f"vectors of Embedding{shape}"
        E = place.weight(
            "E",
            shape,
            drawn(self.init, Normal(1.0), shape, self.weights, what),
            trainable=self.trainable,
        )
        below = ops.Where()(ops.Less()(x, float(self.categories)), x, -1.0)
        number = ops.Where()(ops.GreaterEqual()(x, 0.0), below, -1.0)  # -1 for what is no category
        known = ops.GreaterEqual()(number, 0.0)
        rows = ops.Gather(0)(E, ops.Cast("i64")(ops.Maximum()(number, 0.0)))
        spread = ops.Broadcast(rows.shape, tuple(range(len(x.shape))))(known)
        return ops.Where()(spread, rows, 0.0, name=place.name("z"))
