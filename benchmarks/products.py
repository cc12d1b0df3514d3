"""Matrix products, ours beside BLAS, on one thread: the ground of the table in `compiled/contractions.py`.

    python benchmarks/products.py            # SciPy's BLAS
    BACKPASS_BLAS=mkl python benchmarks/products.py

For shapes as training steps have them (m rows of a thread, n columns, k summed; "turned": the operand is
stored as its transpose), five interleaved rounds; the best of each, in 10⁹ operations a second, their ratio,
and what the table says.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from backpass.exec.compiled import blas
from backpass.exec.compiled.compiler import Argument
from backpass.exec.compiled.contractions import prefers_blas
from backpass.exec.compiled.kernels import build
from backpass.exec.compiled.source import PANEL

ROUNDS, SECONDS = 5, 0.03
REAL = {"f32": np.float32, "f64": np.float64}
#: m, n, k, whether A and B are turned.
SHAPES = [
    (32, 32, 64, False, False), (64, 32, 32, True, False), (10, 30, 784, False, False),
    (784, 30, 10, True, False), (16, 100, 784, False, False), (392, 100, 32, True, False),
    (64, 300, 784, False, False), (392, 300, 128, True, False), (64, 300, 100, False, True),
    (64, 800, 784, False, False), (64, 800, 800, False, True), (400, 800, 128, True, False),
    (128, 512, 512, False, False), (256, 1024, 1024, False, False), (256, 1024, 1024, False, True),
    (512, 1024, 256, True, False), (1000, 2000, 256, True, False), (1000, 4096, 1000, False, False),
    (32, 2048, 2048, False, False), (2048, 2048, 32, True, False), (2048, 2048, 256, True, False),
]  # fmt: skip


def product(call: str, dtype: str) -> Callable[..., int]:
    """A kernel that repeats one product."""
    arguments = [Argument(name, dtype) for name in ("c", "a", "b", "panel")]
    sizes = [Argument(name, "int64", array=False) for name in ("m", "k", "reps")]
    source = f"for r in range(reps):\n    {call}\nreturn 0\n"
    return build(source, dtype, [*arguments, *sizes], {"ZERO": 0.0, "ONE": 1.0})


def speeds(m: int, n: int, k: int, a_turned: bool, b_turned: bool, dtype: str) -> tuple[float, float]:
    """10⁹ operations a second, ours and of BLAS. Gradients (A turned) are added to C, as updates are."""
    beta = "ONE" if a_turned else "ZERO"
    strides = f"{'1, m' if a_turned else f'{k}, 1'}, {f'1, {k}' if b_turned else f'{n}, 1'}"
    depth = "k" if a_turned else str(k)  # the rows of a batch are not known when a kernel is made
    widths = f"{a_turned:d}, {'m' if a_turned else k}, {b_turned:d}, {k if b_turned else n}"
    kernels = [
        product(f"mm(c, a, b, panel, m, {n}, {depth}, {strides}, ONE, {beta}, {m}, {k})", dtype),
        product(f"gemm(c, a, b, m, {n}, k, {widths}, ONE, {beta})", dtype),
    ]
    rng = np.random.default_rng(0)
    arrays = [rng.random(size).astype(REAL[dtype]) for size in (m * n, m * k, k * n, PANEL)]
    operations = 2 * m * n * k
    repeats = max(1, int(SECONDS * 60e9 / operations))
    best = [np.inf, np.inf]
    with blas.chosen().alone():
        for kernel in kernels:
            kernel(*arrays, m, k, 1)
        for _ in range(ROUNDS):
            for i, kernel in enumerate(kernels):
                begun = time.perf_counter()
                kernel(*arrays, m, k, repeats)
                best[i] = min(best[i], (time.perf_counter() - begun) / repeats)
    return operations / best[0] / 1e9, operations / best[1] / 1e9


def main() -> None:
    name = blas.chosen().name
    print(f"{'m x n x k':>20}  turned  dtype     ours   {name:>5}   ratio  table")
    wrong = 0
    for dtype in REAL:
        for m, n, k, a_turned, b_turned in SHAPES:
            own, other = speeds(m, n, k, a_turned, b_turned, dtype)
            taken = name if prefers_blas(m, n, k, dtype, name) else "ours"
            loses = (own / other if taken == name else other / own) > 1.15
            wrong += loses
            turned = f"{'A' if a_turned else '-'}{'B' if b_turned else '-'}"
            print(
                f"{f'{m} x {n} x {k}':>20}  {turned:>6}  {dtype:>5}  {own:7.1f} {other:7.1f}"
                f" {own / other:7.2f}  {taken}{'  (loses more than 15 %)' * loses}",
                flush=True,
            )
    print(f"{wrong} of {len(SHAPES) * len(REAL)} choices lose more than 15 %", file=sys.stderr)


if __name__ == "__main__":
    main()
