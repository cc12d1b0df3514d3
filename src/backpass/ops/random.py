"""Random numbers as a function: counter-based, so that any entry of any step can be drawn again alone.

After Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011): a generator without state, which
hashes a counter. The hash is the finaliser of SplitMix64, and each (counter, key) has a start and an odd
increment of its own, as the split generators there (Steele, Lea & Flood, OOPSLA 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from backpass.errors import ShapeError, UsageError
from backpass.ir.node import Node
from backpass.ir.op import Op, Sample
from backpass.ir.types import DTYPES, ArrayType, Dim

_GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴ / golden ratio, odd
_MASK = 2**64 - 1


def _mixed(x: Any) -> Any:
    """SplitMix64's finaliser (Stafford's variant 13): a bijection in which each bit reaches each other."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@final
@dataclass(frozen=True)
class Uniform(Op):
    """Numbers spread evenly over [0, 1), of `shape`, as a pure function of a counter.

    Parameters
    ----------
    key : int
        Tells the random values of one program apart: two layers, two keys. From 0 up to 2⁶³ − 1.
    shape : tuple
        The first axis may be the batch: entry [b, j] depends on b and j alone, not on the size of the batch.
    dtype : {"f32", "f64"}
        The numbers are multiples of 2⁻²⁴ in both, and the same ones in both: the truth of an f32 program in
        f64 drops the same units.

    Entry number i in row-major order is ``mix(start + i · step) >> 40`` over 2²⁴, in arithmetic modulo 2⁶⁴,
    with ``start = mix(mix(key + G) + counter)``, ``step = mix(start + G) | 1``,
    G = 0x9E3779B97F4A7C15, and mix the finaliser of SplitMix64.

    Examples
    --------
    >>> from backpass.ir import Graph
    >>> from backpass.ops import data, state
    >>> u = Uniform(0, ("B", 2), "f32")(state("draws", "i64[]"))
    >>> print(Graph({"u": u, "rows": data("x", "f32[B]")}).text(prelude=False))
    B = x.shape[0]
    u    = uniform(draws, 0, (B, 2), float32)  # f32[B,2]
    rows = x                                   # f32[B]
    """

    key: int
    shape: tuple[Dim, ...]
    dtype: str = "f64"
    name = "uniform"
    notation = "uniform({0}, {key}, {shape}, float64)"
    tex = r"U_{k={key}}({0})"
    dtypes = ("i64",)
    prelude = """\
def uniform(counter, key, shape, dtype):
    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB
        return x ^ (x >> 31)
    golden, size = 0x9E3779B97F4A7C15, 1
    for n in shape:
        size *= n
    counter = reshape(counter, (1,)).astype(uint64)
    start = mix(mix(zeros((1,), uint64) + (key + golden) % 2**64) + counter)
    bits = mix(start + arange(size, dtype=uint64) * (mix(start + golden) | 1)) >> 40
    return reshape(bits.astype(dtype) * dtype(2.0**-24), shape)
"""

    def __post_init__(self) -> None:
        if not 0 <= self.key < 2**63:
            raise UsageError(f"the key of random numbers is from 0 up to 2**63 - 1, not {self.key}")

    def infer(self, counter: ArrayType) -> ArrayType:
        if counter != ArrayType((), "i64"):
            raise ShapeError(f"uniform needs one integer to count with, i64[], got {counter}")
        if self.dtype not in ("f32", "f64"):
            raise ShapeError(f"uniform gives f32 or f64, not {self.dtype}")
        return ArrayType(self.shape, self.dtype)

    def mixes(self, counter: ArrayType) -> tuple[Dim, ...]:
        """A part of the rows is not what fewer rows would be: rows are counted from the first."""
        return self.named

    def source(self) -> str:
        return super().source().replace("float64", DTYPES[self.dtype].type.__name__)

    def forward(self, xp: Any, /, counter: Any) -> Any:
        count = np.reshape(np.asarray(counter), (1,)).astype(
            np.uint64
        )  # not a scalar: those warn of overflow
        keyed = np.array([(self.key + _GOLDEN) & _MASK], np.uint64)
        start = _mixed(_mixed(keyed) + count)
        step = _mixed(start + _GOLDEN) | 1
        shape = [int(n) for n in self.shape]
        bits = _mixed(start + np.arange(math.prod(shape), dtype=np.uint64) * step) >> 40
        kind = DTYPES[self.dtype].type
        return np.reshape(bits.astype(kind) * kind(2.0**-24), shape)

    def vjp(self, adj: Node, y: Node, /, counter: Node) -> tuple[None]:
        return (None,)

    def flops(self, y: ArrayType, counter: ArrayType) -> int:
        return 10 * y.size


Uniform.samples = (
    Sample(((),), op=Uniform(3, ("B", "n")), dtypes=("i64",), below=1000),
    Sample(((),), op=Uniform(0, ()), dtypes=("i64",), below=1000),
)
