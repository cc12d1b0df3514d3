"""The source of a kernel, run by Python itself: no test of what it says waits for a compiler.

What Numba makes of the same source is tested in test_compiled.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backpass.exec.compiled import executor, native


def _space(dtype: str) -> dict[str, Any]:
    real = {"f32": np.float32, "f64": np.float64}[dtype]

    def mm(c: Any, a: Any, b: Any, m: int, n: int, k: int, a_row: int, a_col: int) -> None:
        step = a.itemsize
        A = np.lib.stride_tricks.as_strided(a, (m, k), (a_row * step, a_col * step))
        c[: m * n] += (A.astype(float) @ b[: k * n].reshape(k, n).astype(float)).reshape(-1).astype(real)

    def gemm(ta: int, tb: int, m: int, n: int, k: int, alpha: Any, a: Any, lda: int, b: Any, ldb: int,
             beta: Any, c: Any, ldc: int) -> None:  # fmt: skip
        def matrix(x: Any, turned: int, rows: int, columns: int, ld: int) -> Any:
            shape = (columns, rows) if turned else (rows, columns)
            X = x[: shape[0] * shape[1]].reshape(shape[::-1]).T
            assert ld == shape[0]
            return X.T if turned else X

        C = c[: m * n].reshape(n, m).T
        product = alpha * matrix(a, ta, m, k, lda) @ matrix(b, tb, k, n, ldb)
        C[...] = product + (beta * C if beta else 0)

    names = ("exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tanh")
    return {name: getattr(np, name) for name in names} | {
        "erf": lambda x: real(math.erf(x)),
        "gemm": gemm,
        "mm": mm,
        "np": np,
        # These are the compiled ones: with Python's integers they would be others.
        "uniform_start": lambda counter, key: np.uint64(
            native.uniform_start(np.int64(counter), np.int64(key))
        ),
        "uniform_step": lambda start: np.uint64(native.uniform_step(start)),
        "uniform_entry": native.uniform_entry,
    }


def build(source: str, signature: list[str]) -> Callable[..., int]:
    """In place of `kernels.build`: the function as Python reads it, which checks its arguments."""
    lines = [line for line in source.splitlines() if not line.startswith(("from ", "import "))]
    space = _space("f32" if "real, int64 = np.float32" in source else "f64")
    exec("\n".join(lines), space)
    kernel = space["kernel"]

    def call(*arguments: Any) -> int:
        assert len(arguments) == len(signature)
        for argument, kind in zip(arguments, signature, strict=True):
            if isinstance(argument, np.ndarray):
                name = argument.dtype.name.replace("bool", "boolean")
                assert f"types.{name}" in kind, (argument.dtype, kind)
                assert argument.flags.c_contiguous
                assert argument.flags.writeable != ("readonly" in kind)
        with np.errstate(all="ignore"):
            return int(kernel(*arguments))

    return call


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled executor without its compiler."""
    monkeypatch.setattr(executor, "build", build)
