"""Functions of one number that are in every table, entry by entry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from backpass.ir.node import Node
from backpass.ir.op import Elementwise, Sample
from backpass.ir.types import ArrayType

_ONE = (Sample((("m", "n"),)),)


class _Function(Elementwise):
    """What they share: about ten operations an entry."""

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 10 * y.size


@final
@dataclass(frozen=True)
class Exp(_Function):
    """Exponential function."""

    name = "exp"
    notation = "exp({0})"
    tex = r"\exp({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.exp(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * y,)


@final
@dataclass(frozen=True)
class Expm1(_Function):
    """eˣ − 1, exact where x is so small that eˣ rounds to 1."""

    name = "expm1"
    notation = "expm1({0})"
    tex = r"(e^{{0}} - 1)"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.expm1(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * Exp()(x),)


@final
@dataclass(frozen=True)
class Log(_Function):
    """Natural logarithm."""

    name = "log"
    notation = "log({0})"
    tex = r"\ln({0})"
    samples = (Sample((("m", "n"),), within=(0.3, 4.0)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.log(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj / x,)


@final
@dataclass(frozen=True)
class Log1p(_Function):
    """ln(1 + x), exact where x is so small that 1 + x rounds to 1."""

    name = "log1p"
    notation = "log1p({0})"
    tex = r"\ln(1 + {0})"
    samples = (Sample((("m", "n"),), within=(-0.5, 4.0)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.log1p(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj / (1 + x),)


@final
@dataclass(frozen=True)
class Sin(_Function):
    """Sine."""

    name = "sin"
    notation = "sin({0})"
    tex = r"\sin({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.sin(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * Cos()(x),)


@final
@dataclass(frozen=True)
class Cos(_Function):
    """Cosine."""

    name = "cos"
    notation = "cos({0})"
    tex = r"\cos({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.cos(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (-(adj * Sin()(x)),)


@final
@dataclass(frozen=True)
class Erf(_Function):
    """Error function 2/√π ∫₀ˣ exp(−t²) dt (Abramowitz & Stegun, 7.1.1)."""

    name = "erf"
    notation = "erf({0})"
    tex = r"\operatorname{erf}({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.erf(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (2 / math.sqrt(math.pi) * Exp()(-(x**2))),)
