"""Matrix products in kernels: our own, with sizes that a source says and with others, and BLAS."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.exec.compiled import kernels, target
from backpass.exec.compiled.compiler import Argument
from backpass.exec.compiled.contractions import prefers_blas
from backpass.exec.compiled.products import DEPTH
from backpass.exec.compiled.source import PANEL

FLOATS = {"f32": np.float32, "f64": np.float64}
dtypes = pytest.mark.parametrize("dtype", FLOATS)
GUARD = 16  # entries on either side of what may be written


class Case(NamedTuple):
    """``C ← beta C + alpha A B`` with (m, k) @ (k, n); a turned matrix is stored as its transpose."""

    m: int
    n: int
    k: int
    a_turned: bool = False
    b_turned: bool = False
    alpha: float = 1.0
    beta: float = 0.0
    gap: int = 0  #: entries between the stored rows of A and B that belong to neither


class Operands(NamedTuple):
    A: Any
    B: Any
    C: Any


def drawn(case: Case, dtype: str, seed: int = 0) -> Operands:
    rng = np.random.default_rng(seed)
    shapes = (case.m, case.k), (case.k, case.n), (case.m, case.n)
    return Operands(*(rng.standard_normal(s).astype(FLOATS[dtype]) for s in shapes))


def laid_out(x: Any, turned: bool, gap: int) -> tuple[Any, int]:
    """The entries as a kernel finds them, and the width of a stored row. What is in the gaps never counts."""
    stored = x.T if turned else x
    wide = np.full((stored.shape[0], stored.shape[1] + gap), np.nan, x.dtype)
    wide[:, : stored.shape[1]] = stored
    return wide.reshape(-1), wide.shape[1]


def line(case: Case, c: str, a: str, b: str, sizes: Sequence[object], widths: Sequence[object],
         factors: Sequence[object], usual: Sequence[int]) -> str:  # fmt: skip
    """A product in the source of a kernel."""
    a_steps = f"1, {widths[0]}" if case.a_turned else f"{widths[0]}, 1"
    b_steps = f"1, {widths[1]}" if case.b_turned else f"{widths[1]}, 1"
    given = (*sizes, a_steps, b_steps, *factors, *usual)
    return f"mm({c}, {a}, {b}, panel, {', '.join(map(str, given))})"


def assert_untouched(memory: Any, inside: Sequence[slice]) -> None:
    outside = np.ones(len(memory), bool)
    for part in inside:
        outside[part] = False
    assert (memory[outside] == 7).all()


class Batch:
    """Many products, each with its sizes written in the source, in one kernel."""

    def __init__(self, dtype: str, cases: Sequence[Case], usual: Sequence[int] | None = None) -> None:
        self.dtype, self.cases = dtype, list(cases)
        lines, c, a, b = [], GUARD, 0, 0
        self.places = []
        for case in self.cases:
            widths = [(r if t else s) + case.gap for r, s, t in
                      ((case.m, case.k, case.a_turned), (case.k, case.n, case.b_turned))]  # fmt: skip
            lines.append(line(case, f"C[{c}:]", f"A[{a}:]", f"B[{b}:]", case[:3], widths,
                              (case.alpha, case.beta), usual or (case.m, case.k)))  # fmt: skip
            self.places.append((c, a, b))
            c += case.m * case.n + GUARD
            a += (case.k if case.a_turned else case.m) * widths[0]
            b += (case.n if case.b_turned else case.k) * widths[1]
        self.length = c
        arrays = [Argument(name, dtype) for name in ("C", "A", "B", "panel")]
        self.kernel = kernels.build("\n".join([*lines, "return 0", ""]), dtype, arrays, {})

    def __call__(self, given: Sequence[Operands]) -> list[Any]:
        """All results; nothing else may have changed."""
        C = np.full(self.length, 7, FLOATS[self.dtype])
        panel = np.full(PANEL + GUARD, 7, C.dtype)
        parts = [slice(c, c + x.C.size) for (c, _, _), x in zip(self.places, given, strict=True)]
        for part, x in zip(parts, given, strict=True):
            C[part] = x.C.reshape(-1)
        pairs = list(zip(self.cases, given, strict=True))
        A = np.concatenate([laid_out(x.A, case.a_turned, case.gap)[0] for case, x in pairs])
        B = np.concatenate([laid_out(x.B, case.b_turned, case.gap)[0] for case, x in pairs])
        before = A.tobytes(), B.tobytes()
        self.kernel(C, A, B, panel)
        assert_untouched(C, parts)
        assert (panel[PANEL:] == 7).all()
        assert (A.tobytes(), B.tobytes()) == before
        return [C[part].reshape(x.C.shape) for part, x in zip(parts, given, strict=True)]


#: Factors at run time, or as the source says them; and which operands are turned.
ROUTES = [
    *((("alpha", "beta"), sides) for sides in itertools.product((False, True), repeat=2)),
    (("1.0", "0.0"), (False, False)),
    (("1.0", "1.0"), (False, False)),
    (("alpha", "0.0"), (True, True)),
]


@cache
def any_size(dtype: str) -> Callable[..., int]:
    """One kernel for products of any size: none of them is written in the source."""
    lines = ["alpha, beta = factors[0], factors[1]"]
    for route, (factors, sides) in enumerate(ROUTES):
        text = line(Case(0, 0, 0, *sides), f"C[{GUARD}:]", "A", "B", "mnk", ("a_width", "b_width"), factors,
                    (10, 10))  # fmt: skip
        lines += [f"if route == {route}:", f"    {text}"]
    arrays = [Argument(name, dtype) for name in ("C", "A", "B", "panel", "factors")]
    numbers = [Argument(n, "int64", False) for n in ("m", "n", "k", "a_width", "b_width", "route")]
    return kernels.build("\n".join([*lines, "return 0", ""]), dtype, [*arrays, *numbers], {})


def of_any_size(case: Case, x: Operands, route: int | None = None) -> Any:
    """The result, by the kernel that is told the sizes."""
    dtype = "f32" if x.C.dtype == np.float32 else "f64"
    C = np.full(x.C.size + 2 * GUARD, 7, x.C.dtype)
    inside = slice(GUARD, GUARD + x.C.size)
    C[inside] = x.C.reshape(-1)
    panel = np.full(PANEL + GUARD, 7, C.dtype)
    A, a_width = laid_out(x.A, case.a_turned, case.gap)
    B, b_width = laid_out(x.B, case.b_turned, case.gap)
    chosen = 2 * case.a_turned + case.b_turned if route is None else route
    factors = np.array([case.alpha, case.beta], C.dtype)
    any_size(dtype)(C, A, B, panel, factors, case.m, case.n, case.k, a_width, b_width, chosen)
    assert_untouched(C, [inside])
    assert (panel[PANEL:] == 7).all()
    return C[inside].reshape(x.C.shape)


def assert_close(result: Any, case: Case, x: Operands) -> None:
    """Within the bound of the standard analysis of a sum of products, (k + 2) eps Σ|a||b|.

    Large products in f64 are compared with NumPy's, which is off by as much.
    """
    alike = case.m * case.n * case.k > 1 << 20 and result.dtype == np.float64
    finer = np.longdouble if result.dtype == np.float64 and not alike else np.float64
    A, B, C = (v.astype(finer) for v in x)
    C = finer(case.beta) * C if case.beta else np.zeros_like(C)
    alpha = finer(result.dtype.type(case.alpha))
    exact, size = C + alpha * (A @ B), np.abs(C) + abs(alpha) * (np.abs(A) @ np.abs(B))
    bound = (case.k + 2) * np.finfo(result.dtype).eps * size * (2 if alike else 1)
    assert (np.abs(result - exact) <= bound).all(), case


def check(dtype: str, cases: Sequence[Case]) -> None:
    """Right, the same again, and the same numbers by the kernel that is told the sizes."""
    batch = Batch(dtype, cases)
    given_ = [drawn(case, dtype, seed) for seed, case in enumerate(cases)]
    results = batch(given_)
    for case, x, result, again in zip(cases, given_, results, batch(given_), strict=True):
        assert_close(result, case, x)
        assert result.tobytes() == again.tobytes()
        told = of_any_size(case, x)
        assert_close(told, case, x)
        if case.k <= DEPTH or case.k % DEPTH == 0:  # whose turns are equal
            np.testing.assert_array_equal(result, told, err_msg=str(case))


# ---- right


SIZE = st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 100, 257]))
FACTOR = st.sampled_from([0.0, 1.0, -0.75])


@dtypes
@settings(max_examples=150, deadline=None)
@given(
    case=st.builds(Case, SIZE, SIZE, SIZE, st.booleans(), st.booleans(), FACTOR, FACTOR, st.integers(0, 3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size(dtype: str, case: Case, seed: int) -> None:
    x = drawn(case, dtype, seed)
    result = of_any_size(case, x)
    assert_close(result, case, x)
    for route, ((alpha, beta), sides) in enumerate(ROUTES):
        same = sides == case[3:5] and alpha in ("alpha", str(case.alpha)) and beta in ("beta", str(case.beta))
        if same:  # a factor that is known gives what it gives at run time
            np.testing.assert_array_equal(of_any_size(case, x, route), result)


EVERY, SOME = range(1, 73), [*range(1, 18), 24, 31, 32, 33, 40, 48, 63, 64, 65, 72]


@dtypes
@pytest.mark.parametrize(
    ("b_turned", "widths"), [(False, EVERY), (True, SOME), pytest.param(True, EVERY, marks=pytest.mark.slow)]
)
def test_every_width(dtype: str, b_turned: bool, widths: Sequence[int]) -> None:
    check(dtype, [Case(1 + n % 15, n, 5, n % 2 == 0, b_turned, gap=n % 3) for n in widths])


@dtypes
def test_a_batch_whose_size_is_not_known(dtype: str) -> None:
    """As a layer has it: widths are known, the rows of a batch are not, in all three products of a layer."""
    layers = [(7, 3), (20, 33), (300, 9), (40, 170)]  # the last ones' matrices are copied together
    lines, at = [], 0
    for i, o in layers:
        lines += [
            line(Case(0, 0, 0), f"Z[{at}:]", "X", "W", ("n_B", o, i), (i, o), ("1.0", "0.0"), (10, i)),
            line(Case(0, 0, 0, b_turned=True), f"DX[{at}:]", "DZ", "W", ("n_B", i, o), (o, o),
                 ("1.0", "0.0"), (10, o)),
            line(Case(0, 0, 0, a_turned=True), f"DW[{at}:]", "X", "DZ", (i, o, "n_B"), (i, o),
                 ("1.0", "0.0"), (i, 10)),
        ]  # fmt: skip
        at += 25_000
    names = ("Z", "DX", "DW", "X", "W", "DZ", "panel")
    arguments = [*(Argument(name, dtype) for name in names), Argument("n_B", "int64", False)]
    kernel = kernels.build("\n".join([*lines, "return 0", ""]), dtype, arguments, {})
    rng = np.random.default_rng(0)
    X, W, DZ = (rng.standard_normal(25_000).astype(FLOATS[dtype]) for _ in range(3))
    for rows in (0, 1, 2, 11, 30, 64):
        Z, DX, DW = (np.full(100_000, 7, FLOATS[dtype]) for _ in range(3))
        kernel(Z, DX, DW, X, W, DZ, np.zeros(PANEL, FLOATS[dtype]), rows)
        for k, (i, o) in enumerate(layers):
            x, w = X[: rows * i].reshape(rows, i), W[: i * o].reshape(i, o)
            dz = DZ[: rows * o].reshape(rows, o)
            for memory, case, a, b in [
                (Z, Case(rows, o, i), x, w),
                (DX, Case(rows, i, o), dz, w.T),
                (DW, Case(i, o, rows), x.T, dz),
            ]:
                stop = k * 25_000 + case.m * case.n
                result = memory[k * 25_000 : stop].reshape(case.m, case.n)
                assert_close(result, case, Operands(a, b, np.zeros_like(result)))
                assert (memory[stop : (k + 1) * 25_000] == 7).all()


#: More than one turn of k (of equal length, and not), few rows and many, B that is small, large and very
#: large, and widths that leave vectors of every kind.
LARGE = [
    Case(10, 30, 784), Case(50, 10, 784), Case(130, 33, 260), Case(48, 100, 600), Case(300, 65, 64, True),
    Case(13, 200, 513, False, True), Case(200, 300, 64), Case(257, 129, 100, False, True), Case(4, 1, 1025),
    Case(20, 48, 1537, True, True), Case(64, 1100, 70), Case(140, 515, 130), Case(9, 16, 1536),
    Case(784, 30, 10, True, alpha=-0.1, beta=1.0), Case(150, 70, 515, alpha=0.5, beta=-0.25),
    Case(1, 1, 2048), Case(26, 500, 40, beta=1.0), Case(25, 64, 1024, False, True, beta=0.3, gap=1),
    Case(20, 47, 1030), Case(700, 17, 33, gap=2),
]  # fmt: skip


@dtypes
def test_large(dtype: str) -> None:
    check(dtype, LARGE)


@dtypes
def test_nothing_to_add(dtype: str) -> None:
    """Sizes of 0, and factors of 0: what is left is beta C."""
    sizes = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (30, 40, 0)]
    cases = [Case(*s, t, u, a, b) for s in sizes for t, u in ((False, False), (True, True)) for a, b in
             ((1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0), (0.0, 0.0), (0.0, 0.25))]  # fmt: skip
    check(dtype, [*cases, Case(5, 9, 6, alpha=0.0), Case(5, 9, 6, alpha=0.0, beta=0.5)])


# ---- in one order


def multiplies_and_adds_at_once() -> bool:
    return "+fma" in target.features() or platform.machine().lower() in ("arm64", "aarch64")


@pytest.mark.skipif(not multiplies_and_adds_at_once(), reason="a processor without fused multiply-add")
@dtypes
def test_the_sums_are_those_that_are_promised(dtype: str) -> None:
    """Bit for bit, from exact fractions: one rounding for each multiply-add, turn after turn of k."""
    real = FLOATS[dtype]

    def rounded(x: Fraction) -> Any:
        return real(float(x))

    def fma(x: Any, y: Any, z: Any) -> Any:
        return rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))

    cases = [Case(3, 5, 8, alpha=-0.3, beta=0.7), Case(2, 1, 1030, beta=1.0),
             Case(2, 3, 600, True, True, 0.3), Case(1, 2, 513, alpha=0.1, beta=0.9)]  # fmt: skip
    given_ = [drawn(case, dtype, 3) for case in cases]
    for case, x, known in zip(cases, given_, Batch(dtype, cases)(given_), strict=True):
        equal = -(-case.k // -(-case.k // DEPTH))
        alpha, beta = real(case.alpha), real(case.beta)
        for result, depth in ((known, equal), (of_any_size(case, x), DEPTH)):
            for i, j in itertools.product(range(case.m), range(case.n)):
                c = rounded(Fraction(float(beta)) * Fraction(float(x.C[i, j])))
                for first in range(0, case.k, depth):
                    s = real(0)
                    for q in range(first, min(first + depth, case.k)):
                        s = fma(x.A[i, q], x.B[q, j], s)
                    c = fma(alpha, s, c)
                assert result[i, j] == c, case


@dtypes
@pytest.mark.parametrize(("m", "n", "k"), [(48, 100, 600), (784, 30, 10), (50, 77, 513), (150, 130, 70)])
def test_sums_do_not_depend_on_the_cut(dtype: str, m: int, n: int, k: int) -> None:
    """As threads cut the rows, and as other sizes cut the columns; nor on how the operands lie in memory."""
    whole = Case(m, n, k, alpha=0.5, beta=0.25)
    x = drawn(whole, dtype, 3)
    batch = Batch(dtype, [whole, whole._replace(a_turned=True), whole._replace(b_turned=True),
                          whole._replace(gap=5)])  # fmt: skip
    first, *others = batch([x] * 4)
    assert all(other.tobytes() == first.tobytes() for other in others)
    told = of_any_size(whole, x)
    for rows in ([0, m], [0, m // 2, m], [0, m // 3, 2 * m // 3, m], [0, 1, 8, m]):
        parts = [
            of_any_size(whole._replace(m=b - a), Operands(x.A[a:b], x.B, x.C[a:b]))
            for a, b in itertools.pairwise(rows)
        ]
        assert np.concatenate(parts).tobytes() == told.tobytes()
        batch = Batch(dtype, [whole._replace(m=b - a) for a, b in itertools.pairwise(rows)])
        known = batch([Operands(x.A[a:b], x.B, x.C[a:b]) for a, b in itertools.pairwise(rows)])
        assert np.concatenate(known).tobytes() == first.tobytes()
    a, b = 3, min(14, n)
    columns = Operands(x.A, np.ascontiguousarray(x.B[:, a:b]), np.ascontiguousarray(x.C[:, a:b]))
    part = whole._replace(n=b - a)
    assert of_any_size(part, columns).tobytes() == np.ascontiguousarray(told[:, a:b]).tobytes()
    assert Batch(dtype, [part])([columns])[0].tobytes() == np.ascontiguousarray(first[:, a:b]).tobytes()


@dtypes
def test_what_sizes_usually_are_changes_no_bit(dtype: str) -> None:
    cases = [Case(40, 100, 600), Case(30, 70, 300, False, True), Case(200, 40, 30, True)]
    given_ = [drawn(case, dtype) for case in cases]
    few, many = (Batch(dtype, cases, usual)(given_) for usual in ((1, 1), (1000, 1000)))
    assert [x.tobytes() for x in few] == [x.tobytes() for x in many]


@dtypes
def test_a_small_sum_is_rounded_once_into_a_large_entry(dtype: str) -> None:
    """As a weight and its update are: terms that are each too small to change it count together."""
    eps = np.finfo(FLOATS[dtype]).eps
    case = Case(20, 30, 64, beta=1.0)
    ones = np.ones((20, 64)), np.ones((64, 30)), np.ones((20, 30))
    A, B, C = (v.astype(FLOATS[dtype]) for v in ones)
    x = Operands(A * (eps / 8), B, C)
    assert (Batch(dtype, [case])([x])[0] == 1 + 8 * eps).all()
    assert (of_any_size(case, x) == 1 + 8 * eps).all()


# ---- what is not a number


WIDTHS = [1, 3, 10, 30, 100]


@dtypes
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_and_infinity_reach_what_they_should(dtype: str, bad: float) -> None:
    cases = [Case(10, n, 8, beta=1.0) for n in WIDTHS]
    given_ = [drawn(case, dtype, 5) for case in cases]
    for x in given_:
        x.A[3, 4] = bad
        x.B[2, x.B.shape[1] // 2] = bad
    for case, x, result in zip(cases, given_, Batch(dtype, cases)(given_), strict=True):
        with np.errstate(invalid="ignore"):
            expected = x.C + x.A @ x.B
        for found in (result, of_any_size(case, x)):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
            np.testing.assert_array_equal(found[np.isinf(expected)], expected[np.isinf(expected)])
    nothing = [x._replace(A=np.zeros_like(x.A)) for x in given_]  # nothing is skipped because it is zero
    for x, result in zip(nothing, Batch(dtype, cases)(nothing), strict=True):
        assert np.isnan(result[:, x.B.shape[1] // 2]).all()
        assert np.isfinite(result).sum() == result.size - len(result)


@dtypes
def test_what_was_in_the_result_does_not_count_where_beta_is_zero(dtype: str) -> None:
    cases = [Case(10, n, k, alpha=alpha) for n in WIDTHS for k in (0, 8, 600) for alpha in (1.0, 0.5)]
    given_ = [drawn(case, dtype)._replace(C=np.full((10, case.n), np.nan, FLOATS[dtype])) for case in cases]
    for case, x, result in zip(cases, given_, Batch(dtype, cases)(given_), strict=True):
        clean = x._replace(C=np.zeros_like(x.C))
        assert_close(result, case, clean)
        assert_close(of_any_size(case, x), case, clean)


# ---- memory


# ---- memory

_AT_THE_END_OF_A_PAGE = """
import ctypes, mmap, sys
import numpy as np
from test_products import FLOATS, PANEL, Argument, Case, assert_close, drawn, kernels, laid_out, line

libc, pages, room, dtype = ctypes.CDLL(None), [], 1 << 16, sys.argv[1]

def at_the_end(x):
    # A copy of which the last entry is followed by memory that nobody may touch.
    memory = mmap.mmap(-1, 2 * room)
    pages.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert libc.mprotect(ctypes.c_void_p(start + room), ctypes.c_size_t(room), 0) == 0
    copy = np.frombuffer(memory, x.dtype, x.size, room - x.nbytes)
    copy[:] = x
    return copy

cases = [Case(m, n, k, t, u, beta=1.0) for n in (1, 5, 9, 16, 17, 33)
         for m, k in ((1, 1), (27, 18)) for t in (False, True) for u in (False, True)]
lines = []
for i, c in enumerate(cases):
    widths = c.m if c.a_turned else c.k, c.k if c.b_turned else c.n
    for told, sizes in enumerate((c[:3], ("m", c.n, "k"), "mnk")):
        text = line(c, "C", "A", "B", sizes, widths, (1.0, 1.0), (c.m, c.k))
        lines += [f"if which == {3 * i + told}:", "    " + text]
arrays = [Argument(name, dtype) for name in ("C", "A", "B", "panel")]
numbers = [Argument(name, "int64", False) for name in ("m", "n", "k", "which")]
kernel = kernels.build("\\n".join([*lines, "return 0", ""]), dtype, [*arrays, *numbers], {})
panel = np.zeros(PANEL, FLOATS[dtype])
for which in range(3 * len(cases)):
    case = cases[which // 3]
    x = drawn(case, dtype, which)
    flat = x.C.reshape(-1), laid_out(x.A, case.a_turned, 0)[0], laid_out(x.B, case.b_turned, 0)[0]
    C, A, B = map(at_the_end, flat)
    kernel(C, A, B, panel, *case[:3], which)
    assert_close(C.reshape(x.C.shape), case, x)
print("read and wrote what it may")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux to forbid memory")
@dtypes
def test_nothing_behind_the_last_entry_is_touched(dtype: str) -> None:
    """In a process of its own, which would not survive it."""
    here = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", _AT_THE_END_OF_A_PAGE, dtype]
    done = subprocess.run(command, env=os.environ | here, capture_output=True, text=True)
    assert done.stdout == "read and wrote what it may\n", done.stderr


# ---- BLAS


def test_the_rule_depends_on_sizes() -> None:
    assert not prefers_blas(10, 30, 784, "f32")
    assert prefers_blas(512, 512, 512, "f32")


@cache
def by_blas(dtype: str) -> Callable[..., int]:
    """The call of BLAS, whether or not the operands are turned."""
    lines = []
    for which, (a, b) in enumerate(itertools.product((0, 1), repeat=2)):
        call = f"gemm(C[{GUARD}:], A, B, m, n, k, {a}, a_width, {b}, b_width, factors[0], factors[1])"
        lines += [f"if which == {which}:", f"    {call}"]
    arrays = [Argument(name, dtype) for name in ("C", "A", "B", "factors")]
    numbers = [Argument(n, "int64", False) for n in ("m", "n", "k", "a_width", "b_width", "which")]
    return kernels.build("\n".join([*lines, "return 0", ""]), dtype, [*arrays, *numbers], {})


def gemm(case: Case, x: Operands) -> Any:
    dtype = "f32" if x.C.dtype == np.float32 else "f64"
    C = np.full(x.C.size + 2 * GUARD, 7, x.C.dtype)
    inside = slice(GUARD, GUARD + x.C.size)
    C[inside] = x.C.reshape(-1)
    A, a_width = laid_out(x.A, case.a_turned, case.gap)
    B, b_width = laid_out(x.B, case.b_turned, case.gap)
    factors = np.array([case.alpha, case.beta], C.dtype)
    which = 2 * case.a_turned + case.b_turned
    by_blas(dtype)(C, A, B, factors, case.m, case.n, case.k, a_width, b_width, which)
    assert_untouched(C, [inside])
    return C[inside].reshape(x.C.shape)


WIDTH = st.integers(1, 40)  # BLAS refuses a matrix whose rows have no width
ROUTINE = st.builds(Case, SIZE, WIDTH, SIZE, st.booleans(), st.booleans(), FACTOR, FACTOR, st.integers(1, 3))


@dtypes
@settings(max_examples=150, deadline=None)
@given(case=ROUTINE, tight=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_blas(dtype: str, case: Case, tight: bool, seed: int) -> None:
    if tight and case.m and case.k:
        case = case._replace(gap=0)
    x = drawn(case, dtype, seed)
    result = gemm(case, x)
    assert_close(result, case, x)
    assert result.tobytes() == gemm(case, x).tobytes()


@dtypes
def test_a_large_product_by_blas(dtype: str) -> None:
    """What was in the result does not count where beta is 0."""
    case = Case(130, 300, 260, alpha=-0.5)
    x = drawn(case, dtype)
    for a, b in itertools.product((False, True), repeat=2):
        turned = case._replace(a_turned=a, b_turned=b)
        assert_close(gemm(turned, x._replace(C=np.full_like(x.C, np.nan))), turned, x)
        assert_close(gemm(turned._replace(beta=1.0), x), turned._replace(beta=1.0), x)
