"""What kernels call: products from SciPy's BLAS, exp and tanh that LLVM can vectorise, random numbers.

BLAS is reached by the address that SciPy publishes for Cython. The address is registered with LLVM under a
name of our own in each process, so a kernel refers to the name and Numba's disk cache stays valid.

No fast-math flag is used anywhere: NaN and infinity keep their meaning, and sums their order.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

for _name in ("sgemm", "dgemm"):
    llvmlite.binding.add_symbol(
        f"backpass_{_name}", get_cython_function_address("scipy.linalg.cython_blas", _name)
    )

_I8, _I32 = ir.IntType(8), ir.IntType(32)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def gemm(typingctx: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, lda: Any, b: Any,
         ldb: Any, beta: Any, c: Any, ldc: Any) -> Any:  # fmt: skip
    """BLAS gemm in Fortran's order: C ← alpha op(A) op(B) + beta C; ta and tb are literal 0 or 1."""
    real, size = c.dtype, types.intp
    signature = types.void(ta, tb, size, size, size, real, a, size, b, size, real, c, size)
    symbol = {"float32": "backpass_sgemm", "float64": "backpass_dgemm"}[str(real)]
    transposed = (ta.literal_value, tb.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real_type = context.get_value_type(real)
        pointer = _I8.as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer] * 13), symbol
        )

        def by_reference(value: Any, kind: Any) -> Any:
            slot = cgutils.alloca_once(builder, kind)
            builder.store(value, slot)
            return builder.bitcast(slot, pointer)

        def integer(i: int) -> Any:
            return by_reference(builder.trunc(args[i], _I32), _I32)

        def array(i: int) -> Any:
            made = context.make_array(signature.args[i])(context, builder, args[i])
            return builder.bitcast(made.data, pointer)

        flags = [by_reference(ir.Constant(_I8, ord("NT"[t])), _I8) for t in transposed]
        alpha_, beta_ = by_reference(args[5], real_type), by_reference(args[10], real_type)
        sizes = [integer(2), integer(3), integer(4)]
        builder.call(
            function,
            [
                *flags,
                *sizes,
                alpha_,
                array(6),
                integer(7),
                array(8),
                integer(9),
                beta_,
                array(11),
                integer(12),
            ],
        )
        return context.get_dummy_value()

    return signature, codegen


# exp: x = n ln 2 + r, a polynomial in r, and 2^n in two halves so that subnormal results are right.
# Coefficients of Cephes (Moshier 1992): expf.c and exp.c. Without branches, so that loops vectorise.
# exp is within 2 units in the last place of the true value, and tanh within 3: tests/test_native.py.
_f, _d = np.float32, np.float64
_P5, _P4, _P3 = _f(1.9875691500e-4), _f(1.3981999507e-3), _f(8.3334519073e-3)
_P2, _P1, _P0 = _f(4.1665795894e-2), _f(1.6666665459e-1), _f(5.0000001201e-1)
_LOG2E_F, _LN2_HI_F, _LN2_LO_F = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
_ROUND_F = _f(12582912.0)  # 1.5 · 2^23: adding it rounds to an integer, found in the low bits
_BITS_F = np.int32(np.float32(12582912.0).view(np.int32))
_HIGH_F, _LOW_F, _ONE_F, _TWO_F = _f(89.0), _f(-104.0), _f(1), _f(2)


@njit(error_model="numpy", nogil=True)
def exp_f32(x):  # type: ignore[no-untyped-def]
    x = _HIGH_F if x > _HIGH_F else x
    x = _LOW_F if x < _LOW_F else x
    t = x * _LOG2E_F + _ROUND_F
    n = t - _ROUND_F
    k = np.int32(np.float32(t).view(np.int32) - _BITS_F)
    r = x - n * _LN2_HI_F
    r = r - n * _LN2_LO_F
    p = _P5 * r + _P4
    p = p * r + _P3
    p = p * r + _P2
    p = p * r + _P1
    p = p * r + _P0
    p = p * (r * r) + r + _ONE_F
    half = np.int32(k >> 1)
    a = np.int32(np.int32(half + 127) << 23).view(np.float32)
    b = np.int32(np.int32(np.int32(k - half) + 127) << 23).view(np.float32)
    return p * a * b


_LOG2E_D, _LN2_HI_D, _LN2_LO_D = (
    _d(1.4426950408889634),
    _d(6.93145751953125e-1),
    _d(1.42860682030941723212e-6),
)
_ROUND_D = _d(6755399441055744.0)  # 1.5 · 2^52
_BITS_D = np.int64(np.float64(6755399441055744.0).view(np.int64))
_HIGH_D, _LOW_D = _d(710.0), _d(-746.0)


@njit(error_model="numpy", nogil=True)
def exp_f64(x):  # type: ignore[no-untyped-def]
    x = _HIGH_D if x > _HIGH_D else x
    x = _LOW_D if x < _LOW_D else x
    t = x * _LOG2E_D + _ROUND_D
    n = t - _ROUND_D
    k = np.float64(t).view(np.int64) - _BITS_D
    r = x - n * _LN2_HI_D
    r = r - n * _LN2_LO_D
    z = r * r
    p = r * ((1.26177193074810590878e-4 * z + 3.02994407707441961300e-2) * z + 1.0)
    q = (
        (3.00198505138664455042e-6 * z + 2.52448340349684104192e-3) * z + 2.27265548208155028766e-1
    ) * z + 2.0
    y = p / (q - p)
    y = 1.0 + (y + y)
    half = k >> 1
    a = np.int64((half + 1023) << 52).view(np.float64)
    b = np.int64((k - half + 1023) << 52).view(np.float64)
    return y * a * b


# tanh: a polynomial near 0, 1 − 2 / (e^2|x| + 1) elsewhere. Cephes, tanhf.c and tanh.c.
_T4, _T3, _T2 = _f(-5.70498872745e-3), _f(2.06390887954e-2), _f(-5.37397155531e-2)
_T1, _T0, _CUT_F = _f(1.33314422036e-1), _f(-3.33332819422e-1), _f(0.625)


@njit(error_model="numpy", nogil=True)
def tanh_f32(x):  # type: ignore[no-untyped-def]
    z = x * x
    near = ((((_T4 * z + _T3) * z + _T2) * z + _T1) * z + _T0) * z * x + x
    size = abs(x)
    far = _ONE_F - _TWO_F / (exp_f32(size + size) + _ONE_F)
    far = -far if x < 0 else far
    near = x if x == 0 else near  # keeps the sign of zero
    return near if size < _CUT_F else far


@njit(error_model="numpy", nogil=True)
def tanh_f64(x):  # type: ignore[no-untyped-def]
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    near = x + x * (z * (p / q))
    size = abs(x)
    far = 1.0 - 2.0 / (exp_f64(size + size) + 1.0)
    far = -far if x < 0 else far
    near = x if x == 0 else near  # keeps the sign of zero
    return near if size < 0.625 else far


# Random numbers by a counter: the arithmetic of `ops.random.Uniform`, bit for bit.
_u = np.uint64
_GOLDEN, _MIX1, _MIX2 = _u(0x9E3779B97F4A7C15), _u(0xBF58476D1CE4E5B9), _u(0x94D049BB133111EB)
_S27, _S30, _S31, _S40, _ONE_U = _u(27), _u(30), _u(31), _u(40), _u(1)
_UNIT = np.float64(2.0**-24)


@njit(error_model="numpy", nogil=True)
def _mixed(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@njit(error_model="numpy", nogil=True)
def uniform_start(counter, key):  # type: ignore[no-untyped-def]
    return _mixed(_mixed(np.uint64(key) + _GOLDEN) + np.uint64(counter))


@njit(error_model="numpy", nogil=True)
def uniform_step(start):  # type: ignore[no-untyped-def]
    return _mixed(start + _GOLDEN) | _ONE_U


@njit(error_model="numpy", nogil=True)
def uniform_entry(start, step, i):  # type: ignore[no-untyped-def]
    """A multiple of 2⁻²⁴, which f32 holds exactly."""
    return np.float64(_mixed(start + np.uint64(i) * step) >> _S40) * _UNIT
