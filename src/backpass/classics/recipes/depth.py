"""Gradients through many layers: what the start decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told
from backpass.classics.recipes.mnist import digits
from backpass.data import load
from backpass.errors import DataError
from backpass.exec.base import Array
from backpass.exec.choose import compile_loop
from backpass.exec.reference import ReferenceFunction
from backpass.exec.threads import blas_threads
from backpass.explain.answer import Table
from backpass.nn import Dense, Network, add_cost
from backpass.nn.initialisers import Glorot, He, Initialiser, LeCun, Uniform
from backpass.passes import backward
from backpass.pictures.curves import Line, Panel
from backpass.training.batches import Batches
from backpass.training.optimisers import SGD
from backpass.training.step import step_graph

Weights = Mapping[str, Array]
#: Entries of a layer of which a histogram is drawn, and its bars.
_BARS = 61
_CHANCE = math.log(10)  # the cost of guessing among ten classes


def standard(n: int) -> Uniform:
    """What was usual before: U(-1/√n, 1/√n), n the inputs of a unit, so that n Var W = 1/3."""
    return Uniform(-1 / math.sqrt(n), 1 / math.sqrt(n))


def images(rows: int, part: str = "train") -> tuple[Array, Array, str]:
    """Handwritten digits with targets of ten, and their name: MNIST's, or the small ones without it."""
    x: Array
    try:
        x, classes = digits(part, rows)
        name = "MNIST"
    except DataError:
        small = load("digits")
        x, classes = np.asarray(small.X)[:rows] * small.scale, np.asarray(small.y)[:rows]
        name = "the bundled digits (MNIST is not there)"
    return x.astype(np.float32), np.eye(10, dtype=np.float32)[classes.astype(int)], name


def deep(
    inputs: int, hidden: int, units: int, activation: str, start: Callable[[int, int], Initialiser]
) -> Network:
    """A net of equal hidden layers and ten outputs; `start` has the inputs and the units of a layer."""
    sizes = [inputs, *(hidden * [units]), 10]
    layers = [Dense(n, activation, init=start(sizes[k], n)) for k, n in enumerate(sizes[1:-1])]
    return Network([*layers, Dense(10, "softmax", init=start(units, 10))])


def values_of(network: Network, weights: Weights, x: Array, t: Array) -> dict[str, Array]:
    """Every named value of a forward and a backward pass; the adjoints are those of the sum over the rows."""
    full = add_cost(network.forward(x.shape[1], "f32", training=True), network, "cross_entropy")
    parameters = list(full.inputs_of_kind("parameter"))
    graph = backward(full, "C", parameters, names=network.deltas)
    run = ReferenceFunction(graph)
    found = run.values({**weights, "x": x, "t": t})
    named = {str(node.name): np.asarray(found[node]) for node in graph.nodes if node.name}
    return {name: v * len(x) if name[0] in "δd" else v for name, v in named.items()}


def training(
    network: Network, x: Array, t: Array, *, rule: SGD, batch: int, steps: int, every: int, seed: int
) -> Iterator[tuple[int, dict[str, Array], float]]:
    """The weights and the mean cost of the last steps, at the start (NaN) and after every so many steps."""
    step = step_graph(network, "cross_entropy", rule, x.shape[1], "f32")
    loop, _ = compile_loop(step, {"x": x, "t": t}, batch, steps)
    first = network.initial(x.shape[1], seed, "f32")
    slots = {name: np.zeros_like(first[name.split("_", 1)[1]]) for name in step.inputs_of_kind("state")}
    loop.load({**first, **slots})
    batches = Batches(len(x), batch, -(-steps * batch // len(x)) + 1, seed)
    numbers = [float(getattr(rule, name)) for name in step.inputs_of_kind("number")]
    yield 0, loop.state(), math.nan
    for done in range(0, steps, every):
        order, starts = batches.span(done, done + every)
        found = loop.run(order, starts, np.tile(numbers, (every, 1)))
        yield done + every, loop.state(), float(np.mean(found.watched))


# ---- G1: Glorot & Bengio, Figs. 6 to 9


def variances(classic: Classic, told: Told) -> Measured:
    """Activations, δ and weight gradients by layer, at the usual start and at the normalised one.

    Parameters
    ----------
    classic : Classic
        `options`: ``hidden``, ``units``, ``rows``, ``cases`` (rows whose Jacobians are taken), ``seeds``.
    told : Told
    """
    options = classic.options
    hidden, units, seeds = options["hidden"], options["units"], options["seeds"]
    x, t, data = images(options["rows"])
    starts: dict[str, Callable[[int, int], Initialiser]] = {
        "standard": lambda n, m: standard(n),
        "normalised": lambda n, m: Glorot("uniform"),
    }
    figures: dict[str, list[float]] = {}
    panels: list[Panel] = []
    kept: dict[str, dict[str, list[list[float]]]] = {}
    for place, (name, start) in enumerate(starts.items()):
        network = deep(x.shape[1], hidden, units, "tanh", start)
        found: dict[str, list[list[float]]] = {"a": [], "δ": [], "dW": []}
        for seed in range(seeds):
            told((place * seeds + seed) / (2 * seeds), f"{name} start, seed {seed}")
            weights = network.initial(x.shape[1], seed, "f32")
            values = values_of(network, weights, x, t)
            for what in found:
                layers = range(1 + (what == "dW"), hidden + 1)
                found[what].append([float(np.var(values[f"{what}{k}"])) for k in layers])
            if seed == 0:
                panels.append(_histograms(name, values, hidden))
            steps = [b / a for a, b in zip(found["δ"][-1][1:], found["δ"][-1][:-1], strict=True)]
            singular = [
                s for case in range(options["cases"]) for s in _singular(weights, values, case, hidden)
            ]
            _add(figures, f"{name}.a layer", float(np.exp(np.mean(np.log(steps)))))
            _add(figures, f"{name}.singular value", float(np.mean(singular)))
            _add(figures, f"{name}.δ spread", max(found["δ"][-1]) / min(found["δ"][-1]))
            _add(figures, f"{name}.dW spread", max(found["dW"][-1]) / min(found["dW"][-1]))
        kept[name] = found
    told(1.0, "done")
    whats = (("δ", "variance of δ", 1), ("dW", "variance of the weight gradient", 2))
    panels = [
        *(
            Panel(words, "layer", "variance",
                  [_mean_line(name, kept[name][what], first, part)
                   for name, part in (("standard", "ours"), ("normalised", "other"))], log=True)
            for what, words, first in whats
        ),
        *panels,
    ]  # fmt: skip
    head = ("layer", *(f"{name}: {what}" for name in starts for what in ("var a", "var δ")))
    rows: list[tuple[str | float | int, ...]] = []
    for k in range(hidden):
        means = (float(np.mean([s[k] for s in kept[n][w]])) for n in starts for w in ("a", "δ"))
        rows.append((k + 1, *(f"{mean:.3g}" for mean in means)))
    return Measured(
        {key: Ours(tuple(values)) for key, values in figures.items()},
        panels=tuple(panels),
        blocks=(Table(f"means over {seeds} seeds, {len(x)} rows of {data}", head, tuple(rows)),),
        notes=(f"The rows are {data}; the paper's are Shapeset-3x2, and it says that MNIST is alike.",),
    )


def _add(figures: dict[str, list[float]], key: str, value: float) -> None:
    figures.setdefault(key, []).append(value)


def _singular(weights: Weights, values: Mapping[str, Array], case: int, hidden: int) -> list[float]:
    """The mean singular value of each Jacobian dz(l+1)/dz(l) = diag(f'(z(l))) W(l+1) of one row."""
    found = []
    for k in range(1, hidden):
        slope = 1 - values[f"a{k}"][case] ** 2
        jacobian = slope[:, None] * weights[f"W{k + 1}"]
        with blas_threads(1):  # waiting for a core that others use takes longer than this on one
            found.append(float(np.linalg.svd(jacobian, compute_uv=False).mean()))
    return found


def _mean_line(name: str, each: list[list[float]], first: int, part: str) -> Line:
    mean = np.mean(each, axis=0)
    return Line(name, range(first, first + len(mean)), [float(v) for v in mean], part)


def _histograms(name: str, values: Mapping[str, Array], hidden: int) -> Panel:
    """How often δ has which size, in the first, the middle and the last hidden layer (Fig. 7)."""
    widest = 3 * max(float(np.std(values[f"δ{k}"])) for k in range(1, hidden + 1))
    edges = np.linspace(-widest, widest, _BARS)
    middle = [float(m) for m in (edges[1:] + edges[:-1]) / 2]
    lines = []
    for k, part in ((1, "train"), ((hidden + 1) // 2, "validation"), (hidden, "test")):
        counts, _ = np.histogram(values[f"δ{k}"], edges)
        share = counts / values[f"δ{k}"].size
        lines.append(Line(f"layer {k}", middle, [float(s) for s in share], part))
    return Panel(f"δ by layer, {name} start", "δ", "share of the units and rows", lines, log=False)


# ---- G2: Glorot & Bengio, Fig. 2


def saturation(classic: Classic, told: Told) -> Measured:
    """The activations of a deep logistic net on 300 test rows while it is trained.

    Parameters
    ----------
    classic : Classic
        `options`: ``hidden``, ``units``, ``rows``, ``cases``, ``rate``, ``batch``, ``steps``, ``every``.
    told : Told
    """
    o = classic.options
    x, t, data = images(o["rows"])
    cases, _, _ = images(o["cases"], "test")
    hidden = o["hidden"]
    network = deep(x.shape[1], hidden, o["units"], "sigmoid", lambda n, m: standard(n))
    full = network.forward(x.shape[1], "f32")
    run = ReferenceFunction(full)
    names = [f"a{k}" for k in range(1, hidden + 1)]
    at: list[int] = []
    mean: dict[str, list[float]] = {name: [] for name in names}
    sd: dict[str, list[float]] = {name: [] for name in names}
    costs: list[float] = []
    rule = SGD(o["rate"])
    for step, weights, cost in training(
        network, x, t, rule=rule, batch=o["batch"], steps=o["steps"], every=o["every"], seed=0
    ):
        told(step / o["steps"], f"step {step:,} of {o['steps']:,}")
        values = run.values({**weights, "x": cases})
        at.append(step)
        costs.append(cost)
        for name in names:
            a = np.asarray(values[full[name]])
            mean[name].append(float(a.mean()))
            sd[name].append(float(a.std()))
    top = names[-1]
    low = int(np.argmin(mean[top]))
    lower = min(min(mean[name]) for name in names[:-1])
    styles = ("seed", "train", "validation", "test")
    shown = list(zip(names[-4:], styles[-min(4, hidden) :], strict=True))
    panels = (
        Panel("mean activation", "update", "mean over rows and units",
              [Line(f"layer {n[1:]}", at, mean[n], s) for n, s in shown], log=False),
        Panel("standard deviation of the activations", "update", "sd over rows and units",
              [Line(f"layer {n[1:]}", at, sd[n], s) for n, s in shown], log=False),
        Panel("cost", "update", "cost, mean of the steps before",
              [Line("ours", at[1:], costs[1:], "ours")], log=False),
    )  # fmt: skip
    return Measured(
        {
            "top falls": Ours((float(mean[top][low] < 0.1),)),
            "top": Ours((mean[top][low],)),
            "others stay": Ours((float(lower > 0.35),)),
            "at once": Ours(
                (float(next((s for s, m in zip(at, mean[top], strict=True) if m < 0.1), math.inf)),)
            ),
            "leaves": Ours((float(max(mean[top][low:]) - mean[top][low]),)),
        },
        panels=panels,
        notes=(
            f"On {data}, {o['rows']:,} rows, {o['steps']:,} updates. The mean activation of layer {hidden} "
            f"falls from {mean[top][0]:.2f} to {mean[top][low]:.3f} at update {at[low]:,} and is "
            f"{mean[top][-1]:.3f} at the end; the mean cost went from {costs[1]:.3f} to {costs[-1]:.3f}.",
        ),
    )


# ---- G3: He et al., Figs. 2 and 3


def thirty_layers(classic: Classic, told: Told) -> Measured:
    """A deep dense ReLU net from He's start, N(0, 2/n), and from Xavier's as He has it, N(0, 1/n).

    Parameters
    ----------
    classic : Classic
        `options`: ``layers``, ``units``, ``rows``, ``rate``, ``momentum``, ``decay``, ``batch``, ``steps``,
        ``every``, ``seeds``.
    told : Told
    """
    o = classic.options
    x, t, data = images(o["rows"])
    test, wanted, _ = images(2000, "test")
    hidden, seeds = o["layers"] - 1, o["seeds"]
    rule = SGD(o["rate"], momentum=o["momentum"], decay=o["decay"])
    starts: dict[str, Initialiser] = {"He": He("normal"), "Xavier": LeCun("normal")}
    figures: dict[str, list[float]] = {}
    norms: dict[str, dict[str, list[list[float]]]] = {}
    curves: dict[str, list[tuple[list[int], list[float]]]] = {}
    for place, (name, start) in enumerate(starts.items()):
        network = deep(x.shape[1], hidden, o["units"], "relu", _always(start))
        predict = ReferenceFunction(network.forward(x.shape[1], "f32"))
        norms[name], curves[name] = {"z": [], "δ": []}, []
        for seed in range(seeds):
            values = values_of(network, network.initial(x.shape[1], seed, "f32"), x[:300], t[:300])
            for what in ("z", "δ"):
                powers = [
                    float(np.mean(values[f"{what}{k}"].astype(np.float64) ** 2)) for k in range(1, hidden + 1)
                ]
                norms[name][what].append(powers)
                slope = np.polyfit(np.arange(hidden), np.log2(powers), 1)[0]
                _add(figures, f"{name}.{what} a layer", float(slope if what == "z" else -slope))
            at: list[int] = []
            costs: list[float] = []
            weights: dict[str, Array] = {}
            for step, weights, cost in training(  # noqa: B007
                network, x, t, rule=rule, batch=o["batch"], steps=o["steps"], every=o["every"], seed=seed
            ):
                share = (place * seeds + seed + step / o["steps"]) / (2 * seeds)
                told(share, f"{name}'s start, seed {seed}, step {step:,} of {o['steps']:,}")
                at.append(step)
                costs.append(cost)
            curves[name].append((at[1:], costs[1:]))
            _add(figures, f"{name}.cost", costs[-1])
            _add(figures, f"{name}.stalls", float(costs[-1] > _CHANCE - 0.02))
            _add(figures, f"{name}.learns", float(costs[-1] < _CHANCE / 2))
            a = predict({**weights, "x": test})[network.prediction]
            right = float(np.mean(np.argmax(a, axis=1) == np.argmax(wanted, axis=1)))
            _add(figures, f"{name}.accuracy", 100 * right)
    told(1.0, "done")
    styles = {"He": "ours", "Xavier": "other"}
    panels = [
        Panel(words, "layer", "mean square (log)",
              [_mean_line(name, norms[name][what], 1, styles[name]) for name in starts], log=True)
        for what, words in (("z", "forward: pre-activations"), ("δ", "backward: δ"))
    ]  # fmt: skip
    lines = [Line("", at, costs, "seed") for name in starts for at, costs in curves[name][1:]]
    lines += [Line(f"{name}'s start", *curves[name][0], styles[name]) for name in starts]
    panels.append(Panel("training", "step", f"mean cost of {o['every']} steps", lines, log=False))
    return Measured(
        {key: Ours(tuple(values)) for key, values in figures.items()},
        panels=tuple(panels),
        notes=(
            f"On {data}, {o['rows']:,} rows. With N(0, 1/n) each layer halves the mean square, forward and "
            f"backward: over {hidden} layers by {_fold(norms['Xavier']['δ'])}, with N(0, 2/n) by "
            f"{_fold(norms['He']['δ'])}.",
        ),
    )


def _always(start: Initialiser) -> Callable[[int, int], Initialiser]:
    return lambda n, m: start


def _fold(each: list[list[float]]) -> str:
    """From the last hidden layer's mean square of δ to the first's."""
    mean = np.mean(each, axis=0)
    return f"a factor of {mean[-1] / mean[0]:.2g}"
