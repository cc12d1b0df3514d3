"""An op against everything that the library expects of one."""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from backpass.errors import RuleError, ShapeError
from backpass.exec.base import Array
from backpass.exec.reference import Reference
from backpass.ir import ArrayType, Graph, Node, Op, Sample, TupleType
from backpass.ir.chain import pullback
from backpass.ir.interpret import interpret
from backpass.ir.op import FLOATS
from backpass.ir.text import Style
from backpass.ir.trace import definition
from backpass.ir.tuples import Item
from backpass.ir.wire import from_json, to_json
from backpass.ir.xp import NUMPY, ArrayNamespace
from backpass.ops import data
from backpass.passes import retyped
from backpass.testing.drawing import drawn, in_precision, is_floating
from backpass.testing.executors import difference, run_text, same_bits
from backpass.testing.gradients import (
    EPS,
    NOTHING,
    STENCIL,
    STEP,
    Floats,
    Worst,
    central_slope,
    compare,
    entry_name,
)

#: Above so many evaluations, a Jacobian is checked along random directions instead of entry by entry.
_FULL = 900
_DIRECTIONS = 16
_EXECUTABLE: tuple[Style, ...] = ("python", "ascii")


@dataclass(frozen=True)
class OpCheck:
    """What `check_op` found.

    Attributes
    ----------
    op : str
    samples : int
        How many samples were drawn.
    first, second : Worst
        The worst derivative of order 1 and of order 2.
    autodiff : float or None
        The worst relative difference from HIPS autograd on the same forward rule; None without autograd.
    """

    op: str
    samples: int
    first: Worst
    second: Worst
    autodiff: float | None


def check_op(
    op: Op | type[Op],
    rng: np.random.Generator | None = None,
    *,
    samples: Iterable[Sample] | None = None,
    tolerance: float = 1e-8,
) -> OpCheck:
    """Put an op through everything that the library expects of one.

    The shape rule; derivatives of order 1 and 2 against finite differences and, where it is installed,
    against HIPS autograd on the same forward rule; f32 against f64; the printed program, executed, against
    the reference bit for bit; JSON and back; joining the shards of a named dimension; counting work.

    Parameters
    ----------
    op : Op or subclass of Op
        A class is tested on its own samples; an op with settings on those that have none of their own.
    rng : numpy.random.Generator, optional
    samples : iterable of Sample, optional
        Instead of those of the op.
    tolerance : float
        The largest relative error of a derivative that passes; see `backpass.testing`.

    Raises
    ------
    RuleError
        Something does not hold; the message names the op, the check and the worst entry.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    cls = op if isinstance(op, type) else type(op)
    chosen = list(cls.samples if samples is None else samples)
    if not isinstance(op, type):
        chosen = [s for s in chosen if s.op is None or s.op == op]
        chosen = [dataclasses.replace(s, op=op) for s in chosen]
    if not chosen:
        raise RuleError(f"{cls.name} has no samples{f': {cls.unsampled}' * bool(cls.unsampled)}")
    first = second = NOTHING
    autodiff: float | None = None
    for sample in chosen:
        trial = _Trial(cls, sample, rng, tolerance)
        trial.check_types()
        trial.check_shards()
        one, two, other = trial.check_derivatives()
        trial.check_programs()
        trial.check_settings()
        first, second = max(first, one, key=_error), max(second, two, key=_error)
        if other is not None:
            autodiff = max(autodiff or 0.0, other)
    return OpCheck(cls.name, len(chosen), first, second, autodiff)


def _error(worst: Worst) -> float:
    return worst.error


class _Trial:
    """An op on inputs drawn as one of its samples says."""

    def __init__(self, cls: type[Op], sample: Sample, rng: np.random.Generator, tolerance: float) -> None:
        self.sample, self.rng, self.tolerance = sample, rng, tolerance
        drawing = drawn(cls, sample, rng)
        self.op, self.xs, self.dims = drawing.op, drawing.xs, drawing.dims
        self.anchors, self.feeds = drawing.anchors, drawing.feeds
        self.y = self.op(*self.xs)
        self.parts = self.parts_of(self.y)

    def fail(self, what: str) -> RuleError:
        return RuleError(f"{self.op.name} (sample {self.op.source()} on {self.types()}): {what}")

    def types(self) -> str:
        return ", ".join(str(x.type) for x in self.xs) or "nothing"

    def parts_of(self, y: Node) -> dict[str, Node]:
        if isinstance(y.type, TupleType):
            return {f"y{i}": Item(i)(y) for i in range(len(y.type.items))}
        return {"y0": y}

    def uniform(self, low: float, high: float, x: Node) -> Floats:
        shape = [size for size in x.array_type.bind(self.dims).shape if isinstance(size, int)]
        return np.asarray(self.rng.uniform(low, high, shape))

    # ---- settings

    def check_settings(self) -> None:
        """Two ops of different settings do not print as one function: `notation` names what differs."""
        for key, value in self.op.settings().items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            try:
                other = dataclasses.replace(self.op, **{key: value + 1})  # type: ignore[type-var]
                same = definition(other) == definition(self.op)
            except Exception:  # a value that it does not take, or no single expression
                continue
            if not same and other.source() == self.op.source():
                raise self.fail(
                    f"its setting {key} changes the value, but the notation does not show it, so programs "
                    f"with two of them cannot be printed\n  Write it into the notation, as in "
                    f"{self.op.name}({{0}}, {{{key}}})."
                )

    # ---- shapes

    def check_types(self) -> None:
        """`forward` gives what `infer` says, in f64 and f32, and `infer` raises nothing but ShapeError."""
        for dtype in FLOATS:
            graph = retyped(Graph({**self.parts, **self.anchors}), dtype)
            values = interpret(graph, in_precision(self.feeds, dtype), self.dims)
            for name in self.parts:
                value, type_ = np.asarray(values[graph[name]]), graph[name].array_type.bind(self.dims)
                if value.shape != type_.shape or value.dtype != type_.numpy_dtype:
                    raise self.fail(f"infer says {type_}, forward gives {value.dtype}{list(value.shape)}")
        types = [x.array_type for x in self.xs]
        for i, t in enumerate(types):
            for wrong in (
                ArrayType((*t.shape, 7), t.dtype),
                ArrayType((), t.dtype),
                ArrayType(t.shape, "i64"),
                ArrayType(t.shape, "bool"),
                ArrayType(t.shape, "f32"),
            ):
                try:
                    self.op.infer(*types[:i], wrong, *types[i + 1 :])
                except ShapeError:
                    continue
                except Exception as error:
                    raise self.fail(f"infer of input {i} as {wrong} raised {error!r}") from error
        work = self.op.flops(self.y.type.bind(self.dims), *(t.bind(self.dims) for t in types))
        if type(work) is not int or work < 0:
            raise self.fail(f"flops gave {work!r}; it counts operations from types")

    def check_shards(self) -> None:
        """What the op declares about parts of a named dimension (`joins`, `mixes`) holds."""
        types = [x.array_type for x in self.xs]
        results = [p.array_type for p in self.parts.values()]
        for dim, size in self.dims.items():
            sizes = [[str(d) for d in t.shape if dim in str(d).split("*")] for t in (*types, *results)]
            odd = any(found not in ([], [dim]) for found in sizes)  # in a product, or twice
            lost = any(dim in t.shape for t in types) and any(dim not in r.shape for r in results)
            if odd or dim in self.op.mixes(*types) or (lost and self.op.joins is None):
                continue
            shards = []
            for part in (slice(0, size // 2), slice(size // 2, None)):
                xs = [
                    self.feeds[f"x{i}"][tuple(part if d == dim else slice(None) for d in t.shape)]
                    for i, t in enumerate(types)
                ]
                bound = self.op.bind({**self.dims, dim: len(range(size)[part])})
                value = bound.forward(NUMPY, *xs)
                shards.append(value if isinstance(self.y.type, TupleType) else (value,))
            whole = self.op.bind(self.dims).forward(NUMPY, *(self.feeds[str(x.name)] for x in self.xs))
            whole = whole if isinstance(self.y.type, TupleType) else (whole,)
            for i, r in enumerate(results):
                a, b = shards[0][i], shards[1][i]
                if dim in r.shape:
                    joined = np.concatenate([a, b], axis=r.shape.index(dim))
                else:
                    joined = a + b if lost else a
                if not difference(joined, whole[i]) <= 1e-12:
                    raise self.fail(
                        f"two shards of {dim}, joined, differ from the whole; see joins and mixes"
                    )

    # ---- derivatives

    def check_derivatives(self) -> tuple[Worst, Worst, float | None]:
        wrt = [x for i, x in enumerate(self.xs) if i not in self.sample.fixed and is_floating(x)]
        self.check_silence()
        self.adjoints: dict[str, Node] = {}
        self.smooth = {name: p for name, p in self.parts.items() if is_floating(p)}
        if not wrt or not self.smooth:
            return NOTHING, NOTHING, None
        seeds = {p: data(f"u{i}", p.array_type) for i, p in enumerate(self.smooth.values())}
        adjoints, _ = pullback(seeds, wrt)
        self.adjoints = {f"d{x.name}": adjoints[x] for x in wrt}
        different = dict.fromkeys(self.adjoints.values())  # the two inputs of a sum share one
        again = {adj: data(f"w{i}", adj.array_type) for i, adj in enumerate(different)}
        variables = [*wrt, *seeds.values()]
        second, _ = pullback(again, variables)
        self.seconds = {f"dd{x.name}": second[x] for x in variables}
        for seed in (*seeds.values(), *again.values()):
            self.feeds[str(seed.name)] = self.uniform(-1, 1, seed)
        one = self.compared("order 1", self.smooth, list(seeds.values()), adjoints, wrt)
        names = {adj: name for name, adj in reversed(self.adjoints.items())}
        first = {names[adj]: adj for adj in again}
        two = self.compared("order 2", first, list(again.values()), second, variables)
        return one, two, self.compared_with_autograd(wrt, list(again.values()))

    def check_silence(self) -> None:
        """No adjoint flows to integers and truths, nor from them."""
        if not all(isinstance(p.type, ArrayType) for p in (self.y, *self.xs)):
            return
        rule = self.op.vjp(data("u", self.y.array_type), self.y, *self.xs)
        for i, (x, share) in enumerate(zip(self.xs, rule, strict=False)):
            if share is not None and not (is_floating(x) and is_floating(self.y)):
                raise self.fail(
                    f"vjp gives an adjoint from {self.y.type} to input {i}, {x.type}; only from numbers with "
                    "a point to such numbers does one flow: give None"
                )

    def compared(
        self,
        order: str,
        values: Mapping[str, Node],
        seeds: list[Node],
        adjoints: Mapping[Node, Node],
        wrt: list[Node],
    ) -> Worst:
        """Compare adjoints with central differences of the values that they belong to."""
        seed_names, names = [str(s.name) for s in seeds], [str(x.name) for x in wrt]
        forward = self.function(list(values.values()))
        reverse = self.function([adjoints[x] for x in wrt])
        point, outs = self.flat(names), self.flat(seed_names).size
        if not point.size or not outs:
            return NOTHING

        def at(step: float, direction: Floats) -> Floats:
            return forward({**self.feeds, **self.cut(point + step * direction, names)})

        top = float(np.max(np.abs(forward(self.feeds)), initial=0.0))
        full = outs + 2 * len(STENCIL) * point.size <= _FULL
        if full:
            directions, weights = np.eye(point.size), np.eye(outs)
        else:
            directions = self.rng.uniform(-1, 1, (_DIRECTIONS, point.size))
            directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))  # else long steps bend more
            weights = self.rng.uniform(-1, 1, (_DIRECTIONS, outs))
            top *= float(np.abs(weights).sum(axis=1).max())
        analytic = np.array([reverse({**self.feeds, **self.cut(u, seed_names)}) for u in weights])
        numeric = np.array([central_slope(partial(at, direction=v), STEP)[0] for v in directions])
        if full:
            numeric = numeric.T
        else:
            analytic, numeric = (analytic * directions).sum(axis=1), (numeric * weights).sum(axis=1)
        noise = 8 * EPS * top / STEP
        errors = [
            compare("", float(a), float(n), noise, self.tolerance).error
            for a, n in zip(analytic.flat, numeric.flat, strict=True)
        ]
        at_worst = int(np.argmax(errors))
        name = f"derivative in direction {at_worst}"
        if full:
            out, into = divmod(at_worst, point.size)
            name = f"d {self.spelled(out, seed_names, list(values))} / d {self.spelled(into, names, names)}"
        worst = Worst(name, analytic.flat[at_worst], numeric.flat[at_worst], errors[at_worst])
        if not worst.error <= self.tolerance:
            raise self.fail(
                f"{order}: {worst.name} is {worst.analytic:.10g} by the vjp, but {worst.numeric:.10g} by "
                f"finite differences (relative error {worst.error:.1e})"
            )
        return worst

    def function(self, values: list[Node]) -> Callable[[Mapping[str, Array]], Floats]:
        """All entries of some values in one row, as a function of the feeds."""
        outputs = {f"value_{i}": node for i, node in enumerate(values)}
        compiled = Reference().compile(Graph({**outputs, **self.anchors}))

        def call(feeds: Mapping[str, Array]) -> Floats:
            got = compiled(feeds)
            return np.concatenate([np.zeros(0), *(got[name].ravel() for name in outputs)])

        return call

    def flat(self, names: list[str]) -> Floats:
        return np.concatenate([np.zeros(0), *(self.feeds[n].ravel() for n in names)])

    def cut(self, flat: Floats, names: list[str]) -> dict[str, Array]:
        """The inverse of `flat`."""
        ends = np.cumsum([self.feeds[n].size for n in names])[:-1]
        return {
            n: part.reshape(self.feeds[n].shape) for n, part in zip(names, np.split(flat, ends), strict=True)
        }

    def spelled(self, flat: int, sizes: list[str], names: list[str]) -> str:
        for like, name in zip(sizes, names, strict=True):
            if flat < self.feeds[like].size:
                return entry_name(name, self.feeds[like].shape, flat)
            flat -= self.feeds[like].size
        raise IndexError(flat)

    def compared_with_autograd(self, wrt: list[Node], again: list[Node]) -> float | None:
        try:
            autograd: Any = importlib.import_module("autograd")
            xp = ArrayNamespace(importlib.import_module("autograd.numpy"))
        except ImportError:
            return None
        if not wrt:
            return None
        graph = Graph({**self.parts, **self.anchors})
        names = [str(x.name) for x in wrt]
        seeds = [f"u{i}" for i in range(len(self.smooth))]
        slots = tuple(range(len(names) + len(seeds)))
        points = [self.feeds[n] for n in (*names, *seeds)]

        def weighted(*xs: Any) -> Any:
            fed = dict(zip((*names, *seeds), xs, strict=True))
            values = interpret(graph, {**self.feeds, **fed}, self.dims, xp)
            return sum(xp.sum(values[p] * fed[s]) for p, s in zip(self.smooth.values(), seeds, strict=True))

        first = autograd.grad(weighted, slots[: len(names)])

        def weighted_again(*xs: Any) -> Any:
            gradients: dict[Node, Any] = {}
            for adj, g in zip(self.adjoints.values(), first(*xs), strict=True):
                gradients.setdefault(adj, g)
            weights = [self.feeds[str(w.name)] for w in again]
            return sum(xp.sum(g * w) for g, w in zip(gradients.values(), weights, strict=True))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "output seems independent of input" is an answer here
            try:
                ones = first(*points)
                twos = autograd.grad(weighted_again, slots)(*points)
            except NotImplementedError:  # the forward rule calls a function that autograd does not know
                return None
        ours = Reference().compile(Graph({**self.adjoints, **self.seconds, **self.anchors}))(self.feeds)
        theirs = {f"d{n}": g for n, g in zip(names, ones, strict=True)}
        theirs |= {f"dd{n}": g for n, g in zip((*names, *seeds), twos, strict=True)}
        worst = 0.0
        for name, g in theirs.items():
            largest = max(float(np.max(np.abs(g), initial=0.0)), 1e-3)
            error = float(np.max(np.abs(ours[name] - g), initial=0.0)) / largest
            worst = max(worst, error)
            if not error <= 1e-10:
                raise self.fail(f"{name} differs from autograd by {error:.1e}, relative")
        return worst

    # ---- text and JSON

    def check_programs(self) -> None:
        """The op and its adjoints, as a program: printed and executed, written and read, f32 against f64."""
        graph = Graph({**self.parts, **self.adjoints, **self.anchors})
        results = {}
        for dtype in FLOATS:
            program = retyped(graph, dtype)
            feeds = in_precision({name: self.feeds[name] for name in program.inputs}, dtype)
            results[dtype] = wanted = Reference().compile(program)(feeds)
            for style in _EXECUTABLE:
                if (name := same_bits(wanted, run_text(program, feeds, style))) is not None:
                    raise self.fail(
                        f"executed, this {dtype} program gives another {name}:\n{program.text(style)}"
                    )
            program.text("latex")
            back = from_json(to_json(program))
            if to_json(back) != to_json(program) or back.text() != program.text():
                raise self.fail("JSON and back gives another program")
            if (name := same_bits(wanted, Reference().compile(back)(feeds))) is not None:
                raise self.fail(f"JSON and back gives another {name}")
        for name, value in results["f32"].items():
            if value.dtype.kind != "f":
                if not np.array_equal(value, results["f64"][name]):
                    raise self.fail(f"{name} in f32 differs from f64")
            elif not (error := difference(value, results["f64"][name])) <= 1e-4:
                raise self.fail(f"{name} in f32 differs from f64 by {error:.1e}, relative")
