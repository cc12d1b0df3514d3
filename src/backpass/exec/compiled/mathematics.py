"""What kernels calculate of single numbers: exp, tanh, log and their kin, random numbers by a counter.

Compiled into each kernel that calls them (`compiler` reads this file), in the same operations that Python
does here. Without branches, so that LLVM turns loops over them into loops over vectors. The annotations are
the kinds of `compiler`.

Bounds, in units in the last place of the true value (tests/test_mathematics.py): exp, log 1; tanh, log1p 1.5;
expm1 2.5.
"""

from numpy import float32 as f32
from numpy import float64 as f64
from numpy import int32, int64, uint64

# exp: x = n ln 2 + r, a polynomial in r, and 2^n in two halves so that subnormal results are right.
# Coefficients of Cephes (Moshier 1992), expf.c, and of fdlibm (Sun Microsystems 1993), e_exp.c. Adding
# 1.5 · 2^23 (2^52) rounds to an integer, which is then found in the low bits.


def power_of_two_f32(n: int32) -> f32:
    """2^n for n from -126 to 127."""
    return ((n + 127) << 23).view(f32)


def power_of_two_f64(n: int64) -> f64:
    """2^n for n from -1022 to 1023."""
    return ((n + 1023) << 52).view(f64)


def reduced_exp_f32(r: f32) -> f32:
    """e^r - 1 for r up to (ln 2) / 2 either way."""
    p = 1.9875691500e-4 * r + 1.3981999507e-3
    p = p * r + 8.3334519073e-3
    p = p * r + 4.1665795894e-2
    p = p * r + 1.6666665459e-1
    p = p * r + 5.0000001201e-1
    return p * (r * r) + r


def reduced_exp_f64(r: f64) -> f64:
    """e^r - 1 for r up to (ln 2) / 2 either way."""
    z = r * r
    p = 4.13813679705723846039e-08 * z - 1.65339022054652515390e-06
    p = p * z + 6.61375632143793436117e-05
    p = p * z - 2.77777777770155933842e-03
    p = p * z + 1.66666666666666019037e-01
    c = r - p * z
    return r * c / (2.0 - c) + r  # a small part added last, so that its errors are small too


def exp_f32(x: f32) -> f32:
    """e^x."""
    x = f32(89.0) if x > 89.0 else x
    x = f32(-104.0) if x < -104.0 else x
    t = x * 1.44269504 + 12582912.0
    n = t - 12582912.0
    k = t.view(int32) - 1262485504
    r = x - n * 0.693359375
    r = r + n * 2.12194440e-4
    half = k >> 1
    return (reduced_exp_f32(r) + 1.0) * power_of_two_f32(half) * power_of_two_f32(k - half)


def exp_f64(x: f64) -> f64:
    """e^x."""
    x = f64(710.0) if x > 710.0 else x
    x = f64(-746.0) if x < -746.0 else x
    t = x * 1.4426950408889634 + 6755399441055744.0
    n = t - 6755399441055744.0
    k = t.view(int64) - 4843621399236968448
    r = x - n * 6.93145751953125e-1
    r = r - n * 1.42860682030941723212e-6
    half = k >> 1
    return (reduced_exp_f64(r) + 1.0) * power_of_two_f64(half) * power_of_two_f64(k - half)


# expm1: with the same n and r, e^x - 1 = (e^r - 1) 2^n + (2^n - 1), in which no digits cancel.


def expm1_f32(x: f32) -> f32:
    """e^x - 1, without loss near 0."""
    y = f32(30.0) if x > 30.0 else x
    y = f32(-30.0) if y < -30.0 else y
    t = y * 1.44269504 + 12582912.0
    n = t - 12582912.0
    r = y - n * 0.693359375
    r = r + n * 2.12194440e-4
    scale = power_of_two_f32(t.view(int32) - 1262485504)
    near = reduced_exp_f32(r) * scale + (scale - 1.0)
    near = x if x == 0.0 else near  # keeps the sign of zero
    return exp_f32(x) if x > 30.0 else near


def expm1_f64(x: f64) -> f64:
    """e^x - 1, without loss near 0."""
    y = f64(50.0) if x > 50.0 else x
    y = f64(-50.0) if y < -50.0 else y
    t = y * 1.4426950408889634 + 6755399441055744.0
    n = t - 6755399441055744.0
    r = y - n * 6.93145751953125e-1
    r = r - n * 1.42860682030941723212e-6
    scale = power_of_two_f64(t.view(int64) - 4843621399236968448)
    near = reduced_exp_f64(r) * scale + (scale - 1.0)
    near = x if x == 0.0 else near  # keeps the sign of zero
    return exp_f64(x) if x > 50.0 else near


# tanh: a polynomial near 0, 1 - 2 / (e^2|x| + 1) elsewhere. Cephes, tanhf.c and tanh.c.


def tanh_f32(x: f32) -> f32:
    """The hyperbolic tangent."""
    z = x * x
    p = -5.70498872745e-3 * z + 2.06390887954e-2
    p = p * z - 5.37397155531e-2
    p = p * z + 1.33314422036e-1
    p = p * z - 3.33332819422e-1
    near = p * z * x + x
    size = abs(x)
    far = 1.0 - 2.0 / (exp_f32(size + size) + 1.0)
    far = -far if x < 0.0 else far
    near = x if x == 0.0 else near  # keeps the sign of zero
    return near if size < 0.625 else far


def tanh_f64(x: f64) -> f64:
    """The hyperbolic tangent."""
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    near = x + x * (z * (p / q))
    size = abs(x)
    far = 1.0 - 2.0 / (exp_f64(size + size) + 1.0)
    far = -far if x < 0.0 else far
    near = x if x == 0.0 else near  # keeps the sign of zero
    return near if size < 0.625 else far


# log: x = 2^k m with m from sqrt(1/2) to sqrt(2), and a series in s = (m - 1) / (m + 1).
# Coefficients of fdlibm (Sun Microsystems 1993), e_logf.c and e_log.c.


def log_f32(x: f32) -> f32:
    """The natural logarithm: -inf of 0, not a number below."""
    small = x < 1.1754943508222875e-38
    y = x * 33554432.0 if small else x
    bits = y.view(int32) - 1060439283
    k = f32(bits >> 23) - (f32(25.0) if small else f32(0.0))
    f = ((bits & 8388607) + 1060439283).view(f32) - 1.0
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    even = w * (0.40000972152 + w * 0.24279078841)
    odd = z * (0.66666662693 + w * 0.28498786688)
    half = 0.5 * f * f
    y = s * (half + (odd + even)) + k * 9.0580006145e-06 - half + f + k * 6.9313812256e-01
    y = x if x - x != 0.0 else y  # infinite, or not a number
    y = f32(-float("inf")) if x == 0.0 else y
    return f32(float("nan")) if x < 0.0 else y


def log_f64(x: f64) -> f64:
    """The natural logarithm: -inf of 0, not a number below."""
    small = x < 2.2250738585072014e-308
    y = x * 18014398509481984.0 if small else x
    bits = y.view(int64) - 4604544271217802189
    k = f64(bits >> 52) - (f64(54.0) if small else f64(0.0))
    f = ((bits & 4503599627370495) + 4604544271217802189).view(f64) - 1.0
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    y = s * (half + (odd + even)) + k * 1.90821492927058770002e-10 - half + f + k * 6.93147180369123816490e-01
    y = x if x - x != 0.0 else y  # infinite, or not a number
    y = f64(-float("inf")) if x == 0.0 else y
    return f64(float("nan")) if x < 0.0 else y


# log1p: ln u with u = 1 + x rounded, and what the rounding left out as a first-order term.


def log1p_f32(x: f32) -> f32:
    """ln (1 + x), without loss near 0."""
    u = x + 1.0
    y = log_f32(u) + (x - (u - 1.0)) / u
    y = x if u == 1.0 else y
    return log_f32(u) if u == 0.0 or u - u != 0.0 else y


def log1p_f64(x: f64) -> f64:
    """ln (1 + x), without loss near 0."""
    u = x + 1.0
    y = log_f64(u) + (x - (u - 1.0)) / u
    y = x if u == 1.0 else y
    return log_f64(u) if u == 0.0 or u - u != 0.0 else y


# Random numbers by a counter: the arithmetic of `ops.random.Uniform`, bit for bit.


def mixed(x: uint64) -> uint64:
    """Bits that look like those of no neighbour (the finisher of SplitMix64)."""
    x = (x ^ (x >> uint64(30))) * uint64(13787848793156543929)
    x = (x ^ (x >> uint64(27))) * uint64(10723151780598845931)
    return x ^ (x >> uint64(31))


def uniform_start(counter: int64, key: int64) -> uint64:
    """Where the numbers of a counter begin."""
    return mixed(mixed(uint64(key) + uint64(11400714819323198485)) + uint64(counter))


def uniform_step(start: uint64) -> uint64:
    """How far they lie apart."""
    return mixed(start + uint64(11400714819323198485)) | uint64(1)


def uniform_entry(start: uint64, step: uint64, i: int64) -> f64:
    """Number i: a multiple of 2^-24, which f32 holds exactly."""
    return f64(mixed(start + uint64(i) * step) >> uint64(40)) * 5.9604644775390625e-8
