"""Every registered op on the samples of its own tests, many to a program: kernels are costly to compile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backpass.errors import NotLowered
from backpass.exec.compiled.lower import lower
from backpass.ir import REGISTRY, ArrayType, Graph, Node, Op, Sample
from backpass.ir.chain import pullback
from backpass.ir.tuples import Item
from backpass.ir.types import Dim, TupleType
from backpass.ops import data
from backpass.passes import retyped

SIZES: dict[str, Dim] = {"m": 3, "n": 10, "k": 6, "p": 2, "q": 4, "s": 5}
DIMS = {"B": 7, "T": 4}
KINDS = {"f32": np.float32, "f64": np.float64}


def sized(dim: Dim) -> Dim:
    """A size in which letters stand for numbers; capitals stay."""
    number, names = 1, []
    for factor in str(dim).split("*"):
        size = SIZES.get(factor, factor)
        if isinstance(size, int) or size.isdigit():
            number *= int(size)
        else:
            names.append(size)
    return number if not names else "*".join([*([str(number)] if number > 1 else []), *names])


def drawn(rng: np.random.Generator, sample: Sample, i: int, x: Node) -> np.ndarray:
    """Values of input i, as the sample says."""
    shape = x.array_type.bind(DIMS).shape
    if x.dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if x.dtype == "i64":
        below = sample.below if isinstance(sample.below, int) else {**SIZES, **DIMS}[sample.below]
        return np.asarray(rng.integers(0, below, shape))
    values = rng.uniform(*sample.within, shape)
    if (kink := sample.away_from) is not None:
        values = np.where(np.abs(values - kink) < 0.1, kink + 0.1, values)
    if i in sample.simplex:
        values = np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)
    return np.asarray(values, float)


def program(cls: type[Op], sample: Sample, tag: str) -> tuple[dict[str, Node], dict[str, np.ndarray]]:
    """The value of an op and its adjoints, as outputs, and the inputs; names begin with the tag."""
    rng = np.random.default_rng(1)
    op = (cls() if sample.op is None else sample.op).resized(sized)
    dtypes = (*sample.dtypes, *["f64"] * (len(sample.shapes) - len(sample.dtypes)))
    xs = [
        data(f"{tag}x{i}", ArrayType(tuple(map(sized, shape)), dtype))
        for i, (shape, dtype) in enumerate(zip(sample.shapes, dtypes, strict=True))
    ]
    y = op(*xs)
    count = len(y.type.items) if isinstance(y.type, TupleType) else 0
    parts = {str(i): Item(i)(y) for i in range(count)} or {"": y}
    feeds = {str(x.name): drawn(rng, sample, i, x) for i, x in enumerate(xs)}
    outputs = {f"{tag}y{i}": part for i, part in parts.items()}
    wrt = [x for i, x in enumerate(xs) if x.dtype == "f64" and i not in sample.fixed]
    if wrt and all(part.dtype == "f64" for part in parts.values()):
        seeds = {part: data(f"{tag}u{i}", part.array_type) for i, part in parts.items()}
        for seed in seeds.values():
            feeds[str(seed.name)] = rng.uniform(-1, 1, seed.array_type.bind(DIMS).shape)
        adjoints, _ = pullback(seeds, wrt)
        outputs |= {f"{tag}d{i}": adjoints[x] for i, x in enumerate(wrt)}
    return outputs, feeds


def samples() -> Iterator[tuple[str, type[Op], Sample]]:
    ours = {n: op for n, op in REGISTRY.all().items() if op.__module__.startswith("backpass.")}
    for name, cls in sorted(ours.items()):
        for k, sample in enumerate(cls.samples):
            yield f"{name}_{k}_", cls, sample


def refusals(dtype: str) -> dict[str, str]:
    """The ops of which some sample has no lowering, and why."""
    found: dict[str, str] = {}
    for tag, cls, sample in samples():
        try:
            outputs, _ = program(cls, sample, tag)
            lower(retyped(Graph(outputs), dtype), in_place=False, sizes=DIMS)
        except NotLowered as obstacle:
            found[cls.name] = str(obstacle)
    return found


def programs_of_all_ops(dtype: str, size: int) -> Iterator[tuple[Graph, dict[str, np.ndarray]]]:
    """Programs of about `size` samples that together hold every op."""
    kept = list(samples())
    for start in range(0, len(kept), size):
        outputs: dict[str, Node] = {f"size_{d}": data(f"anchor_{d}", ArrayType((d,))) for d in DIMS}
        feeds = {f"anchor_{d}": np.zeros(n) for d, n in DIMS.items()}
        for tag, cls, sample in kept[start : start + size]:
            more, given = program(cls, sample, tag)
            outputs |= more
            feeds |= given
        cast = {k: v.astype(KINDS[dtype]) if v.dtype == np.float64 else v for k, v in feeds.items()}
        yield retyped(Graph(outputs), dtype), {k: np.asarray(v) for k, v in cast.items()}
