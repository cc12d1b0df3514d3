"""Laws that can be checked to the digit: what a gradient costs, and which rates diverge."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.data import fit_preparation, load
from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.explain.answer import Table
from backpass.ir import Graph, Node
from backpass.nn import Dense, Network, add_cost
from backpass.ops import MatMul
from backpass.ops import functions as F
from backpass.passes import backward, grad, simplify, trace, work
from backpass.pictures.curves import Line, Panel
from backpass.rivals.problem import Problem
from backpass.rivals.task import Task

_REPEATS = 25  # of a time that is measured
_BISECTIONS = 18
_FLOWN = 1e9  # times as far as at the start: no doubt any more, and still a number
_DRAWN = 200  # points of a curve
_CHANGE = 6e-6  # of a weight: the cube root of the machine's precision, for central differences


# ---- T1: what a gradient costs


def cheap_gradient(classic: Classic, told: Told) -> Measured:
    """Multiply-adds of the programs of dense nets, counted in their products; and times beside differences.

    Parameters
    ----------
    classic : Classic
        `options`: ``nets``, the sizes of the layers of each net by name; ``timed``, the name of the one whose
        gradient is also calculated by central differences.
    told : Told
    """
    figures: dict[str, Ours] = {}
    rows = []
    for name, sizes in classic.options["nets"].items():
        forward, both = products(sizes)
        once, first = sum(a * b for a, b in itertools.pairwise(sizes)), sizes[0] * sizes[1]
        figures |= {
            f"{name}.forward": ours(forward == once),
            f"{name}.backward": ours(both - forward == 2 * once - first),
            f"{name}.ratio": ours(both / forward),
        }
        rows.append(("-".join(map(str, sizes)), forward, both - forward, f"{both / forward:.6g}"))
    head = ("net", "forward", "backward", "(forward + backward) / forward")
    counted = Table(
        "multiply-adds of one example, counted in the products of the programs", head, tuple(rows)
    )
    timed = _timed(classic.options["nets"][classic.options["timed"]], told)
    return Measured({**figures, **timed.figures}, blocks=(counted, *timed.blocks), notes=timed.notes)


def products(sizes: Sequence[int]) -> tuple[int, int]:
    """Multiply-adds of an example in the matrix products forward, and forward and backward.

    Examples
    --------
    >>> products([784, 30, 10])
    (23820, 47940)
    """
    network = _dense(sizes)
    full = add_cost(network.forward(sizes[0], "f64", training=True), network, "cross_entropy")
    parameters = list(full.inputs_of_kind("parameter"))
    graph = backward(full, "C", parameters, names=network.deltas)
    gradient = simplify(graph.part(["C", *(f"d{name}" for name in parameters)]), fold=True)
    return _multiply_adds(simplify(full.part(["C"]), fold=True)), _multiply_adds(gradient)


def _multiply_adds(graph: Graph) -> int:
    counted = work(graph, {"B": 1}).by_node
    return sum(flops for node, flops in counted.items() if isinstance(node.op, MatMul)) // 2


def _dense(sizes: Sequence[int]) -> Network:
    return Network([*(Dense(n, "sigmoid") for n in sizes[1:-1]), Dense(sizes[-1], "softmax")])


def _timed(sizes: Sequence[int], told: Told) -> Measured:
    """The gradient by backpropagation and by central differences, both in full, of one batch of ten."""
    rng = np.random.Generator(np.random.Philox(1))
    x, t = rng.random((10, sizes[0])), np.eye(sizes[-1])[rng.integers(0, sizes[-1], 10)]
    network = _dense(sizes)
    problem = Problem(Task("gradient", "", network, "cross_entropy", x, t, 10, 0.0))
    weights, rows = problem.start.copy(), problem.all_rows
    exact = problem.gradient(weights, rows)[1]
    problem.cost(weights, rows)  # both are compiled by now
    one = _median(lambda: problem.cost(weights, rows))
    whole = _median(lambda: problem.gradient(weights, rows))
    found, began = np.empty(problem.N), time.perf_counter()
    for i, weight in enumerate(weights.flat.copy()):
        if i % 500 == 0:
            told(i / problem.N, f"central differences, weight {i:,} of {problem.N:,}")
        weights.flat[i] = weight + _CHANGE
        above = problem.cost(weights, rows)
        weights.flat[i] = weight - _CHANGE
        below = problem.cost(weights, rows)
        weights.flat[i] = weight
        found[i] = (above - below) / (2 * _CHANGE)
    seconds = time.perf_counter() - began
    apart = float(np.abs(found - exact).max() / np.abs(exact).max())
    head = ("", "passes", "seconds", "times the forward pass")
    table = Table(
        f"times, {'-'.join(map(str, sizes))}, a batch of 10",
        head,
        (
            ("one forward pass", "1", f"{one:.3g}", "1"),
            ("backpropagation, all derivatives", f"{problem.price('backprop'):.4f}", f"{whole:.3g}",
             f"{whole / one:.3g}"),
            ("central differences, all derivatives", f"{2 * problem.N:,}", f"{seconds:.3g}",
             f"{seconds / one:,.0f}"),
        ),
    )  # fmt: skip
    return Measured(
        {
            "passes of central differences": ours(2 * problem.N),
            "agree": ours(apart < 1e-7),
            "time ratio": ours(whole / one),
            "times quicker": ours(seconds / whole),
        },
        blocks=(table,),
        notes=(
            f"The gradient by backpropagation took {whole * 1e6:,.0f} µs (median of {_REPEATS}), "
            f"by central differences {seconds:.3g} s, all {2 * problem.N:,} forward passes of it run: "
            f"{seconds / whole:,.0f} times as long. The two differ by {apart:.1g} of the largest derivative.",
        ),
    )


def _median(run: Callable[[], object]) -> float:
    found = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


# ---- T4: which rates diverge


def divergence(classic: Classic, told: Told) -> Measured:
    """Gradient descent on the quadratic cost of a linear net, with rates around 2 / λ_max.

    Parameters
    ----------
    classic : Classic
        `options`: ``data``, a bundled table with a quantity to predict; ``parts``, the rates in parts of
        2 / λ_max; ``steps``.
    told : Told
    """
    x, t = standardised(classic.options["data"])
    gradient = linear_gradient(x, t)
    width = x.shape[1]
    H = hessian(x, t)
    values = np.linalg.eigvalsh(H)
    limit = 2 / values[-1]
    best = np.linalg.lstsq(x, t, rcond=None)[0]
    start = best + np.random.Generator(np.random.Philox(0)).standard_normal((width, 1))
    parts, steps = classic.options["parts"], classic.options["steps"]
    lines, rows, right = [], [], []
    for k, part in enumerate(parts):
        told(k / len(parts), f"rate {part:g} of 2 / λ_max")
        apart = descended(gradient, start, best, part * limit, steps)
        diverges = apart[-1] > apart[-2]  # by now only the slowest direction is left
        right.append(diverges == (part > 1))
        growth = apart[-1] / apart[-2]
        theory = float(np.abs(1 - part * limit * values).max())
        found = "diverges" if diverges else "converges"
        rows.append(
            (f"{part:g}", f"{part * limit:.6g}", f"{apart[-1] / apart[0]:.3g}", f"{growth:.6f}",
             f"{theory:.6f}", found)
        )  # fmt: skip
        drawn = range(0, len(apart), max(1, steps // _DRAWN))
        lines.append(Line("", drawn, [apart[i] for i in drawn], "seed"))
    measured_limit = _limit(gradient, start, best, limit, steps)
    exact = x.T @ x / len(x)
    apart_h = float(np.abs(H - exact).max() / np.abs(exact).max())
    for k, style in ((0, "ours"), (-1, "other")):
        lines[k] = Line(f"{parts[k]:g} · 2/λ_max", lines[k].x, lines[k].y, style)
    head = ("rate · λ_max / 2", "rate", "distance at the end / at the start", "last growth",
            "largest |1 - η λ|", "")  # fmt: skip
    return Measured(
        {
            "diverges iff": ours(all(right)),
            "limit": ours(measured_limit / limit),
            "hessian": ours(apart_h < 1e-12),
        },
        panels=(Panel("distance from the minimum", "step", "|w - w*|", lines, log=True),),
        blocks=(Table(f"λ_max = {values[-1]:.6g}, 2 / λ_max = {limit:.6g}", head, tuple(rows)),),
        notes=(
            f"By bisection the rate from which the distance grows is {measured_limit:.9g}; "
            f"2 / λ_max is {limit:.9g}.",
        ),
    )


def standardised(name: str) -> tuple[Array, Array]:
    """Rows of a bundled set, each column with mean 0 and variance 1; and the target, shape (n, 1)."""
    found = load(name)
    prepared = fit_preparation(found)
    x = prepared.inputs(found.X if found.table is None else found.table).astype(np.float64)
    t = prepared.targets(found).astype(np.float64).reshape(len(x), -1)
    return (x - x.mean(axis=0)) / x.std(axis=0), (t - t.mean(axis=0)) / t.std(axis=0)


def _cost(w: Node, x: Node, t: Node) -> Node:
    return 0.5 * F.mean(F.square(x @ w - t))


def linear_gradient(x: Array, t: Array) -> Callable[[Array], Array]:
    """The gradient of half the mean squared error of the linear net ``x @ w``, as a function of w."""
    graph = trace(grad(_cost), *_types(x, t), names=("w", "x", "t"))
    run = ReferenceFunction(graph)
    return lambda w: run({"w": w, "x": x, "t": t})["y"]


def hessian(x: Array, t: Array) -> Array:
    """Its second derivatives: the gradient, differentiated once more along each axis, so `grad` twice."""

    def along(w: Node, x: Node, t: Node, v: Node) -> Node:
        return F.sum(grad(_cost)(w, x, t) * v)

    w, axes = np.zeros((x.shape[1], 1)), np.eye(x.shape[1])
    return np.hstack([grad(along)(w, x, t, axis[:, None]) for axis in axes])


def _types(x: Array, t: Array) -> tuple[str, str, str]:
    return f"f64[{x.shape[1]},1]", f"f64[{len(x)},{x.shape[1]}]", f"f64[{len(t)},1]"


def descended(
    gradient: Callable[[Array], Array], start: Array, best: Array, rate: float, steps: int
) -> list[float]:
    """How far the weights are from the best ones, at the start and after each step; a flight is cut short."""
    w, apart = start, [float(np.linalg.norm(start - best))]
    for _ in range(steps):
        w = w - rate * gradient(w)
        apart.append(float(np.linalg.norm(w - best)))
        if apart[-1] > _FLOWN * apart[0]:
            break
    return apart


def _limit(gradient: Callable[[Array], Array], start: Array, best: Array, near: float, steps: int) -> float:
    """The rate from which the distance grows in the end, by bisection, whatever λ_max is."""
    low, high = 0.5 * near, 2.0 * near
    for _ in range(_BISECTIONS):
        rate = (low + high) / 2
        apart = descended(gradient, start, best, rate, steps)
        low, high = (low, rate) if apart[-1] > apart[-2] else (rate, high)
    return (low + high) / 2
