"""Activation functions, entry by entry.

At a kink the derivative is a choice. Where JAX and PyTorch agree, theirs is taken; where they do not,
PyTorch's; each docstring says which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

from backpass.errors import UsageError
from backpass.ir.node import Node
from backpass.ir.op import Elementwise, Precedence, Sample
from backpass.ir.types import ArrayType
from backpass.ops.arithmetic import Abs, Clip, Minimum
from backpass.ops.compare import Where
from backpass.ops.transcendental import Erf, Exp

_ONE = (Sample((("m", "n"),)),)
_KINK = (Sample((("m", "n"),), away_from=0.0),)


class _Activation(Elementwise):
    """What they share: an estimate of the work."""

    per_entry: ClassVar[int] = 12

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return self.per_entry * y.size


@final
@dataclass(frozen=True)
class Tanh(_Activation):
    """Hyperbolic tangent; its derivative is 1 − tanh²."""

    name = "tanh"
    notation = "tanh({0})"
    tex = r"\tanh({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.tanh(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (1 - y * y),)


@final
@dataclass(frozen=True)
class Sigmoid(_Activation):
    """Logistic function σ(x) = 1 / (1 + e⁻ˣ); its derivative is σ (1 − σ).

    The formula keeps full relative accuracy on both sides: where e⁻ˣ overflows, σ is exactly 0.
    """

    name = "sigmoid"
    notation = "sigmoid({0})"
    tex = r"\sigma({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return 1 / (1 + xp.exp(-x))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (y * (1 - y)),)


@final
@dataclass(frozen=True)
class Relu(_Activation):
    """Rectified linear unit, max(x, 0).

    At the kink the derivative is taken as 0, as in JAX and PyTorch (the smallest-norm subgradient).
    """

    name = "relu"
    notation = "relu({0})"
    tex = r"\operatorname{relu}({0})"
    per_entry = 1
    samples = _KINK

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.maximum(x, 0)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Gate()(adj, x),)


@final
@dataclass(frozen=True)
class Gate(_Activation):
    """The first input where the second is positive, else 0: what ReLU lets back."""

    name = "gate"
    notation = "{0} * ({1} > 0)"
    tex = r"{0} \odot [{1} > 0]"
    precedence = Precedence.PRODUCT
    untyped = (1,)
    per_entry = 1
    samples = (Sample((("m", "n"), ("m", "n")), away_from=0.0),)

    def forward(self, xp: Any, /, a: Any, x: Any) -> Any:
        return a * (x > 0)

    def vjp(self, adj: Node, y: Node, /, a: Node, x: Node) -> tuple[Node, None]:
        return Gate()(adj, x), None  # constant in x away from the kink


@final
@dataclass(frozen=True)
class Softplus(_Activation):
    """ln(1 + eˣ), a smooth ReLU (Dugas et al. 2001); its derivative is σ(x).

    Written as max(x, 0) + ln(1 + e^−|x|), so that nothing overflows.
    """

    name = "softplus"
    notation = "softplus({0})"
    tex = r"\operatorname{softplus}({0})"
    per_entry = 24
    samples = _KINK  # only the way it is written has one, for an autodiff that differentiates that

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * Sigmoid()(x),)


@final
@dataclass(frozen=True)
class Softsign(_Activation):
    """x / (1 + |x|); its derivative is 1 / (1 + |x|)²."""

    name = "softsign"
    notation = "softsign({0})"
    tex = r"\operatorname{softsign}({0})"
    per_entry = 3
    samples = _KINK  # of second order

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x / (1 + xp.abs(x))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj / (1 + Abs()(x)) ** 2,)


@final
@dataclass(frozen=True)
class LeakyRelu(_Activation):
    """x where it is positive, else `slope` x (Maas, Hannun & Ng 2013).

    At the kink the derivative is `slope`, as in PyTorch (JAX: 1).
    """

    slope: float = 0.01
    name = "leaky_relu"
    notation = "leaky_relu({0}, {slope})"
    tex = r"\operatorname{leaky}({0}, {slope})"
    per_entry = 2
    samples = _KINK

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.where(x > 0, x, self.slope * x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Where()(x > 0, adj, self.slope * adj),)


@final
@dataclass(frozen=True)
class Elu(_Activation):
    """x where it is positive, else `alpha` (eˣ − 1) (Clevert, Unterthiner & Hochreiter 2016).

    At 0 the derivative is `alpha`, as in JAX and PyTorch.
    """

    alpha: float = 1.0
    name = "elu"
    notation = "elu({0}, {alpha})"
    tex = r"\operatorname{elu}({0}, {alpha})"
    samples = _KINK

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0)))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Where()(x > 0, adj, adj * (self.alpha * Exp()(Minimum()(x, 0)))),)


#: Fixed point of zero mean and unit variance: Klambauer et al., Self-normalizing networks (2017), eq. 14.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@final
@dataclass(frozen=True)
class Selu(_Activation):
    """λ x where x is positive, else λ α (eˣ − 1), with the constants of Klambauer et al. (2017).

    At 0 the derivative is λ α, as in JAX and PyTorch.
    """

    name = "selu"
    notation = "selu({0})"
    tex = r"\operatorname{selu}({0})"
    samples = _KINK

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.where(x > 0, _SELU_SCALE * x, _SELU_SCALE * _SELU_ALPHA * xp.expm1(xp.minimum(x, 0)))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        below = _SELU_SCALE * _SELU_ALPHA * Exp()(Minimum()(x, 0))
        return (Where()(x > 0, _SELU_SCALE * adj, adj * below),)


_TANH_SCALE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715


@final
@dataclass(frozen=True)
class Gelu(_Activation):
    """Gaussian error linear unit x Φ(x) (Hendrycks & Gimpel 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Φ by the error function, or the paper's approximation ½ (1 + tanh(√(2/π) (x + 0.044715 x³))).
    """

    approximate: str = "none"
    name = "gelu"
    notation = "gelu({0})"
    tex = r"\operatorname{gelu}({0})"
    per_entry = 20

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise UsageError(f'gelu is approximate="none" or "tanh", not {self.approximate!r}')

    def source(self) -> str:
        return "gelu({0})" if self.approximate == "none" else "gelu_tanh({0})"

    def forward(self, xp: Any, /, x: Any) -> Any:
        if self.approximate == "none":
            return 0.5 * x * (1 + xp.erf(x * math.sqrt(0.5)))
        return 0.5 * x * (1 + xp.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x)))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        if self.approximate == "none":
            density = 1 / math.sqrt(2 * math.pi) * Exp()(-0.5 * x**2)
            return (adj * (0.5 * (1 + Erf()(x * math.sqrt(0.5))) + x * density),)
        u = Clip(-30.0, 30.0)(x)  # beyond, tanh is ±1; x² would overflow, and 0 · ∞ is NaN
        t = Tanh()(_TANH_SCALE * (u + _TANH_CUBIC * u * u * u))
        inner = _TANH_SCALE * (1 + 3 * _TANH_CUBIC * u**2)
        return (adj * (0.5 * (1 + t) + 0.5 * u * (1 - t * t) * inner),)


@final
@dataclass(frozen=True)
class Silu(_Activation):
    """x σ(x), also called swish (Elfwing, Uchibe & Doya 2018); its derivative is σ (1 + x (1 − σ))."""

    name = "silu"
    notation = "silu({0})"
    tex = r"\operatorname{silu}({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x / (1 + xp.exp(-x))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        s = Sigmoid()(x)
        return (adj * (s * (1 + x * (1 - s))),)


@final
@dataclass(frozen=True)
class HardTanh(_Activation):
    """x moved into [−1, 1] (Collobert 2004).

    At ±1 the derivative is 0, as in PyTorch (JAX: 1).
    """

    name = "hard_tanh"
    notation = "hard_tanh({0})"
    tex = r"\operatorname{hardtanh}({0})"
    per_entry = 2
    samples = (
        Sample((("m", "n"),), away_from=1.0, within=(-0.5, 3.0)),
        Sample((("m", "n"),), away_from=-1.0, within=(-3.0, 0.5)),
    )

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.minimum(xp.maximum(x, -1), 1)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Where()(Abs()(x) < 1, adj, 0),)


Gelu.samples = tuple(Sample((("m", "n"),), op=Gelu(a)) for a in ("none", "tanh"))
