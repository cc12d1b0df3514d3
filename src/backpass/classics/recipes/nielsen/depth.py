"""The vanishing gradient of chapter 5: how fast each hidden layer learns, in nets of two to four of them.

Nielsen measures the length of the mean of ∂C/∂b over all examples, layer by layer, before each epoch. He set
no seed, so a fan of seeds stands for his line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files

import msgspec
import numpy as np
from numpy.typing import NDArray

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.classics.recipes.mnist import Digits, digits
from backpass.classics.recipes.nielsen.process import Plan, Process, trained
from backpass.exec.base import Array
from backpass.pictures.curves import Line, Panel
from backpass.running.loop import Progress

#: The length of the mean gradient before each epoch, a column a hidden layer.
Lengths = NDArray[np.float64]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which nets, and how they learn.

    Attributes
    ----------
    depths : tuple of int
        Numbers of hidden layers, each of 30 units.
    seeds, epochs, rows : int
        Each epoch is one batch of all rows.
    rate, decay : float
        η and λ.
    """

    depths: tuple[int, ...]
    seeds: int
    epochs: int
    rows: int
    rate: float
    decay: float


def published(depth: int) -> Lengths:
    """His lengths of a net of `depth` hidden layers: shape (500, depth)."""
    folder = files("backpass.classics") / "data" / "nielsen-figures"
    return np.array(json.loads((folder / f"norms_during_training_{depth}_layers.json").read_text("utf-8")))


def vanishing(classic: Classic, told: Told) -> Measured:
    """Train nets of each depth with each seed; compare the fan with his line."""
    options = msgspec.convert(classic.options, type=Options)
    rows, runs = digits("train", options.rows), len(options.depths) * options.seeds
    figures: dict[str, Ours] = {}
    panels: list[Panel] = []
    notes: list[str] = []
    for i, depth in enumerate(options.depths):
        fan = []
        for seed in range(options.seeds):
            done, name = i * options.seeds + seed, f"{depth} hidden layers, seed {seed}"

            def part(share: float, words: str, done: int = done, name: str = name) -> None:
                told((done + share) / runs, f"{name}, {words}")

            fan.append(lengths(depth, seed, rows, options, part, name))
        his, ours_ = published(depth)[: options.epochs], np.array(fan)
        figures |= _figures(depth, ours_)
        panels += [_panel(depth, layer, ours_[:, :, layer], his[:, layer]) for layer in range(depth)]
        notes.append(_note(depth, ours_, his))
    return Measured(figures, tuple(panels), notes=tuple(notes))


def lengths(depth: int, seed: int, rows: Digits, options: Options, told: Told, name: str) -> Lengths:
    """One run: the length of the mean of ∂C/∂b of each hidden layer before each epoch.

    An epoch is one step of plain descent, and biases do not decay: it moves them by η times that gradient.
    """
    biases = [f"b{layer}" for layer in range(1, depth + 1)]
    net = Process(seed, options.rows).net((784, *(30 for _ in biases), 10))
    before: Mapping[str, Array] = net.initial(784, seed, "f64")
    found = []
    orders = np.tile(np.arange(options.rows), (options.epochs, 1))

    def measure(now: Progress) -> None:
        nonlocal before
        found.append([float(np.linalg.norm(now.values[b] - before[b])) / options.rate for b in biases])
        before = now.values

    plan = Plan(options.rate, options.decay, batch=options.rows)
    trained(net, rows, orders, plan, measure, told=told, name=name)
    return np.array(found)


def _figures(depth: int, fan: Lengths) -> dict[str, Ours]:
    """`fan` has the shape (seeds, epochs, layers)."""
    found = {}
    for layer in range(depth):
        name = f"{depth} hidden layers, layer {layer + 1}"
        found[f"{name}: first"] = ours(*fan[:, 0, layer])
        found[f"{name}: last"] = ours(*fan[:, -1, layer])
    slower = np.all(fan[:, :, :-1] < fan[:, :, 1:], axis=2)
    found[f"{depth} hidden layers: slower at the start"] = ours(*slower[:, 0])
    found[f"{depth} hidden layers: slower throughout"] = ours(*(100.0 * slower.mean(axis=1)))
    return found


def _panel(depth: int, layer: int, fan: Lengths, his: Lengths) -> Panel:
    epochs = range(len(his))
    lines = [Line("", epochs, run.tolist(), "seed") for run in fan]
    lines.append(Line("ours, median", epochs, np.median(fan, axis=0).tolist(), "ours"))
    lines.append(Line("Nielsen", epochs, his.tolist(), "published"))
    return Panel(f"{depth} hidden layers: layer {layer + 1}", "epoch", "length of ∂C/∂b", lines, log=True)


def _note(depth: int, fan: Lengths, his: Lengths) -> str:
    inside = np.mean((fan.min(axis=0) <= his) & (his <= fan.max(axis=0)))
    factor = np.median(fan[:, 0, 1:] / fan[:, 0, :-1])
    return (
        f"{depth} hidden layers: {100 * inside:.0f} % of his lengths are within ours of {len(fan)} seeds; "
        f"at the start a layer's gradient is {factor:.1f} times as long as the one before it (median)."
    )
