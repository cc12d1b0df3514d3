"""Example by example, in mini-batches, or the whole matrix: the same gradient, in another time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backpass.exec.base import Array, Loop
from backpass.exec.choose import executor_named
from backpass.exec.reference import ReferenceFunction
from backpass.explain.answer import Answer, Block, Check, Figure, Heading, Note, Table
from backpass.ir import Graph
from backpass.nn import add_cost
from backpass.ops import functions as F
from backpass.ops import state
from backpass.passes import backward, simplify
from backpass.pictures.axes import figure
from backpass.pictures.curves import Line, Panel, line_chart
from backpass.rivals.counter import told_time
from backpass.rivals.lessons import Told, quiet
from backpass.rivals.lessons.descent import Descent, loop_of
from backpass.rivals.task import Task
from backpass.rivals.tasks import task_named
from backpass.training.evaluate import classes_of
from backpass.training.step import predict_graph

_REPEATS = 5
_LEAST = 0.02  # seconds of a measurement at least, so that the clock's steps do not matter
_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
#: Rounding: a sum of n numbers is right to n units of the last place, and here n is some thousands.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Way:
    """The gradient of all rows, collected from batches of a size.

    Attributes
    ----------
    size : int
        Rows of a batch.
    difference : float
        The largest difference from the gradient of all rows at once, in parts of its largest entry.
    seconds, numpy_seconds : tuple of float
        Of one pass over the rows, each measurement; as native code, and by NumPy.
    """

    size: int
    difference: float
    seconds: tuple[float, ...]
    numpy_seconds: tuple[float, ...]


@dataclass(frozen=True)
class Learned:
    """A training with batches of a size, with the best of the rates that were tried.

    Attributes
    ----------
    size : int
    rate : float
    updates : int
        Changes of the weights in one pass over the rows.
    cost : tuple of float
        Of all rows, before the first pass and after each.
    seconds : tuple of float
        That the steps had taken by then.
    tested : float
        The share of test rows that are told right at the end.
    """

    size: int
    rate: float
    updates: int
    cost: tuple[float, ...]
    seconds: tuple[float, ...]
    tested: float


@dataclass(frozen=True, kw_only=True)
class Batch(Answer):
    """What batches change, and what they do not.

    Attributes
    ----------
    words : str
        The net and the rows.
    rows : int
    ways : tuple of Way
        From one row at a time to all at once.
    learned : tuple of Learned
    products : str
        What calculates the matrix products of the native code.
    """

    words: str
    rows: int
    ways: tuple[Way, ...]
    learned: tuple[Learned, ...]
    products: str

    @property
    def checks(self) -> tuple[Check, ...]:
        most = max(way.difference for way in self.ways)
        words = "the gradient of all rows at once and those that were collected from batches, relative"
        return (Check("same gradient", most, _ROUNDING, words),)

    def blocks(self) -> list[Block]:
        return [
            Heading(
                "Same gradient, other time",
                "The gradient of a sum is the sum of the gradients: one program, run over the rows one by "
                "one, in batches, or all at once, and what it finds is added up. No weight moves.",
            ),
            self._times(),
            Note(
                "A pass over one row is a product of a vector and a matrix: each weight is fetched from "
                "memory for one multiplication. With a batch it is a product of two matrices, where each "
                f"weight serves all rows of the batch. The native code takes {self.products} for that. In "
                "NumPy the time to call each operation comes on top, and is paid for each batch."
            ),
            self._time_figure(),
            Heading(
                "Other learning",
                "As soon as the weights move after each batch, it is not the same any more: small batches "
                "take more steps in one pass over the rows, each along a rougher gradient.",
            ),
            self._learning(),
            self._curves(),
            Note(
                f"Each with the best of the rates {', '.join(f'{r:g}' for r in _RATES)}, the one with the "
                "least cost at the end; the same start, and the same order of the rows."
            ),
        ]

    def called(self, size: int) -> str:
        if size == 1:
            return "one by one"
        return "all at once" if size == self.rows else f"batches of {size}"

    def _times(self) -> Table:
        head = ("", "one pass", "range", "an example", "NumPy: one pass", "range", "differs by")
        rows = tuple(
            (
                self.called(way.size),
                told_time(statistics.median(way.seconds)),
                _range(way.seconds),
                told_time(statistics.median(way.seconds) / self.rows),
                told_time(statistics.median(way.numpy_seconds)),
                _range(way.numpy_seconds),
                f"{way.difference:.1e}" if way.difference else "0",
            )
            for way in self.ways
        )
        return Table(f"{self.words}: medians of {len(self.ways[0].seconds)} measurements", head, rows)

    def _time_figure(self) -> Figure:
        sizes = [way.size for way in self.ways]
        middle = [1e6 * statistics.median(way.seconds) / self.rows for way in self.ways]
        numpy = [1e6 * statistics.median(way.numpy_seconds) / self.rows for way in self.ways]
        lines = [Line("native code", sizes, middle, "train"), Line("NumPy", sizes, numpy, "validation")]
        name = "forward and backward, an example"
        panel = Panel(name, "rows of a batch (log)", "µs", lines, log=True, x_log=True)
        words = ", ".join(f"{figure(t, 3)} µs {self.called(s)}" for s, t in zip(sizes, middle, strict=True))
        return Figure("Time of an example", line_chart("Time of an example", [panel]), words)

    def _learning(self) -> Table:
        last = len(self.learned[0].cost) - 1
        head = (
            "",
            "steps in one pass",
            "best rate",
            f"cost after {last} passes",
            "seconds",
            "test rows right",
        )
        rows = tuple(
            (
                self.called(one.size),
                one.updates,
                f"{one.rate:g}",
                figure(one.cost[-1]),
                f"{one.seconds[-1]:.3g}",
                f"{100 * one.tested:.1f} %",
            )
            for one in self.learned
        )
        return Table("", head, rows)

    def _curves(self) -> Figure:
        parts = ("train", "validation", "test")
        by_pass, by_time = [], []
        for one, part in zip(self.learned, parts, strict=True):
            name = self.called(one.size)
            by_pass.append(Line(name, range(len(one.cost)), one.cost, part))
            by_time.append(Line(name, one.seconds, one.cost, part))
        panels = [
            Panel("by passes over the rows", "pass", "cost of all rows", by_pass),
            Panel("by time", "seconds of steps", "cost of all rows", by_time),
        ]
        words = "; ".join(
            f"{self.called(one.size)}: {figure(one.cost[0])} to {figure(one.cost[-1])} in "
            f"{one.seconds[-1]:.2g} s"
            for one in self.learned
        )
        return Figure("Learning", line_chart("Learning with three sizes of batches", panels), words)


def batch(
    *,
    seed: int = 0,
    told: Told = quiet,
    rows: int | None = None,
    passes: int = 20,
    repeats: int = _REPEATS,
    rates: Sequence[float] = _RATES,
) -> Batch:
    """The gradient of the digits from batches of several sizes, and what a net learns with them.

    Parameters
    ----------
    seed : int
        Of the start, of the rows that are held out, and of the order of the others.
    told : callable
    rows : int, optional
        So many training rows only.
    passes : int
        Over the rows, in training.
    repeats : int
        Measurements of each time.
    rates : sequence of float
        To choose from in training.
    """
    task = task_named("digits", seed)
    x, t = task.x[:rows], task.t[:rows]
    n = len(x)
    sizes = [1, 8, 32, 128, n] if n > 128 else [1, 8, n]
    ways, products = _measured(
        task, x, t, sizes, repeats, lambda part: told(0.5 * part, "the same gradient, timed")
    )
    learned = []
    for k, size in enumerate((1, 32, n)):
        tried = []
        for j, rate in enumerate(rates):
            told(0.5 + 0.5 * (k + j / len(rates)) / 3, f"learning with batches of {size}, rate {rate:g}")
            tried.append(_trained(task, x, t, size, rate, passes))
        learned.append(min(tried, key=lambda one: one.cost[-1]))
    shape = "-".join(str(size) for size in (x.shape[1], *(layer.width() for layer in task.network.layers)))
    one, whole = (statistics.median(way.seconds) for way in (ways[0], ways[-1]))
    slow, quick = (statistics.median(way.numpy_seconds) for way in (ways[0], ways[-1]))
    online, full = learned[0], learned[-1]
    return Batch(
        question="race",
        target="batch",
        step=None,
        claim=(
            f"Example by example or as one matrix, the gradient is the same but for rounding (at most "
            f"{max(way.difference for way in ways):.0e} of it). A pass over the rows takes {told_time(one)} "
            f"one by one and {told_time(whole)} as one matrix, in NumPy {told_time(slow)} and "
            f"{told_time(quick)}. With the same {passes} passes over the rows, a step after "
            f"each example comes to a cost of {figure(online.cost[-1])}, one step a pass to "
            f"{figure(full.cost[-1])}."
        ),
        words=f"digits, {n:,} rows, a {shape} net, f64",
        rows=n,
        ways=tuple(ways),
        learned=tuple(learned),
        products=products,
    )


def collecting(task: Task, rows: int) -> Graph:
    """A step that moves no weight: it adds its part of the gradient of all rows to ``sum_W1`` and so on."""
    network = task.network
    full = add_cost(network.forward(task.x.shape[1], "f64", training=True), network, task.loss)
    share = (F.sum(full["loss"]) * (1.0 / rows)).named("C")  # so that the parts of all batches add up
    forward = Graph({"C": share})
    names = list(forward.inputs_of_kind("parameter"))
    found = backward(forward, "C", names, names=network.deltas)
    outputs, carry = {"C": share}, {}
    for name in names:
        so_far, new = f"sum_{name}", f"sum_{name}_new"
        outputs[new] = (state(so_far, found[name].array_type) + found[f"d{name}"]).named(new)
        carry[new] = so_far
    return simplify(Graph(outputs, carry), fold=True)


def _measured(
    task: Task, x: Array, t: Array, sizes: Sequence[int], repeats: int, told: Callable[[float], None]
) -> tuple[list[Way], str]:
    """The gradient and the times of each size, and what calculates the products.

    The sizes are measured in turn, so that a busy moment meets all of them.
    """
    step, rows = collecting(task, len(x)), {"x": x, "t": t}
    start = task.network.initial(x.shape[1], task.seed, "f64")
    zeros = {f"sum_{name}": np.zeros_like(array) for name, array in start.items()}
    loops: dict[tuple[int, str], Loop] = {}
    gradients: dict[int, Array] = {}
    for size in sizes:
        loops[size, "native"] = loop_of(step, rows, size)
        loops[size, "numpy"] = executor_named("reference").compile_loop(step, rows, size)
        for kind in ("native", "numpy"):
            loops[size, kind].load({**start, **zeros})
            _pass(loops[size, kind], len(x), size)
        found = loops[size, "native"].state()
        gradients[size] = np.concatenate([np.ravel(found[name]) for name in zeros])
    seconds: dict[tuple[int, str], list[float]] = {key: [] for key in loops}
    for k in range(repeats):
        told(k / repeats)
        for (size, kind), loop in loops.items():
            seconds[size, kind].append(_timed(loop, len(x), size))
    whole = gradients[len(x)]
    largest = float(np.abs(whole).max())
    library = loops[len(x), "native"].blas_name()
    return [
        Way(
            size,
            float(np.abs(gradients[size] - whole).max()) / largest,
            tuple(seconds[size, "native"]),
            tuple(seconds[size, "numpy"]),
        )
        for size in sizes
    ], library


def _pass(loop: Loop, rows: int, size: int) -> None:
    """One pass over the rows, as they come."""
    starts = np.append(np.arange(0, rows, size), rows).astype(np.int64)
    loop.run(np.arange(rows, dtype=np.int64), starts, np.zeros((len(starts) - 1, 0)))


def _timed(loop: Loop, rows: int, size: int) -> float:
    """Seconds of one pass over the rows."""
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < _LEAST or not done:
        _pass(loop, rows, size)
        done += 1
    return spent / done


def _trained(task: Task, x: Array, t: Array, size: int, rate: float, passes: int) -> Learned:
    """What a net learns with batches of this size; an infinite cost where it diverges."""
    network = task.network
    run = Descent(network, task.loss, x, t, batch=size, rate=rate, passes=passes, seed=task.seed)
    score = ReferenceFunction(predict_graph(network, task.loss, x.shape[1], "f64"))
    cost, seconds, weights = [], [], {}
    for weights in run.run():
        with np.errstate(all="ignore"):
            cost.append(float(np.mean(score({**weights, "x": x, "t": t})["loss"])))
        seconds.append(run.seconds)
    if len(cost) <= passes or not np.isfinite(cost[-1]):
        cost[-1] = math.inf
    assert task.test is not None
    tx, tt = task.test
    told_right = classes_of(score({**weights, "x": tx, "t": tt})[network.prediction]) == classes_of(tt)
    updates = -(-len(x) // size)
    return Learned(size, rate, updates, tuple(cost), tuple(seconds), float(np.mean(told_right)))


def _range(seconds: Sequence[float]) -> str:
    return f"{told_time(min(seconds))} to {told_time(max(seconds))}"
