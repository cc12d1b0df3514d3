"""The source of a kernel, run by Python itself: no test of what it says waits for a compiler.

What LLVM makes of the same source is tested in test_compiled.py.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from backpass.exec.compiled import executor, function, mathematics
from backpass.exec.compiled.compiler import Argument

REAL = {"f32": np.float32, "f64": np.float64}
DTYPES = {"f32": "float32", "f64": "float64", "int64": "int64", "boolean": "bool"}


def _matrix(x: Any, rows: int, columns: int, row: int, column: int) -> Any:
    step = x.itemsize
    return np.lib.stride_tricks.as_strided(x, (rows, columns), (row * step, column * step))


def _into(c: Any, product: Any, alpha: Any, beta: Any) -> None:
    before = beta * c if beta else 0
    c[...] = (before + alpha * product).astype(c.dtype)


def _mm(c: Any, a: Any, b: Any, panel: Any, m: int, n: int, k: int, a_row: int, a_col: int, b_row: int,
        b_col: int, alpha: Any, beta: Any, usual_m: int, usual_k: int) -> None:  # fmt: skip
    A, B = _matrix(a, m, k, a_row, a_col).astype(float), _matrix(b, k, n, b_row, b_col).astype(float)
    _into(c[: m * n].reshape(m, n), A @ B, alpha, beta)


def _gemm(c: Any, a: Any, b: Any, m: int, n: int, k: int, a_turned: int, a_width: int, b_turned: int,
          b_width: int, alpha: Any, beta: Any) -> None:  # fmt: skip
    A = _matrix(a, m, k, *((1, a_width) if a_turned else (a_width, 1)))
    B = _matrix(b, k, n, *((1, b_width) if b_turned else (b_width, 1)))
    _into(c[: m * n].reshape(m, n), A @ B, alpha, beta)


def _space(dtype: str) -> dict[str, Any]:
    real = REAL[dtype]
    names = ("exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tanh")
    return {name: getattr(np, name) for name in names} | {
        "erf": lambda x: real(math.erf(x)),
        "fma": lambda x, y, z: x * y + z,
        "gemm": _gemm,
        "mm": _mm,
        "real": real,
        "int64": np.int64,
        "barrier": lambda sync, threads: None,
        "uniform_start": lambda counter, key: mathematics.uniform_start(np.int64(counter), np.int64(key)),
        "uniform_step": mathematics.uniform_step,
        "uniform_entry": lambda start, step, i: mathematics.uniform_entry(start, step, np.int64(i)),
    }


def build(
    source: str,
    real: str,
    arguments: Sequence[Argument],
    constants: Mapping[str, float],
    usual: Mapping[str, int] | None = None,
    used: object = None,
) -> Callable[..., int]:
    """In place of `kernels.build`: the function as Python reads it, which checks its arguments."""
    space = _space(real) | {name: REAL[real](value) for name, value in constants.items()}
    names = ", ".join(a.name for a in arguments)
    exec(f"def kernel({names}):\n{textwrap.indent(source, '    ')}", space)

    def call(*given: Any) -> int:
        for array, argument in zip(given, arguments, strict=True):
            assert isinstance(array, np.ndarray) == argument.array
            if argument.array:
                assert array.dtype == DTYPES[argument.kind], argument
                assert array.flags.c_contiguous
        with np.errstate(all="ignore"):
            return int(space["kernel"](*given))

    return call


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled executor without its compiler."""
    for module in (executor, function):
        monkeypatch.setattr(module, "build", build)
