"""Losses: one number an example.

The final activation belongs to the loss (idea 10 of the design): a softmax or sigmoid output under
cross-entropy becomes one head with one joint derivative, δ = a − t. So a loss sees the pre-activation z of
the output layer, its activation a, the targets t, and the name of the activation. Unless a loss says
otherwise, it is added over the outputs of an example.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from backpass import ops
from backpass.errors import ShapeError, UsageError, nearest
from backpass.ir import Node
from backpass.nn.initialisers import real


class Loss(ABC):
    """How far outputs are from targets. Subclasses are frozen dataclasses; their fields are settings."""

    name: ClassVar[str]

    @abstractmethod
    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        """The loss of each example.

        Parameters
        ----------
        z, a : Node
            The pre-activation and the activation of the output layer, [B, k].
        t : Node
            The targets, of the type of `a`.
        activation : str
            The name of the activation.

        Returns
        -------
        Node
            [B].

        Raises
        ------
        UsageError
            The loss makes no sense for outputs of this activation.
        """

    def describe(self) -> dict[str, Any]:
        """The loss as plain data, for `loss_named`."""
        return {"name": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    def refuse(self, activation: str, fits: str, instead: str) -> None:
        raise UsageError(
            f"{self.name} needs {fits}, and the last layer's activation is {activation!r}.\n  {instead}"
        )


def _over_outputs(each: Node) -> Node:
    return ops.Sum((1,))(each)


@dataclass(frozen=True)
class SquaredError(Loss):
    """½ Σ (a − t)², the loss of Rumelhart, Hinton & Williams (1986), eq. 3."""

    name: ClassVar[str] = "squared_error"

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        return ops.SquaredError()(a, t)


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """The mean over the outputs of (a − t)², which other libraries call MSE: 2/k times `SquaredError`."""

    name: ClassVar[str] = "mean_squared_error"

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        return ops.Mean((1,))(ops.Square()(a - t))


@dataclass(frozen=True)
class Absolute(Loss):
    """Σ |a − t|: its minimum is the conditional median (Laplace 1774). At a = t the derivative is 0."""

    name: ClassVar[str] = "absolute"

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        return _over_outputs(ops.Abs()(a - t))


@dataclass(frozen=True)
class Huber(Loss):
    """Σ of ½ e² where |e| ≤ delta, else delta (|e| − ½ delta), for e = a − t.

    Squared near the target, so smooth; absolute far away, so that outliers count less. Huber, Annals of
    Mathematical Statistics 35 (1964). Written with c = clip(e, −delta, delta) as c (e − ½ c).
    """

    delta: float = 1.0
    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        if not real(self.delta) or self.delta <= 0:
            raise UsageError(f"delta of the Huber loss is a number above 0, got {self.delta!r}")

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        error = a - t
        near = ops.Clip(-float(self.delta), float(self.delta))(error)
        return _over_outputs(near * (error - 0.5 * near))


@dataclass(frozen=True)
class LogCosh(Loss):
    """Σ ln cosh e for e = a − t: ½ e² near the target, |e| − ln 2 far away, smooth everywhere.

    Its derivative is tanh e. Written e + softplus(−2 e) − ln 2, so that cosh does not overflow. Green, IEEE
    Transactions on Medical Imaging 9 (1990).
    """

    name: ClassVar[str] = "log_cosh"

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        error = a - t
        return _over_outputs(error + ops.Softplus()(-2.0 * error) - math.log(2))


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """−Σ t ln a for softmax outputs; −Σ t ln a + (1 − t) ln(1 − a) where each output is a sigmoid of its own.

    Targets may be soft: any distribution over the classes, or any numbers in [0, 1] for sigmoids. δ = a − t
    (Bridle 1990; Bishop, Pattern Recognition and Machine Learning, 2006, 4.3 and 5.2).

    Parameters
    ----------
    smoothing : float
        Label smoothing: this share of each target is spread evenly, over the k classes or, for sigmoids, over
        yes and no. Szegedy et al., CVPR 2016, section 7.
    """

    smoothing: float = 0.0
    name: ClassVar[str] = "cross_entropy"

    def __post_init__(self) -> None:
        if not real(self.smoothing) or not 0 <= self.smoothing < 1:
            raise UsageError(f"smoothing is a share of at least 0 and below 1, got {self.smoothing!r}")

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        if activation not in ("softmax", "sigmoid"):
            raise UsageError(
                "cross-entropy needs outputs that are probabilities, and the last layer's activation is "
                f"{activation!r}.\n  Use activation 'softmax' (one of several classes) or 'sigmoid' (each "
                "output for itself) in the last layer, or loss='squared_error'."
            )
        if activation == "softmax" and z.shape[-1] == 1:
            raise UsageError(
                "softmax over a single output is always 1, so there is nothing to learn.\n"
                "  Use activation 'sigmoid' for one output, or one softmax output for each class."
            )
        share = float(self.smoothing)
        if share:
            t = (1 - share) * t + share / (int(z.shape[-1]) if activation == "softmax" else 2)
        return (ops.SoftmaxCrossEntropy() if activation == "softmax" else ops.SigmoidCrossEntropy())(z, t)


@dataclass(frozen=True)
class Hinge(Loss):
    """How far a score is from being right by a margin of 1; targets are 0 and 1, as for cross-entropy.

    One output: max(0, 1 − s z) with s = 2 t − 1 (Cortes & Vapnik, Machine Learning 20, 1995). Several
    classes: the maximum over the classes j of z_j + 1 − t_j, less the score of the right class (Crammer &
    Singer, JMLR 2, 2001, eq. 3).

    Parameters
    ----------
    several : {"crammer_singer", "one_vs_rest"}
        For several outputs: the form above, or the loss of one output, added over the outputs, which also
        serves where several labels are right (Rifkin & Klautau, JMLR 5, 2004).
    """

    several: Literal["crammer_singer", "one_vs_rest"] = "crammer_singer"
    name: ClassVar[str] = "hinge"

    def __post_init__(self) -> None:
        if self.several not in ("crammer_singer", "one_vs_rest"):
            known = nearest(str(self.several), ("crammer_singer", "one_vs_rest"))
            raise UsageError(f"there is no hinge loss {self.several!r} for several outputs. {known}")

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        if activation != "identity":
            self.refuse(
                activation,
                "outputs that are scores",
                "Leave the activation out of the last layer, or use loss='cross_entropy'.",
            )
        if z.shape[-1] != 1 and self.several == "crammer_singer":
            return ops.Max((1,))(z + (1 - t)) - _over_outputs(z * t)
        return _over_outputs(ops.Relu()(1 - (2.0 * t - 1) * z))


@dataclass(frozen=True)
class Poisson(Loss):
    """Σ rate − t ln(rate): the negative log likelihood of counts t, without ln t!, which learns nothing.

    The outputs are ln(rate): with activation "exp" the prediction is the rate, with "identity" its
    logarithm. Either way the loss is e^z − t z, in which no logarithm can meet 0, and δ = e^z − t.
    (McCullagh & Nelder, Generalized Linear Models, 2nd ed. 1989, ch. 6: the canonical link.)
    """

    name: ClassVar[str] = "poisson"

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        if activation not in ("identity", "exp"):
            self.refuse(
                activation,
                "outputs that are logarithms of rates",
                "Use activation 'exp' (the prediction is the rate) or 'identity' (it is ln(rate)).",
            )
        rate = a if activation == "exp" else ops.Exp()(z)
        return _over_outputs(rate - t * z)


@dataclass(frozen=True)
class Quantile(Loss):
    """Σ of q (t − a) where the output is too low, (1 − q) (a − t) where it is too high: the pinball loss.

    Its minimum is the conditional q-quantile. Koenker & Bassett, Econometrica 46 (1978). Written
    max(e, 0) − q e for e = a − t; at a = t the derivative is −q.

    Parameters
    ----------
    q : float
        Between 0 and 1, both excluded.
    """

    q: float = 0.5
    name: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        if not real(self.q) or not 0 < self.q < 1:
            raise UsageError(f"q of the quantile loss lies between 0 and 1, both excluded, got {self.q!r}")

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        if activation == "softmax":
            self.refuse(
                activation, "outputs that are quantities", "Use loss='cross_entropy', or another activation."
            )
        error = a - t
        return _over_outputs(ops.Relu()(error) - float(self.q) * error)


@dataclass(frozen=True)
class OwnLoss(Loss):
    """A loss of your own: a function of the outputs and the targets, node by node.

    Parameters
    ----------
    function : callable
        ``(a, t)`` to the loss of each example, [B], or of each output, [B, k], which is then added up.
    """

    function: Callable[[Node, Node], Node]
    name: ClassVar[str] = "function"

    def per_example(self, z: Node, a: Node, t: Node, activation: str) -> Node:
        given = self.function(a, t)
        if not isinstance(given, Node):
            raise UsageError(
                f"the loss {self.called} must give a node of the program, it gave {type(given).__name__}; "
                "write it with infix operators and backpass.functions"
            )
        if given.type == a.type:
            return _over_outputs(given)
        if given.shape != a.shape[:1] or given.dtype != a.dtype:
            raise ShapeError(
                f"the loss {self.called} must give a number for each example, [B], or for each output, "
                f"{a.type}; it gave {given.type}"
            )
        return given

    @property
    def called(self) -> str:
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "function": self.called}


#: The losses by name.
LOSSES: dict[str, type[Loss]] = {
    cls.name: cls
    for cls in (
        SquaredError,
        MeanSquaredError,
        Absolute,
        Huber,
        LogCosh,
        CrossEntropy,
        Hinge,
        Poisson,
        Quantile,
    )
}


#: What other libraries call them.
_ELSEWHERE = {
    "mse": "mean_squared_error",
    "l2": "mean_squared_error",
    "mae": "absolute",
    "l1": "absolute",
    "bce": "cross_entropy",
    "nll": "cross_entropy",
    "log_loss": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "cross_entropy",
    "pinball": "quantile",
    "smooth_l1": "huber",
}


def loss_named(given: str | Loss | Mapping[str, Any] | Callable[[Node, Node], Node]) -> Loss:
    """The loss that a name, a loss, the description of one, or a function of (a, t) stands for.

    Examples
    --------
    >>> loss_named("huber")
    Huber(delta=1.0)
    >>> loss_named(Quantile(0.9).describe())
    Quantile(q=0.9)
    """
    if isinstance(given, Loss):
        return given
    if isinstance(given, str) and given in LOSSES:
        return LOSSES[given]()
    if isinstance(given, Mapping):
        settings = {key: value for key, value in given.items() if key != "name"}
        if given.get("name") in LOSSES:
            try:
                return LOSSES[given["name"]](**settings)
            except TypeError as error:
                raise UsageError(f"this is not the description of a loss: {error}") from None
        if given.get("name") == OwnLoss.name:
            raise UsageError(
                f"the loss is the function {given.get('function')!r}, which a description does not hold; "
                "give the function itself"
            )
    elif callable(given):
        return OwnLoss(given)
    if isinstance(given, str) and (ours := _ELSEWHERE.get(given.lower())):
        raise UsageError(f"there is no loss {given!r}; here it is called {ours!r}")
    raise UsageError(f"there is no loss {given!r}. {nearest(str(given), LOSSES)}")


def default_loss(activation: str) -> str:
    """The loss that goes with the activation of the last layer."""
    known = {"softmax": "cross_entropy", "sigmoid": "cross_entropy", "exp": "poisson"}
    return known.get(activation, "squared_error")
