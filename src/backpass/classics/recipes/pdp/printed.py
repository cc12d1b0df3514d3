"""Nets whose weights were printed: built from the entry, evaluated, and one of them looked at from close by.

An entry lists the layers, each unit with its bias, and its weights by the name of what they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.classics.recipes.pdp.sweeps import Floats, Task, Trained, soft, sweep, unit_layer, words
from backpass.exec.reference import ReferenceFunction
from backpass.explain.answer import Cell, Equations, Table
from backpass.nn import Dense, Inputs, Network, join
from backpass.pictures.curves import Line, Panel
from backpass.training.optimisers import SGD
from backpass.training.step import step_graph


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A logistic unit: its bias, and a weight for each unit that it listens to."""

    name: str
    bias: float
    weights: dict[str, float]

    @property
    def equation(self) -> str:
        terms = [f"{self.bias:g}", *(f"{weight:+g} {source}" for source, weight in self.weights.items())]
        return f"{self.name} = σ({' '.join(terms)})".replace("-", "−")


class PrintedNet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A net as it was printed; `truth` is a function of `TRUTHS`."""

    inputs: list[str]
    layers: list[list[Unit]]
    truth: str

    def network(self) -> Network:
        """The net with these weights to start from."""
        x = Inputs()
        names, value = list(self.inputs), x
        for number, units in enumerate(self.layers):
            direct = number and any(set(unit.weights) & set(self.inputs) for unit in units)
            sources = [*self.inputs, *names] if direct else names
            matrix = [[unit.weights.get(source, 0.0) for unit in units] for source in sources]
            layer = Dense(
                len(units), "sigmoid", weights=np.array(matrix), bias=np.array([u.bias for u in units])
            )
            value = layer(join(x, value) if direct else value)
            names = [unit.name for unit in units]
        return Network(value)

    def task(self) -> Task:
        """All words of the inputs, with the outputs that are right."""
        rows = words(len(self.inputs))
        return Task(rows, soft(TRUTHS[self.truth](rows)))

    @property
    def equations(self) -> Equations:
        return Equations(tuple(unit.equation for layer in self.layers for unit in layer))


def _xor(rows: Floats) -> Any:
    return rows[:, :1] != rows[:, 1:]


def _symmetry(rows: Floats) -> Any:
    return (rows == rows[:, ::-1]).all(axis=1, keepdims=True)


def _negation(rows: Floats) -> Any:
    """The last bits, turned round where the first one is on."""
    return rows[:, 1:] != rows[:, :1]


TRUTHS = {"xor": _xor, "symmetry": _symmetry, "negation": _negation}


def outputs_of(network: Network, rows: Floats) -> Floats:
    """What a net gives with the weights that it starts from."""
    graph = network.forward(rows.shape[1], "f64")
    values = ReferenceFunction(graph)({**network.initial(rows.shape[1], 0, "f64"), "x": rows})
    return np.asarray(values[network.prediction])


def printed(classic: Classic, told: Told) -> Measured:
    """Evaluate a printed net on all words.

    Figures: ``right`` (outputs on the right side of ½), ``least yes`` and ``most no`` (the worst outputs),
    ``uneven mirror`` and ``ratio 2``, ``ratio 4`` (of the input weights of the first layer: by how much
    mirror weights are not equal and opposite, and the middle and the largest over the least); of a net with
    one output also ``miss`` (the largest distance from 0.1 and 0.9) and the output for a word, by the word.
    """
    told(0.0, "evaluating")
    net = msgspec.convert(classic.options, type=PrintedNet)
    task = net.task()
    y = outputs_of(net.network(), task.x)
    told(1.0, "done")
    return Measured(_figures(net, task, y), blocks=(net.equations, _table(net, task, y)))


def _figures(net: PrintedNet, task: Task, y: Floats) -> dict[str, Ours]:
    found = {
        "right": ours(int(((y > 0.5) == task.yes).sum())),
        "least yes": ours(y[task.yes].min()),
        "most no": ours(y[~task.yes].max()),
        "miss": ours(np.abs(y - task.t).max()),
    }
    if y.shape[1] == 1:
        found |= {word: ours(value) for word, value in zip(_names(task.x), y[:, 0], strict=True)}
    into = np.array([[unit.weights.get(name, 0.0) for name in net.inputs] for unit in net.layers[0]])
    found |= mirrored(into)
    return found


def mirrored(into: Floats) -> dict[str, Ours]:
    """How near the weights into each unit are to ±1, ±2, ±4 in mirror symmetry.

    Parameters
    ----------
    into : ndarray, shape (units, 6)

    Returns
    -------
    dict
        ``uneven mirror``: the largest \\|w + its mirror weight\\| over the largest weight; ``ratio 2`` and
        ``ratio 4``: the middle and the largest size over the least, their mean over the units. Empty for
        other numbers of inputs.

    Examples
    --------
    >>> {k: v.values[0] for k, v in mirrored(np.array([[1.0, -4, 2, -2, 4, -1]])).items()}
    {'uneven mirror': 0.0, 'ratio 2': 2.0, 'ratio 4': 4.0}
    """
    if into.shape[1] != 6:
        return {}
    sizes = np.sort(np.abs(into[:, :3] - into[:, :2:-1]) / 2, axis=1)
    uneven = np.abs(into + into[:, ::-1]).max() / np.abs(into).max()
    ratios = (sizes / sizes[:, :1]).mean(axis=0)
    return {"uneven mirror": ours(uneven), "ratio 2": ours(ratios[1]), "ratio 4": ours(ratios[2])}


def _names(rows: Floats) -> list[str]:
    return ["".join(str(int(bit)) for bit in row) for row in rows]


def _table(net: PrintedNet, task: Task, y: Floats) -> Table:
    outputs = [unit.name for unit in net.layers[-1]]
    rows: list[tuple[Cell, ...]] = [
        (name, *(round(float(v), 3) for v in out), " ".join(f"{v:g}" for v in target))
        for name, out, target in zip(_names(task.x), y, task.t, strict=True)
    ]
    return Table(
        f"outputs for all words ({', '.join(net.inputs)})",
        ("word", *outputs, "target"),
        tuple(rows),
        shown=64,
    )


class Minimum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A printed local minimum, and how it is tried.

    Attributes
    ----------
    net : PrintedNet
    rates : list of float
        With which it is to be left; the first is the one it was found with.
    momentum : float
    presentations : int
    starts : int
        So many random starts, each trained with the first rate; those that end in a minimum of this kind are
        trained again with the other rates.
    start : float
        They are uniform on ±start.
    """

    net: PrintedNet
    rates: list[float]
    momentum: float
    presentations: int
    starts: int
    start: float


def xor_minimum(classic: Classic, told: Told) -> Measured:
    """Evaluate the printed local minimum, and try to leave it.

    Figures beside those of `printed`: ``gradient`` and ``gradient at a start`` (lengths, of the summed loss),
    ``flat`` (1: the first is less than 2 % of the second),
    ``stays`` (1: from the printed weights, with the first rate, two outputs are still at ½ in the end),
    ``leaves`` (1: with another rate all is learned in the end), ``stuck`` and ``freed`` (of the random
    starts: how many end like this with the first rate; what % of these are solved with the second).
    """
    given = msgspec.convert(classic.options, type=Minimum)
    net, task = given.net.network(), given.net.task()
    y = outputs_of(net, task.x)
    figures = _figures(given.net, task, y)
    random = Network([unit_layer(2, given.start), unit_layer(1, given.start)])
    figures["gradient"] = ours(_gradient(net, task, 0))
    figures["gradient at a start"] = ours(*(_gradient(random, task, seed) for seed in range(given.starts)))
    typical = figures["gradient at a start"].mean
    figures["flat"] = ours(figures["gradient"].mean < 0.02 * typical)
    settings: dict[str, Any] = {"momentum": given.momentum, "presentations": given.presentations}
    from_there = {}
    for k, rate in enumerate(given.rates):
        told(0.1 * k / len(given.rates), f"from the printed weights, η {rate:g}")
        from_there[rate] = sweep(net, task, rate=rate, seed=0, name=f"printed, rate {rate:g}", **settings)
    figures["stays"] = ours(halved(from_there[given.rates[0]]))
    figures["leaves"] = ours(any(solved(from_there[rate]) for rate in given.rates[1:]))
    stuck, freed = [], dict.fromkeys(given.rates[1:], 0)
    for seed in range(given.starts):
        told(0.1 + 0.9 * seed / given.starts, f"start {seed + 1} of {given.starts}")
        name = f"start {seed}, rate"
        first = sweep(
            random, task, rate=given.rates[0], seed=seed, name=f"{name} {given.rates[0]:g}", **settings
        )
        if not halved(first):
            continue
        stuck.append(seed)
        for rate in freed:
            again = sweep(random, task, rate=rate, seed=seed, name=f"{name} {rate:g}", **settings)
            freed[rate] += solved(again)
    told(1.0, "done")
    figures["stuck"] = ours(len(stuck))
    figures["freed"] = ours(100.0 * freed[given.rates[1]] / max(1, len(stuck)))
    return Measured(
        figures,
        panels=(_costs(from_there),),
        blocks=(given.net.equations, _table(given.net, task, y), _leaving(from_there, freed, len(stuck))),
        notes=(
            "Two readings of “the system escapes from this minimum with a learning rate of 0.5 or more” were "
            "tried. Training that begins at the printed weights does not leave them with any of these rates: "
            "they lie in a true minimum of the summed error. Training that begins at random weights that "
            "lead here with the first rate is often solved with a larger one.",
        ),
    )


def halved(trained: Trained) -> bool:
    """It has ended in a minimum of the printed kind: two outputs at ½, the other two learned.

    A weight changes after each pattern, so the outputs go to and fro about ½: by up to 0.08 here.
    """
    missed = np.abs(trained.outputs - trained.task.t)[:, 0]
    return int((np.abs(trained.outputs[:, 0] - 0.5) < 0.08).sum()) == 2 and int((missed < 0.08).sum()) == 2


def solved(trained: Trained) -> bool:
    """All patterns are learned in the end."""
    return trained.right and late_loss(trained) < 0.04


def late_loss(trained: Trained) -> float:
    """The summed loss of the patterns, the mean of the last 50 presentations."""
    return float(trained.losses[-50:].sum(axis=1).mean())


def _gradient(network: Network, task: Task, seed: int) -> float:
    """The length of the gradient of the summed loss."""
    n, inputs = task.x.shape
    step = step_graph(network, "squared_error", SGD(0.25), inputs, "f64")
    feeds: Mapping[str, Any] = {
        **network.initial(inputs, seed, "f64"), "x": task.x, "t": task.t, "lr": np.float64(0.25),
    }  # fmt: skip
    values = ReferenceFunction(step)(feeds)
    parts = [np.sum(values[f"d{name}"] ** 2) for name in step.inputs_of_kind("parameter")]
    return float(n * np.sqrt(np.sum(parts)))


def _costs(found: Mapping[float, Trained]) -> Panel:
    """The summed loss of the four patterns, the mean of each 20 presentations."""
    lines = []
    parts = ("ours", "validation", "test")
    for part, (rate, trained) in zip(parts, found.items(), strict=False):
        sums = trained.losses.sum(axis=1)
        whole = len(sums) // 20 * 20
        means = sums[:whole].reshape(-1, 20).mean(axis=1)
        lines.append(Line(f"η {rate:g}", range(20, whole + 1, 20), means.tolist(), part))
    return Panel(
        "from the printed weights", "presentations of each pattern", "loss of the four", lines, log=False
    )


def _leaving(found: Mapping[float, Trained], freed: Mapping[float, int], stuck: int) -> Table:
    rows = [
        (
            f"{rate:g}",
            "leaves" if solved(trained) else "stays",
            round(late_loss(trained), 3),
            f"{freed[rate]} of {stuck}" if rate in freed else f"0 of {stuck}, by choice",
        )
        for rate, trained in found.items()
    ]
    head = ("η", "from the printed weights", "loss in the end", "solved, of the random starts that led here")
    return Table("leaving the minimum", head, tuple(rows))
