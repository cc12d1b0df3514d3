"""What is trained: the nets, their rows of data, and the weights that all start from.

Fresh processes import this module before their clock starts, so it imports nothing but NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

f32 = np.float32
Array = np.ndarray
Weights = Sequence[tuple[Array, Array]]  # W and b of each layer

SEED = 1
LR = {"SGD": 0.1, "Adam": 0.001}
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
_DATA = Path(os.environ.get("BACKPASS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FEW, MANY = 4_096, 60_000  # rows of random data


class Target(NamedTuple):
    """How many times as long the best peer should take, for each BLAS that backpass can use."""

    scipy: float
    mkl: float | None


@dataclass(frozen=True)
class Case:
    row: int
    sizes: tuple[int, ...]
    batch: int
    target: Target
    optimiser: str = "SGD"
    product_bound: bool = False  #: large enough that its matrix products should be most of its time

    @property
    def lr(self) -> float:
        return LR[self.optimiser]

    @property
    def head(self) -> str:
        return "sigmoid" if self.sizes[-1] == 1 else "softmax"

    @property
    def name(self) -> str:
        adam = ", Adam" if self.optimiser == "Adam" else ""
        return f"{'-'.join(map(str, self.sizes))} / {self.batch}{adam}"

    def network(self) -> Any:
        import backpass as bp

        *hidden, outputs = self.sizes[1:]
        return bp.Network([*(bp.Dense(n, "relu") for n in hidden), bp.Dense(outputs, self.head)])

    def our_optimiser(self) -> Any:
        import backpass as bp

        return bp.SGD(self.lr) if self.optimiser == "SGD" else bp.Adam(self.lr)

    def step(self) -> Any:
        """The program of a step, as `bp.train` makes it."""
        from backpass.training.step import step_graph

        return step_graph(self.network(), "cross_entropy", self.our_optimiser(), self.sizes[0], "f32")

    def start(self) -> Weights:
        values = self.network().initial(self.sizes[0], 0, "f32")
        return [(values[f"W{i}"], values[f"b{i}"]) for i in range(1, len(self.sizes))]


def _cases() -> list[Case]:
    shapes = [
        ((2, 4, 1), 4, Target(8, None)),
        ((4, 16, 3), 16, Target(3, None)),
        ((64, 32, 10), 32, Target(2, None)),
        ((784, 30, 10), 10, Target(2, 2)),
        ((784, 100, 10), 32, Target(1.6, 2.5)),
        ((784, 300, 100, 10), 128, Target(1.15, 1.4)),
        ((784, 800, 800, 10), 128, Target(1.0, 1.15)),
    ]
    cases = []
    for row, shape in enumerate(shapes, 1):
        cases.append(Case(row, *shape, product_bound=row >= 5))
        if row in (3, 5):
            cases.append(Case(row, *shape, optimiser="Adam"))
    return cases


CASES = _cases()


@dataclass(frozen=True)
class Data:
    name: str
    X: Array
    T: Array  #: one-hot, or a column of 0 and 1
    y: Array  #: classes

    def first(self, rows: int) -> Data:
        return Data(self.name, self.X[:rows], self.T[:rows], self.y[:rows])


def rows_for(case: Case) -> Data:
    """The rows of a case: MNIST for 784 columns, if it is there. No batch is short."""
    large = case.sizes[0] == 784
    data = mnist() if large else None
    data = data or random_rows(case.sizes[0], case.sizes[-1], MANY if large else FEW)
    return data.first(len(data.X) // case.batch * case.batch)


@cache
def random_rows(features: int, outputs: int, rows: int) -> Data:
    """Exclusive-or for one output, else noisy clusters, one a class. Needs no memory but its own."""
    rng = np.random.default_rng(0)
    X = rng.random((rows, features), dtype=f32)
    if outputs == 1:
        y = ((X[:, 0] > 0.5) ^ (X[:, 1] > 0.5)).astype(np.int64)
        return Data("random numbers", X, y[:, None].astype(f32), y)
    y = rng.integers(0, outputs, rows)
    centres = rng.random((outputs, features), dtype=f32)
    for c in range(outputs):
        np.add(X, centres[c], out=X, where=(y == c)[:, None])
    X *= f32(0.5)
    return Data("random numbers", X, np.eye(outputs, dtype=f32)[y], y)


@cache
def mnist(part: str = "train") -> Data | None:
    """The 60,000 training rows, or the 10,000 test rows; None where there is no MNIST."""
    from backpass.data import load

    folder = _DATA / "mnist"
    if not folder.is_dir():
        return None
    digits = load(folder)
    digits = digits if part == "train" else digits.test
    return Data("MNIST", digits.inputs(f32), digits.targets(f32), digits.codes())


def logits(weights: Weights, X: Array) -> Array:
    a = X
    for W, b in weights[:-1]:
        a = np.maximum(a @ W + b, 0)
    W, b = weights[-1]
    return a @ W + b


def cost(weights: Weights, case: Case, data: Data) -> float:
    """The mean cost of the first 10,000 rows, in float64."""
    data = data.first(10_000)
    z = logits([(W.astype(np.float64), b.astype(np.float64)) for W, b in weights], data.X.astype(np.float64))
    if case.head == "sigmoid":
        return float(np.mean(np.logaddexp(0, z) - data.T * z))
    z -= z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - (data.T * z).sum(1)))


def has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
