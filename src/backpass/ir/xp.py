"""`xp`, the small array namespace over which every op writes its forward rule once.

`ArrayNamespace` adapts any NumPy-like module: NumPy itself (the reference executor), `jax.numpy`, or
`autograd.numpy` (the independent autodiff in the tests). `ir.trace` has the other kind of `xp`, one whose
values are expressions: from it come the printed definitions and the source of compiled kernels.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.ir.types import DTYPES

#: What every module spells alike.
# fmt: off
_SAME = (
    "abs", "cos", "equal", "exp", "expm1", "log", "log1p", "matmul", "maximum", "minimum", "not_equal",
    "sign", "sin", "sqrt", "tanh", "where",
)
# fmt: on
_SPECIAL = {"autograd.numpy": "autograd.scipy.special", "jax.numpy": "jax.scipy.special"}


class ArrayNamespace:
    """The functions that a forward rule may call, over one NumPy-like module.

    Values also understand ``+ - * / **``, unary minus, ``> >= < <=``, indexing, and ``shape``.

    Parameters
    ----------
    module : module
        NumPy, or something that spells its functions like NumPy.
    """

    def __init__(self, module: Any) -> None:
        self._np = module
        for name in _SAME:
            setattr(self, name, getattr(module, name))

    def __getattr__(self, name: str) -> Any:  # reached only for what is not part of the protocol
        raise AttributeError(f"xp has no function {name!r}; forward rules may use what ir/xp.py lists")

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._np.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Any, axis: Any = None) -> Any:
        return self._np.mean(x, axis=axis)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._np.max(x, axis=axis, keepdims=keepdims)

    def min(self, x: Any, axis: Any = None) -> Any:
        return self._np.min(x, axis=axis)

    def prod(self, x: Any, axis: Any = None) -> Any:
        return self._np.prod(x, axis=axis)

    def argmax(self, x: Any, axis: int) -> Any:
        return self._np.argmax(x, axis=axis)

    def cumsum(self, x: Any, axis: int) -> Any:
        return self._np.cumsum(x, axis=axis)

    def erf(self, x: Any) -> Any:
        """The error function; NumPy has none of its own."""
        home = _SPECIAL.get(self._np.__name__, "scipy.special")
        return importlib.import_module(home).erf(x)

    def cast(self, x: Any, dtype: str) -> Any:
        return x.astype(DTYPES[dtype])

    def einsum(self, spec: str, *xs: Any) -> Any:
        return self._np.einsum(spec, *xs)

    def scatter_add(self, values: Any, index: Any, axis: int, size: int) -> Any:
        """Zeros of length `size` along `axis`, with each slice of `values` added where `index` says."""
        lead, trail = values.shape[:axis], values.shape[axis + index.ndim :]
        if self._np is np:
            result = np.zeros((*lead, size, *trail), values.dtype)
            np.add.at(result, (slice(None),) * axis + (index,), values)
            return result
        chosen = (np.asarray(index).reshape(-1, 1) == np.arange(size)).astype(np.dtype(str(values.dtype)))
        flat = self._np.reshape(values, (math.prod(lead), chosen.shape[0], math.prod(trail)))
        return self._np.reshape(self._np.einsum("lkt,ks->lst", flat, chosen), (*lead, size, *trail))

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return self._np.reshape(x, tuple(shape))

    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        return self._np.transpose(x, tuple(axes))

    def broadcast(self, x: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
        """Repeat `x` so that it has `shape`; axis i of `x` becomes axis ``axes[i]``."""
        sizes = [1] * len(shape)
        for axis in axes:
            sizes[axis] = shape[axis]
        return self._np.broadcast_to(self._np.reshape(x, tuple(sizes)), tuple(shape))

    def constant(self, value: float, dtype: str) -> Any:
        return DTYPES[dtype].type(
            value
        )  # a scalar, as in a printed program: 0.1 ** 3 may differ from an array's

    def zeros(self, shape: Sequence[int], dtype: str) -> Any:
        return self._np.zeros(tuple(shape), dtype=DTYPES[dtype])

    def pad(self, x: Any, widths: Sequence[tuple[int, int]]) -> Any:
        """Zeros before and after `x` along each axis."""
        return self._np.pad(x, tuple(widths), "constant")

    def stack(self, xs: Sequence[Any], axis: int = 0) -> Any:
        return self._np.stack(list(xs), axis=axis)

    def concatenate(self, xs: Sequence[Any], axis: int) -> Any:
        return self._np.concatenate(list(xs), axis=axis)


NUMPY = ArrayNamespace(np)
