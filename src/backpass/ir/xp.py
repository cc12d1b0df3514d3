"""`xp`, the small array namespace over which every op writes its forward rule once.

`ArrayNamespace` adapts any NumPy-like module: NumPy itself (the reference executor), `jax.numpy`, or
`autograd.numpy` (the independent autodiff in the tests). `ir.trace` has the other kind of `xp`, one whose
values are expressions: from it come the printed definitions and the source of compiled kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.ir.types import DTYPES


class ArrayNamespace:
    """The functions that a forward rule may call, over one NumPy-like module.

    Values also understand ``+ - * /``, unary minus, ``>``, indexing by numbers and slices, and ``shape``.

    Parameters
    ----------
    module : module
        NumPy, or something that spells its functions like NumPy.
    """

    def __init__(self, module: Any) -> None:
        self._np = module
        for name in ("exp", "log", "log1p", "tanh", "abs", "maximum", "matmul", "where"):
            setattr(self, name, getattr(module, name))

    def __getattr__(self, name: str) -> Any:  # reached only for what is not part of the protocol
        raise AttributeError(f"xp has no function {name!r}; forward rules may use what ir/xp.py lists")

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._np.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Any, axis: Any = None) -> Any:
        return self._np.mean(x, axis=axis)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._np.max(x, axis=axis, keepdims=keepdims)

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
        return self._np.asarray(value, dtype=DTYPES[dtype])

    def zeros(self, shape: Sequence[int], dtype: str) -> Any:
        return self._np.zeros(tuple(shape), dtype=DTYPES[dtype])

    def pad(self, x: Any, widths: Sequence[tuple[int, int]]) -> Any:
        """Zeros before and after `x` along each axis."""
        return self._np.pad(x, tuple(widths), "constant")

    def stack(self, xs: Sequence[Any]) -> Any:
        return self._np.stack(list(xs))


NUMPY = ArrayNamespace(np)
