"""Inputs for an op, drawn as one of its samples says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backpass.exec.base import Array
from backpass.ir import ArrayType, Node, Op, Sample
from backpass.ir.op import FLOATS
from backpass.ir.types import Dim, Shape, size_of
from backpass.ops import data

#: How far entries keep from a kink; the stencil of a derivative reaches a sixth of it.
_ASIDE = 0.1


@dataclass(frozen=True)
class Drawing:
    """An op on inputs.

    Attributes
    ----------
    op : Op
        With sizes in place of letters.
    xs : list of Node
        Its inputs, ``x0``, ``x1``, ...
    dims : dict of str to int
        Sizes of the named dimensions.
    anchors : dict of str to Node
        Inputs that carry the size of a named dimension, which no rule may need to read otherwise.
    feeds : dict of str to array
        Values for `xs` and `anchors`.
    """

    op: Op
    xs: list[Node]
    dims: dict[str, int]
    anchors: dict[str, Node]
    feeds: dict[str, Array]


def drawn(cls: type[Op], sample: Sample, rng: np.random.Generator) -> Drawing:
    """Choose sizes and draw values."""
    plain = cls() if sample.op is None else sample.op
    settings = plain.settings()
    mentioned = (
        f"{sample.shapes} {[settings[name] for name in plain.sized if name in settings]} {sample.below}"
    )
    letters = re.findall(r"[A-Za-z_]\w*", mentioned)
    sizes = dict(zip(dict.fromkeys(letters), rng.permutation(range(2, 3 + len(letters))), strict=False))
    chosen = {x: int(size) for x, size in sizes.items() if x[0].islower()}
    named = [x for x in sizes if x[0].isupper()]
    dims = {x: int(sizes[x]) for x in named}
    dtypes = sample.dtypes or ("f64",) * len(sample.shapes)
    xs = [
        data(f"x{i}", ArrayType(_sized(shape, chosen), dtype))
        for i, (shape, dtype) in enumerate(zip(sample.shapes, dtypes, strict=True))
    ]
    below = chosen[sample.below] if isinstance(sample.below, str) else sample.below
    feeds = _values(sample, [x.array_type.bind(dims) for x in xs], below, rng)
    anchors = {f"size_{x}": data(f"size_{x}", ArrayType((x,))) for x in named}
    feeds |= {f"size_{x}": np.zeros(dims[x]) for x in named}
    op = plain.resized(lambda dim: _sized((dim,), chosen)[0])
    return Drawing(op, xs, dims, anchors, feeds)


def _values(sample: Sample, types: list[ArrayType], below: int, rng: np.random.Generator) -> dict[str, Array]:
    low, high = sample.within
    apart = rng.permutation(np.linspace(low, high, max(1, sum(t.size for t in types))))
    feeds: dict[str, Array] = {}
    for i, t in enumerate(types):
        shape = [n for n in t.shape if isinstance(n, int)]
        values: Array
        if t.dtype == "i64":
            values = rng.integers(0, below, shape)
        elif t.dtype == "bool":
            values = rng.random(shape) < 0.5
        elif sample.distinct:
            first, apart = apart[: t.size], apart[t.size :]
            values = first.reshape(shape)
        else:
            values = rng.uniform(low, high, shape)
            if (kink := sample.away_from) is not None:
                aside = np.where(values < kink, kink - _ASIDE, kink + _ASIDE)
                values = np.where(np.abs(values - kink) < _ASIDE, aside, values)
            if i in sample.simplex:
                values = np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)
        values = np.asarray(values, t.numpy_dtype)
        values.flags.writeable = False
        feeds[f"x{i}"] = values
    return feeds


def is_floating(x: Node) -> bool:
    """Whether a value can have a derivative."""
    return isinstance(x.type, ArrayType) and x.dtype in FLOATS


def in_precision(feeds: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """Feeds with their floating-point arrays as f32 or f64."""
    kind = {"f32": np.float32, "f64": np.float64}[dtype]
    return {name: x.astype(kind) if x.dtype.kind == "f" else x for name, x in feeds.items()}


def _sized(shape: Shape, sizes: Mapping[str, int]) -> Shape:
    """A shape with its letters replaced by the sizes that were chosen."""

    def sized(dim: Dim) -> Dim:
        return size_of(sizes.get(f, f) for f in dim.split("*")) if isinstance(dim, str) else dim

    return tuple(map(sized, shape))
