"""Where weights start: each rule draws an array from a random generator, its shape and its own settings.

A rule is chosen by name (``Dense(30, init="he")``) or with settings (``Dense(30, init=He("uniform"))``).
fan_in and fan_out are the two sizes of a weight matrix: how many inputs a unit has, and how many units read
an input.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError, nearest

Floats: TypeAlias = NDArray[np.float64]
Distribution: TypeAlias = Literal["uniform", "normal"]


def real(value: Any) -> bool:
    """Whether a setting is a finite number."""
    return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)


class Initialiser(ABC):
    """A rule for the weights to start from. Subclasses are frozen dataclasses; their fields are settings."""

    name: ClassVar[str]

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """An array of this shape, in f64."""

    def describe(self) -> dict[str, Any]:
        """The rule as plain data, for `initialiser`."""
        return {"name": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    def fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """fan_in and fan_out of a weight matrix."""
        if len(shape) != 2:
            raise UsageError(
                f"the initialiser {self.name!r} is for a matrix of weights, not for an array of shape "
                f"{list(shape)}; use 'zeros', Constant, Uniform or Normal"
            )
        return shape

    def _check(self, fits: bool, what: str) -> None:
        if not fits:
            raise UsageError(f"{self}: {what}")


@dataclass(frozen=True)
class Zeros(Initialiser):
    """All 0: for biases. A layer whose weights all start at 0 has units that stay equal to each other."""

    name: ClassVar[str] = "zeros"

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.zeros(shape)


@dataclass(frozen=True)
class Constant(Initialiser):
    """The same number everywhere."""

    value: float
    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        self._check(real(self.value), "the value must be a number")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Uniform(Initialiser):
    """Uniform on [low, high)."""

    low: float = -0.05
    high: float = 0.05
    name: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        self._check(
            real(self.low) and real(self.high) and self.low <= self.high, "low must not be above high"
        )

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Normal(Initialiser):
    """Normal with mean 0 and standard deviation `std`."""

    std: float = 1.0
    name: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        self._check(real(self.std) and self.std >= 0, "std must be 0 or more")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return rng.standard_normal(shape) * float(self.std)


def _check_distribution(rule: LeCun | Glorot | He) -> None:
    if rule.distribution not in ("uniform", "normal"):
        raise UsageError(f"{rule.name}: the distribution is 'uniform' or 'normal', got {rule.distribution!r}")


@dataclass(frozen=True)
class LeCun(Initialiser):
    """Variance 1 / fan_in: the pre-activations have the variance of the inputs.

    "normal" has standard deviation 1/√fan_in, "uniform" lies on ±√(3 / fan_in). LeCun, Bottou, Orr & Müller,
    Efficient BackProp (1998), eq. 16; for SELU: Klambauer et al., NeurIPS 2017.
    """

    distribution: Distribution = "normal"
    name: ClassVar[str] = "lecun"

    def __post_init__(self) -> None:
        _check_distribution(self)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        fan_in, _ = self.fans(shape)
        if self.distribution == "normal":
            return rng.standard_normal(shape) / float(np.sqrt(fan_in))
        limit = np.sqrt(3.0 / fan_in)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Glorot(Initialiser):
    """Variance 2 / (fan_in + fan_out), between what keeps activations and what keeps δ at their variance.

    For units that are linear around zero. "uniform" lies on ±√(6 / (fan_in + fan_out)). Glorot & Bengio,
    AISTATS 2010, eq. 16.
    """

    distribution: Distribution = "uniform"
    name: ClassVar[str] = "glorot"

    def __post_init__(self) -> None:
        _check_distribution(self)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        fan_in, fan_out = self.fans(shape)
        if self.distribution == "normal":
            return rng.standard_normal(shape) * float(np.sqrt(2.0 / (fan_in + fan_out)))
        limit = np.sqrt(6.0 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class He(Initialiser):
    """Variance 2 / ((1 + slope²) fan_in): half of a ReLU layer is off.

    `slope` is that of a leaky ReLU for negative inputs. "uniform" lies on ±√(6 / ((1 + slope²) fan_in)).
    He et al., ICCV 2015, eq. 10 and 15.
    """

    distribution: Distribution = "normal"
    slope: float = 0.0
    name: ClassVar[str] = "he"

    def __post_init__(self) -> None:
        _check_distribution(self)
        self._check(real(self.slope), "the slope must be a number")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        fan_in, _ = self.fans(shape)
        scaled = (1 + self.slope**2) * fan_in
        if self.distribution == "normal":
            return rng.standard_normal(shape) * float(np.sqrt(2.0 / scaled))
        limit = np.sqrt(6.0 / scaled)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Orthogonal(Initialiser):
    """Rows or columns (the fewer) that are orthogonal and of length `gain`, drawn uniformly among all such.

    Saxe, McClelland & Ganguli, ICLR 2014; the signs that make QR of a normal matrix uniform: Mezzadri,
    Notices of the AMS 54 (2007).
    """

    gain: float = 1.0
    name: ClassVar[str] = "orthogonal"

    def __post_init__(self) -> None:
        self._check(real(self.gain), "the gain must be a number")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        fan_in, fan_out = self.fans(shape)
        more, fewer = max(fan_in, fan_out), min(fan_in, fan_out)
        q, r = np.linalg.qr(rng.standard_normal((more, fewer)))
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return float(self.gain) * (q if fan_in >= fan_out else q.T)


@dataclass(frozen=True)
class Sparse(Initialiser):
    """Each unit has `connections` inputs with normal weights of deviation `std`; its other weights are 0.

    Units neither saturate nor look alike, however many inputs there are. Martens, Deep learning via
    Hessian-free optimization, ICML 2010, section 5.
    """

    connections: int = 15
    std: float = 1.0
    name: ClassVar[str] = "sparse"

    def __post_init__(self) -> None:
        self._check(
            type(self.connections) is int and self.connections >= 1, "a unit needs at least one connection"
        )
        self._check(real(self.std) and self.std > 0, "std must be above 0")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        fan_in, fan_out = self.fans(shape)
        found = np.zeros(shape)
        for unit in range(fan_out):
            chosen = rng.permutation(fan_in)[: self.connections]
            found[chosen, unit] = rng.standard_normal(len(chosen)) * float(self.std)
        return found


#: The rules by name, with the settings that a name stands for.
INITIALISERS: dict[str, Initialiser] = {
    "zeros": Zeros(),
    "uniform": Uniform(),
    "normal": Normal(),
    "lecun": LeCun(),
    "lecun_normal": LeCun("normal"),
    "lecun_uniform": LeCun("uniform"),
    "glorot": Glorot(),
    "glorot_normal": Glorot("normal"),
    "glorot_uniform": Glorot("uniform"),
    "he": He(),
    "he_normal": He("normal"),
    "he_uniform": He("uniform"),
    "orthogonal": Orthogonal(),
    "sparse": Sparse(),
}
_RULES: dict[str, type[Initialiser]] = {
    cls.name: cls for cls in (Zeros, Constant, Uniform, Normal, LeCun, Glorot, He, Orthogonal, Sparse)
}


def initialiser(given: str | Initialiser | Mapping[str, Any]) -> Initialiser:
    """The rule that a name, a rule or the description of one stands for.

    Examples
    --------
    >>> initialiser("he_uniform")
    He(distribution='uniform', slope=0.0)
    >>> initialiser(Normal(0.1).describe())
    Normal(std=0.1)
    """
    if isinstance(given, Initialiser):
        return given
    if isinstance(given, str) and given in INITIALISERS:
        return INITIALISERS[given]
    if isinstance(given, Mapping) and given.get("name") in _RULES:
        settings = {key: value for key, value in given.items() if key != "name"}
        return _RULES[given["name"]](**settings)
    raise UsageError(f"there is no initialiser {given!r}. {nearest(str(given), INITIALISERS)}")
