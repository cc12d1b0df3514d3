"""What kernels calculate of single numbers, against the true values."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from backpass.exec.compiled import kernels, mathematics
from backpass.exec.compiled.compiler import Argument
from backpass.exec.reference import Reference
from backpass.ir import Graph
from backpass.ops import Uniform, data

FLOATS = {"f32": np.float32, "f64": np.float64}
#: In units in the last place, as `mathematics` states them.
BOUNDS = {"exp": 1.0, "log": 1.0, "tanh": 1.5, "log1p": 1.5, "expm1": 2.5}
#: What comes from LLVM or the C library. The square root is rounded correctly, an absolute value is exact.
OTHERS = ("sin", "cos", "erf", "sqrt", "abs")
dtypes = pytest.mark.parametrize("dtype", FLOATS)
functions = pytest.mark.parametrize("name", BOUNDS)
#: x86 has it; elsewhere a long double can be a double.
needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant <= 52, reason="long double is double here"
)


@cache
def all_of_them(dtype: str) -> Callable[..., int]:
    """One kernel, which applies the function of a number to each entry: compiled once for this file."""
    names = [*BOUNDS, *OTHERS]
    lines = [
        f"if which == {k}:\n    for i in range(n):\n        y[i] = {f}(x[i])" for k, f in enumerate(names)
    ]
    lines.append(f"if which == {len(names)}:\n    for i in range(n):\n        y[i] = x[i] ** z[i]")
    arguments = [*(Argument(a, dtype) for a in "xyz"), *(Argument(a, "int64", False) for a in ("n", "which"))]
    return kernels.build("\n".join([*lines, "return n", ""]), dtype, arguments, {})


def compiled(name: str, x: Any, exponent: Any = None) -> Any:
    """A function of each entry, by native code."""
    y = np.full_like(x, 7)
    which = [*BOUNDS, *OTHERS, "pow"].index(name)
    dtype = "f32" if x.dtype == np.float32 else "f64"
    assert all_of_them(dtype)(x, y, x if exponent is None else exponent, x.size, which) == x.size
    return y


def in_python(name: str, x: Any) -> Any:
    """The same, as Python reads the file."""
    dtype = "f32" if x.dtype == np.float32 else "f64"
    function = getattr(mathematics, f"{name}_{dtype}")
    with np.errstate(all="ignore"):
        values = [function(number) for number in x]
    assert all(isinstance(v, FLOATS[dtype]) for v in values), "an operation left the kind of its operands"
    return np.array(values, x.dtype)


def truth(name: str, x: Any, finer: Any) -> Any:
    with np.errstate(all="ignore"):
        return getattr(np, name)(x.astype(finer))


def assert_within(bound: float, y: Any, exact: Any) -> None:
    """As many units in the last place from the true value; not a number and infinity where that is."""
    with np.errstate(all="ignore"):
        nearest = exact.astype(y.dtype)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
    np.testing.assert_array_equal(y[np.isinf(nearest)], nearest[np.isinf(nearest)])
    finite = np.isfinite(nearest)
    unit = np.spacing(np.abs(nearest[finite])).astype(exact.dtype)
    off = np.abs(y[finite].astype(exact.dtype) - exact[finite]) / unit
    assert off.max() <= bound


def bits(x: Any) -> bytes:
    """All bits, with one not-a-number for all of them."""
    return bytes(np.where(np.isnan(x), np.array(np.nan, x.dtype), x).tobytes())


def edges(dtype: str) -> Any:
    """Zeros, infinities, the smallest and the largest, and where results overflow, vanish or change rule."""
    info = np.finfo(FLOATS[dtype])
    top, bottom = math.log(float(info.max)), math.log(float(info.smallest_subnormal))
    rules = [
        0.3465735,
        0.625,
        0.6931472,
        math.sqrt(0.5),
        1.0,
        math.sqrt(2),
        2.0,
        30.0,
        50.0,
        89.0,
        104.0,
        710.0,
    ]
    sizes = [float(v) for v in (info.max, info.tiny, 3 * info.tiny, info.smallest_subnormal, info.eps)]
    around = np.array([0.0, *rules, *sizes, 746.0, 20.0, top, -bottom, sizes[-1] / 2, np.inf], info.dtype)
    with np.errstate(over="ignore"):
        around = np.concatenate(
            [around, np.nextafter(around, info.dtype.type(np.inf)), np.nextafter(around, info.dtype.type(0))]
        )
    return np.concatenate([around, -around, np.array([np.nan], info.dtype)])


@functions
def test_f32_over_all_bit_patterns(name: str) -> None:
    x = np.arange(0, 2**32, 1009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    assert_within(BOUNDS[name], compiled(name, x), truth(name, x, np.float64))


@needs_long_double
@functions
def test_f64_at_random(name: str) -> None:
    rng = np.random.default_rng(0)
    spans = [(-745.0, 709.7), (-25, 25), (-1, 1), (-0.999, -0.3), (0.3, 0.7), (0.6, 1.5), (-1e-3, 1e-3)]
    x = np.concatenate([rng.uniform(*span, 100_000) for span in spans])
    patterns = rng.integers(0, 2**64, 100_000, np.uint64).view(np.float64)
    x = np.concatenate([x, patterns, 1 + 1e-3 * x])
    assert_within(BOUNDS[name], compiled(name, x), truth(name, x, np.longdouble))


@needs_long_double
@dtypes
@functions
def test_edges(name: str, dtype: str) -> None:
    x = edges(dtype)
    y, exact = compiled(name, x), truth(name, x, np.longdouble)
    assert_within(BOUNDS[name], y, exact)
    zero = x == 0
    np.testing.assert_array_equal(y[zero], exact[zero].astype(x.dtype))
    np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(exact[zero]))


@dtypes
@functions
def test_python_calculates_the_same_bits(name: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    whole = {"f32": np.uint32, "f64": np.uint64}[dtype]
    patterns = rng.integers(0, np.iinfo(whole).max, 700, whole).view(FLOATS[dtype])
    near = rng.uniform([-1, -30, 0], [1, 30, 1e-3], (200, 3)).reshape(-1).astype(FLOATS[dtype])
    x = np.concatenate([edges(dtype), patterns, near])
    assert bits(compiled(name, x)) == bits(in_python(name, x))


@dtypes
def test_what_the_processor_calculates_exactly(dtype: str) -> None:
    rng = np.random.default_rng(2)
    whole = {"f32": np.uint32, "f64": np.uint64}[dtype]
    patterns = rng.integers(0, np.iinfo(whole).max, 10_000, whole).view(FLOATS[dtype])
    x = np.concatenate([edges(dtype), patterns])
    with np.errstate(invalid="ignore"):
        assert bits(compiled("sqrt", x)) == bits(np.sqrt(x))
    assert bits(compiled("abs", x)) == bits(np.abs(x))
    assert not np.signbit(compiled("abs", np.array([-0.0], FLOATS[dtype]))).any()


@dtypes
def test_what_the_c_library_calculates(dtype: str) -> None:
    """In f64, `math` is another way to the same functions."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-10, 10, 2000), [0.0, -0.0, 1e5, 1e-30, np.nan]]).astype(FLOATS[dtype])
    for name in ("sin", "cos", "erf"):
        exact = np.array([getattr(math, name)(float(v)) for v in x])
        assert_within(1.5, compiled(name, x), exact)
    zero = np.array([0.0, -0.0], FLOATS[dtype])
    assert np.signbit(compiled("sin", zero)).tolist() == [False, True]
    far = np.array([np.inf, -np.inf], FLOATS[dtype])
    assert np.isnan(compiled("sin", far)).all()
    assert compiled("erf", far).tolist() == [1, -1]


@dtypes
def test_powers(dtype: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 5, 3000).astype(FLOATS[dtype])
    z = rng.uniform(-9, 9, 3000).astype(FLOATS[dtype])
    special = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, np.inf, -np.inf, np.nan], FLOATS[dtype])
    a, b = (g.reshape(-1) for g in np.meshgrid(special, special))
    x, z = np.concatenate([x, a]), np.concatenate([z, b])
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), z.astype(np.float64))
    assert_within(1.5, compiled("pow", x, z), exact)


KEYS = (0, 1, 2**31 - 1, 2**63 - 1)


@dtypes
def test_random_numbers_are_those_of_uniform(dtype: str) -> None:
    """For any counter and key, and each entry by its own number alone."""
    lines = []
    for k, key in enumerate(KEYS):
        lines += [f"start = uniform_start(counter, {key})", "step = uniform_step(start)",
                  "for i in range(n):", f"    y{k}[i] = real(uniform_entry(start, step, i))"]  # fmt: skip
    lines += [
        "start = uniform_start(counter, 1)",
        "one[0] = real(uniform_entry(start, uniform_step(start), 90))",
    ]
    arrays = [Argument(f"y{k}", dtype) for k in range(len(KEYS))]
    arguments = [*arrays, Argument("one", dtype), *(Argument(a, "int64", False) for a in ("n", "counter"))]
    kernel = kernels.build("\n".join([*lines, "return 0", ""]), dtype, arguments, {})
    n = data("n", "i64[]")
    graph = Graph({f"u{k}": Uniform(key, ("B",), dtype)(n) for k, key in enumerate(KEYS)})
    reference = Reference().compile(graph.extended({"B": data("b", f"{dtype}[B]")}))
    for counter in (0, 1, -1, 2**40 + 7, 2**63 - 1, -(2**63)):
        ys = [np.full(100, 7, FLOATS[dtype]) for _ in KEYS]
        one = np.zeros(1, FLOATS[dtype])
        kernel(*ys, one, 100, counter)
        wanted = reference({"n": np.asarray(counter, np.int64), "b": np.zeros(100, FLOATS[dtype])})
        for k, y in enumerate(ys):
            assert y.tobytes() == wanted[f"u{k}"].tobytes()
            assert ((y >= 0) & (y < 1)).all()
        assert one[0] == ys[1][90]
        assert len(np.unique(np.concatenate(ys))) > 395
