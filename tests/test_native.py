"""What kernels call: exp and tanh, the products of our own, and BLAS by address."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import backpass
from backpass.exec.compiled import native, products
from backpass.exec.compiled.contractions import prefers_blas

FLOATS = {"f32": np.float32, "f64": np.float64}
dtypes = pytest.mark.parametrize("dtype", FLOATS)


def over_arrays(function: Any) -> Callable[[Any], Any]:
    """A scalar function applied to each entry, in a native loop."""

    @njit(error_model="numpy", boundscheck=False)
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    def apply(x: Any) -> Any:
        y = np.empty_like(x)
        loop(x, y)
        return y

    return apply


FUNCTIONS = {
    (name, dtype): over_arrays(getattr(native, f"{name}_{dtype}"))
    for name in ("exp", "tanh")
    for dtype in FLOATS
}


def units_off(result: Any, exact: Any) -> float:
    """The largest distance in units in the last place of the true value, where that is a finite number."""
    with np.errstate(over="ignore", under="ignore"):
        nearest = np.abs(exact.astype(result.dtype))
    finite = np.isfinite(nearest)
    unit = np.spacing(nearest[finite]).astype(exact.dtype)
    return float((np.abs(result[finite].astype(exact.dtype) - exact[finite]) / unit).max())


@pytest.mark.parametrize(("name", "bound"), [("exp", 2), ("tanh", 3)])
def test_f32_over_all_bit_patterns(name: str, bound: float) -> None:
    x = np.arange(0, 2**32, 1009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    y = FUNCTIONS[name, "f32"](x)
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.float64))
        expected = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    assert units_off(y, exact) <= bound


@pytest.mark.parametrize(("name", "bound", "reach"), [("exp", 2, 745), ("tanh", 3, 25)])
def test_f64_at_random(name: str, bound: float, reach: float) -> None:
    if np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("long double has no more digits than double here")
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-s, min(s, 709.7), 200_000) for s in (reach, 1, 1e-3)])
    exact = getattr(np, name)(x.astype(np.longdouble))
    assert units_off(FUNCTIONS[name, "f64"](x), exact) <= bound


@dtypes
@pytest.mark.parametrize("name", ["exp", "tanh"])
def test_edges(name: str, dtype: str) -> None:
    info = np.finfo(FLOATS[dtype])
    top, bottom = np.log(info.max), np.log(float(info.smallest_subnormal))
    x = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.smallest_subnormal, -info.tiny,
         top * 0.999, top * 1.001, bottom * 0.99, bottom * 1.01, 0.625, -0.625, 1.0, -20.0, 20.0],
        FLOATS[dtype],
    )  # fmt: skip
    y = FUNCTIONS[name, dtype](x)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x.astype(np.longdouble)).astype(FLOATS[dtype])
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    np.testing.assert_array_equal(np.signbit(y[:4]), np.signbit(expected[:4]))
    np.testing.assert_array_equal(y[:4], expected[:4])
    finite = np.isfinite(expected)
    unit = np.spacing(np.abs(expected[finite]))
    assert (np.abs(y[finite] - expected[finite]) <= 3 * unit).all()


# ---- products


def _call(mm: Any) -> Callable[..., None]:
    @njit(error_model="numpy", boundscheck=False)
    def call(C, A, B, m, n, k, a_row, a_col):
        mm(C, A, B, m, n, k, a_row, a_col)

    return call


MM = {"f32": _call(products.mm_f32), "f64": _call(products.mm_f64)}
SIZE = st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 100, 257]))


def drawn(dtype: str, m: int, n: int, k: int, turned: bool, seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    A, B, C = (rng.standard_normal(shape).astype(FLOATS[dtype]) for shape in ((m, k), (k, n), (m, n)))
    return np.asfortranarray(A) if turned else A, B, C


def ours(A: Any, B: Any, C: Any, guard: int = 16) -> Any:
    """C + A B by our product, on a C with numbers around it that must not change."""
    dtype = "f32" if C.dtype == np.float32 else "f64"
    (m, k), n = A.shape, B.shape[1]
    flat = np.full(C.size + 2 * guard, 7, C.dtype)
    flat[guard : guard + C.size] = C.reshape(-1)
    a_row, a_col = (s // A.itemsize for s in A.strides)
    a_flat = A.reshape(-1, order="F" if a_row == 1 and A.flags.f_contiguous else "C")
    MM[dtype](flat[guard : guard + C.size], a_flat, B.reshape(-1), m, n, k, a_row, a_col)
    assert (flat[:guard] == 7).all()
    assert (flat[guard + C.size :] == 7).all()
    return flat[guard : guard + C.size].reshape(m, n)


def assert_close(result: Any, A: Any, B: Any, C: Any) -> None:
    """Within the bound of the standard analysis of a sum of products, (k + 2) eps Σ|a||b|."""
    A_, B_, C_ = (x.astype(np.longdouble) for x in (A, B, C))
    bound = (A.shape[1] + 2) * np.finfo(C.dtype).eps * (np.abs(C_) + np.abs(A_) @ np.abs(B_))
    assert (np.abs(result - (C_ + A_ @ B_)) <= bound).all()


@dtypes
@settings(max_examples=100, deadline=None)
@given(m=SIZE, n=SIZE, k=SIZE, turned=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_product(dtype: str, m: int, n: int, k: int, turned: bool, seed: int) -> None:
    A, B, C = drawn(dtype, m, n, k, turned, seed)
    result = ours(A, B, C)
    assert_close(result, A, B, C)
    assert result.tobytes() == ours(A, B, C).tobytes()


@dtypes
@pytest.mark.parametrize("n", range(1, 72))
def test_every_width(dtype: str, n: int) -> None:
    for m in range(1, 15):
        A, B, C = drawn(dtype, m, n, 5, m % 2 == 0, 100 * m + n)
        assert_close(ours(A, B, C), A, B, C)


@dtypes
@pytest.mark.parametrize(("m", "n", "k"), [(48, 100, 600), (784, 30, 10), (50, 77, 513)])
def test_sums_do_not_depend_on_the_cut(dtype: str, m: int, n: int, k: int) -> None:
    A, B, C = drawn(dtype, m, n, k, False, 3)
    whole = ours(A, B, C)
    assert_close(whole, A, B, C)
    rows, columns = slice(5, 18), slice(3, 14)
    part = ours(A[rows], np.ascontiguousarray(B[:, columns]), np.ascontiguousarray(C[rows, columns]))
    assert part.tobytes() == np.ascontiguousarray(whole[rows, columns]).tobytes()
    parts = C
    for k0 in range(0, k, 256):
        parts = ours(np.ascontiguousarray(A[:, k0 : k0 + 256]), B[k0 : k0 + 256], parts)
    assert parts.tobytes() == whole.tobytes()
    assert ours(np.asfortranarray(A), B, C).tobytes() == whole.tobytes()


@dtypes
def test_a_small_sum_is_rounded_once_into_a_large_entry(dtype: str) -> None:
    """As a weight and its update are: terms that are each too small to change it count together."""
    eps = np.finfo(FLOATS[dtype]).eps
    A, B, C = np.full((20, 64), eps / 8), np.ones((64, 30)), np.ones((20, 30))
    result = ours(*(x.astype(FLOATS[dtype]) for x in (A, B, C)))
    assert (result == 1 + 8 * eps).all()


@dtypes
def test_a_repeated_row(dtype: str) -> None:
    _, B, C = drawn(dtype, 1, 30, 10, False, 4)
    one = np.ones(1, C.dtype)
    flat = C.reshape(-1).copy()
    MM[dtype](flat, one, B.reshape(-1), 1, 30, 10, 0, 0)
    assert_close(flat.reshape(1, 30), np.ones((1, 10), C.dtype), B, C)


@dtypes
@pytest.mark.parametrize("n", [1, 3, 10, 30, 100])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_and_infinity_reach_what_they_should(dtype: str, n: int, bad: float) -> None:
    A, B, C = drawn(dtype, 10, n, 8, False, 5)
    A[3, 4] = bad
    B[2, n // 2] = bad
    with np.errstate(invalid="ignore"):
        expected = C + A @ B
    result = ours(A, B, C)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(result[np.isinf(expected)], expected[np.isinf(expected)])
    zero = ours(np.zeros((10, 8), C.dtype), B, C)  # nothing is skipped because it is zero
    assert np.isnan(zero[:, n // 2]).all()


def test_the_rule_depends_on_sizes() -> None:
    assert not prefers_blas(10, 30, 784, "f32")
    assert prefers_blas(512, 512, 512, "f32")


# ---- BLAS


def _gemm(a_turned: int, b_turned: int) -> Callable[..., None]:
    @njit(error_model="numpy", boundscheck=False)
    def call(A, B, C, m, n, k, lda, ldb, alpha, beta):
        if a_turned == 0:
            if b_turned == 0:
                native.gemm(0, 0, m, n, k, alpha, A, lda, B, ldb, beta, C, m)
            else:
                native.gemm(0, 1, m, n, k, alpha, A, lda, B, ldb, beta, C, m)
        elif b_turned == 0:
            native.gemm(1, 0, m, n, k, alpha, A, lda, B, ldb, beta, C, m)
        else:
            native.gemm(1, 1, m, n, k, alpha, A, lda, B, ldb, beta, C, m)

    return call


GEMM = {(a, b): _gemm(a, b) for a in (0, 1) for b in (0, 1)}
POSITIVE = st.integers(1, 40)


@dtypes
@pytest.mark.parametrize(("a", "b"), GEMM)
@settings(max_examples=20, deadline=None)
@given(m=POSITIVE, n=POSITIVE, k=POSITIVE, add=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_gemm(dtype: str, a: int, b: int, m: int, n: int, k: int, add: bool, seed: int) -> None:
    A, B, C = drawn(dtype, m, n, k, False, seed)
    real = FLOATS[dtype]
    flat = np.full(C.size + 32, 7, C.dtype)
    flat[16:-16] = C.reshape(-1, order="F")
    before = flat.copy()
    given_ = [(x.T if turned else x).reshape(-1, order="F") for x, turned in ((A, a), (B, b))]
    sizes = (m, n, k, k if a else m, n if b else k)
    for out in (flat, before):
        GEMM[a, b](*given_, out[16:-16], *sizes, real(1), real(add))
    assert flat.tobytes() == before.tobytes()
    assert (flat[:16] == 7).all()
    assert (flat[-16:] == 7).all()
    assert_close(flat[16:-16].reshape((m, n), order="F"), A, B, C if add else np.zeros_like(C))


# ---- the cache

PROGRAM = """
import numpy as np
from numba import njit
from backpass.exec.compiled.products import mm_f32
@njit
def f(C, A, B):
    mm_f32(C, A, B, 2, 3, 1, 1, 1)
C = np.zeros(6, np.float32)
f(C, np.array([1, 2], np.float32), np.array([1, 2, 3], np.float32))
assert C.tolist() == [1, 2, 3, 2, 4, 6]
"""


@pytest.mark.slow
def test_a_package_that_cannot_be_written(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "backpass"
    shutil.copytree(Path(backpass.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    # A file where the folder of the cache would be: also root cannot write there.
    (package / "exec" / "compiled" / "__pycache__").write_text("")
    for home in (tmp_path / "home", Path(os.devnull)):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")}
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=120)
    assert list((tmp_path / "home").rglob("*.nbi"))
