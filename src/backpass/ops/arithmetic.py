"""Arithmetic, entry by entry. Executors may fuse any chain of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.ir.node import SURFACE, Node
from backpass.ir.op import NUMBERS, Elementwise, Op, Precedence, Sample
from backpass.ir.types import ArrayType
from backpass.ops.compare import Where

_ONE = (Sample((("m", "n"),)),)
_TWO = (Sample((("B", "n"), ("B", "n"))),)
_APART = (Sample((("m", "n"), ("m", "n")), distinct=True),)


@final
@dataclass(frozen=True)
class Add(Elementwise):
    """Sum of two arrays."""

    name = "add"
    notation = tex = "{0} + {1}"
    precedence = Precedence.SUM
    dtypes = NUMBERS
    samples = _TWO

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a + b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj, adj


@final
@dataclass(frozen=True)
class Subtract(Elementwise):
    """Difference of two arrays."""

    name = "subtract"
    notation = tex = "{0} - {1}"
    precedence = Precedence.SUM
    dtypes = NUMBERS
    samples = _TWO

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a - b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj, -adj


@final
@dataclass(frozen=True)
class Multiply(Elementwise):
    """Product entry by entry: the Hadamard product of the delta equations."""

    name = "multiply"
    notation = "{0} * {1}"
    tex = r"{0} \odot {1}"
    tex_scaled = r"{0}\,{1}"
    precedence = Precedence.PRODUCT
    dtypes = NUMBERS
    samples = _TWO

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a * b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj * b, adj * a


@final
@dataclass(frozen=True)
class Divide(Elementwise):
    """Quotient of two arrays."""

    name = "divide"
    notation = "{0} / {1}"
    tex = r"{0} / {1}"
    precedence = Precedence.PRODUCT
    samples = (Sample((("m", "n"), ("m", "n")), within=(0.5, 3.0)),)

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a / b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj / b, -(adj * y / b)


@final
@dataclass(frozen=True)
class Negate(Elementwise):
    """Change of sign."""

    name = "negate"
    notation = tex = "-{0}"
    precedence = Precedence.UNARY
    dtypes = NUMBERS
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return -x

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (-adj,)


@final
@dataclass(frozen=True)
class Power(Elementwise):
    """x to a fixed power; its derivative is p xᵖ⁻¹.

    Where x = 0 and p < 1 the derivative is infinite, as the limit is; a fractional power of a negative
    number is NaN, as in NumPy.
    """

    exponent: float
    name = "power"
    notation = "{0} ** {exponent}"
    tex = "{0}^{exponent}"
    precedence = Precedence.POWER

    def _plain(self) -> float:
        """The exponent as it is printed: 3, not 3.0; Python and NumPy then take the same path."""
        return int(self.exponent) if float(self.exponent).is_integer() else self.exponent

    def source(self) -> str:
        return f"{{0}} ** {self._plain()}"

    def latex(self) -> str:
        written = str(self._plain())
        return f"{{0}}^{written}" if len(written) == 1 else f"{{0}}^{{ {written}}}"  # {3} would be an input

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x ** self._plain()

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (self.exponent * x ** (self.exponent - 1)),)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 20 * y.size


@final
@dataclass(frozen=True)
class Square(Elementwise):
    """x²; its derivative is 2 x."""

    name = "square"
    notation = "{0} ** 2"
    tex = "{0}^2"
    precedence = Precedence.POWER
    dtypes = NUMBERS
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x**2

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (2 * x),)


@final
@dataclass(frozen=True)
class Sqrt(Elementwise):
    """Square root; its derivative 1 / (2 √x) is infinite at 0, as the limit is."""

    name = "sqrt"
    notation = "sqrt({0})"
    tex = r"\sqrt{{0}}"
    samples = (Sample((("m", "n"),), within=(0.5, 4.0)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.sqrt(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj / (2 * y),)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 6 * y.size


@final
@dataclass(frozen=True)
class Abs(Elementwise):
    """Absolute value.

    At the kink the derivative is taken as 0, as in JAX and PyTorch (both use sign(x)).
    """

    name = "abs"
    notation = "abs({0})"
    tex = r"\lvert {0} \rvert"
    dtypes = NUMBERS
    samples = (Sample((("m", "n"),), away_from=0.0),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.abs(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * Sign()(x),)


@final
@dataclass(frozen=True)
class Sign(Elementwise):
    """−1, 0 or 1. Its derivative is taken as 0 everywhere, as in JAX and PyTorch."""

    name = "sign"
    notation = "sign({0})"
    tex = r"\operatorname{sign}({0})"
    dtypes = NUMBERS
    samples = (Sample((("m", "n"),), away_from=0.0),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.sign(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[None]:
        return (None,)


def _to_the_chosen(adj: Node, a_wins: Node, b_wins: Node) -> Node:
    """The adjoint where a is chosen, half of it at a tie, 0 where b is."""
    return Where()(a_wins, adj, Where()(b_wins, 0, adj / 2))


@final
@dataclass(frozen=True)
class Maximum(Elementwise):
    """The larger of two arrays, entry by entry.

    At a tie each input gets half of the adjoint, as in JAX and PyTorch.
    """

    name = "maximum"
    notation = "maximum({0}, {1})"
    tex = r"\max({0}, {1})"
    dtypes = NUMBERS
    samples = _APART

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return xp.maximum(a, b)

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return _to_the_chosen(adj, a > b, a < b), _to_the_chosen(adj, b > a, b < a)


@final
@dataclass(frozen=True)
class Minimum(Elementwise):
    """The smaller of two arrays, entry by entry; ties as for `Maximum`."""

    name = "minimum"
    notation = "minimum({0}, {1})"
    tex = r"\min({0}, {1})"
    dtypes = NUMBERS
    samples = _APART

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return xp.minimum(a, b)

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return _to_the_chosen(adj, a < b, a > b), _to_the_chosen(adj, b < a, b > a)


@final
@dataclass(frozen=True)
class Clip(Elementwise):
    """x moved into [low, high].

    At either bound the derivative is taken as 1, as by PyTorch's ``clamp`` (JAX, whose ``clip`` is a
    maximum and a minimum, gives ½).
    """

    low: float
    high: float
    name = "clip"
    notation = "minimum(maximum({0}, {low}), {high})"  # clip is what the optimisers call a number
    tex = r"\operatorname{clip}({0}, {low}, {high})"

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.minimum(xp.maximum(x, self.low), self.high)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Where()(x >= self.low, Where()(x <= self.high, adj, 0), 0),)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 2 * y.size


Power.samples = (
    Sample((("m", "n"),), op=Power(3.0)),
    Sample((("m", "n"),), op=Power(-1.5), within=(0.5, 3.0)),
    Sample((("m", "n"),), op=Power(-2.0), within=(0.5, 3.0)),
)
Clip.samples = (
    Sample((("m", "n"),), op=Clip(-1.0, 9.0), away_from=-1.0),
    Sample((("m", "n"),), op=Clip(-9.0, 0.5), away_from=0.5),
)


def _power(exponent: float) -> Op:
    named: dict[float, Op] = {2.0: Square(), 0.5: Sqrt()}
    return named.get(exponent, Power(exponent))


SURFACE.binary.update({"+": Add, "-": Subtract, "*": Multiply, "/": Divide})
SURFACE.negate = Negate
SURFACE.power = _power
