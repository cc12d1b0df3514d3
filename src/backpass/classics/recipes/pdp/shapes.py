"""T or C: a field of 3 by 3 whose weights all places share, the first convolution that was trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backpass import ops
from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.recipes.pdp.sweeps import (
    Floats,
    Task,
    Trained,
    median_told,
    of_solved,
    soft,
    unit_layer,
)
from backpass.classics.recipes.pdp.trainings import Training
from backpass.explain.answer import Cell, Figure, Table
from backpass.ir import Node
from backpass.nn import Network
from backpass.nn.initialisers import Uniform
from backpass.nn.wires import Layer, Place
from backpass.pictures.images import row_images, weight_images

FIELD, GRID = 3, 7
PLACES = (GRID - FIELD + 1) ** 2
#: Each of 5 squares; a C is two squares wide, so that fewer fields touch it.
T = np.array([[1, 1, 1], [0, 1, 0], [0, 1, 0]], dtype=np.float64)
C = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0]], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SharedField(Layer):
    """A logistic unit for each place of a field, all with the same weights; their activations added up.

    The inputs are the fields one after another, [B, places · size], see `fields`.
    """

    places: int
    size: int
    start: float

    kind: ClassVar[str] = "shared field"
    weighted: ClassVar[bool] = True
    values: ClassVar[tuple[str, ...]] = ("z", "a", "sum")

    def width(self, *before: int | None) -> int | None:
        return 1

    def build(self, place: Place, *xs: Node) -> Node:
        (x,) = xs
        batch, rule = x.shape[0], Uniform(-self.start, self.start)
        kernel = place.weight("W", (self.size,), lambda rng: rule.draw(rng, (self.size,)))
        bias = place.weight("b", (1,), lambda rng: rule.draw(rng, (1,)))
        apart = ops.Reshape((batch, self.places, self.size))(x)
        spread = ops.Broadcast(apart.shape, (2,))(kernel)
        z = (ops.Sum((2,))(apart * spread) + ops.Sum()(bias)).named(place.name("z"))
        a = ops.Sigmoid()(z, name=place.name("a"))
        return ops.Reshape((batch, 1))(ops.Sum((1,))(a), name=place.name("sum"))


def grids() -> Floats:
    """The eight patterns in the middle of the grid, first the T's, shape (8, 7, 7)."""
    found = np.zeros((8, GRID, GRID))
    for k, shape in enumerate([np.rot90(s, turn) for s in (T, C) for turn in range(4)]):
        found[k, 2:5, 2:5] = shape
    return found


def fields(grid: Floats) -> Floats:
    """What each place of the field sees, one after another.

    Parameters
    ----------
    grid : ndarray, shape (n, 7, 7)

    Returns
    -------
    ndarray, shape (n, 25 · 9)

    Examples
    --------
    >>> seen = fields(grids()).reshape(8, 25, 9).any(axis=2).sum(axis=1)
    >>> seen.tolist()  # so many fields touch a T, and a C
    [21, 21, 21, 21, 20, 20, 20, 20]
    """
    seen = np.lib.stride_tricks.sliding_window_view(grid, (FIELD, FIELD), axis=(1, 2))
    return np.ascontiguousarray(seen).reshape(len(grid), -1)


def network(start: float) -> Network:
    return Network([SharedField(PLACES, FIELD * FIELD, start), unit_layer(1, start)])


def kind_of(kernel: Floats) -> str:
    """What a kernel of nine weights looks for, roughly: by the places and signs of its weights.

    Examples
    --------
    >>> kind_of(np.full(9, -5.0)), kind_of(np.array([-1, -1, -1, -1, 5, -1, -1, -1, -1.0]))
    ('compactness, inhibitory', 'centre against surround')
    """
    grid, large = kernel.reshape(3, 3), 0.25 * np.abs(kernel).max()
    signs = np.where(np.abs(grid) < large, 0, np.sign(grid))
    if (kernel < 0).all() or (kernel > 0).all():
        return "compactness, inhibitory" if kernel[0] < 0 else "compactness, excitatory"
    around = np.delete(signs.reshape(-1), 4)
    if signs[1, 1] and (around * signs[1, 1] <= 0).all():
        return "centre against surround"
    for turned in (signs, signs.T):
        for k in range(3):
            others = np.delete(turned, k, axis=0)
            if abs(turned[k].sum()) == 3 and (others * turned[k, 0] <= 0).all():
                return "bar"
    return "other"


def t_or_c(classic: Classic, told: Told) -> Measured:
    """Learn to tell T from C, with a kernel that all places share.

    Figures: ``solved`` (%), ``presentations`` (from the first range of starts), ``most compact`` (1: of these
    the inhibitory compactness detector is the most common kernel), ``kinds`` (1: there are others),
    ``touches T`` and ``touches C`` (hidden units that the patterns turn off in the first such net).
    """
    training = Training.of(classic)
    task = Task(fields(grids()), soft(np.arange(8)[:, None] < 4))
    by_start: dict[float, list[Trained]] = {}
    for k, start in enumerate(training.starts):
        count = len(training.starts)

        def part(share: float, words: str, k: int = k, count: int = count) -> None:
            told((k + share) / count, words)

        by_start[start] = training.runs(network, task, f"start {start:g}", part, start=start)
    told(1.0, "done")
    counts = {start: training.counts(runs) for start, runs in by_start.items()}
    good = {
        start: [r for r, count in zip(runs, counts[start], strict=True) if count]
        for start, runs in by_start.items()
    }
    kinds = {start: Counter(kind_of(r.run.weights["W1"]) for r in runs) for start, runs in good.items()}
    first = training.starts[0]
    compact = [r for r in good[first] if kind_of(r.run.weights["W1"]).startswith("compactness")]
    touched = _turned_off(compact[0]) if compact else np.zeros(8)
    total = sum(len(runs) for runs in by_start.values())
    figures = {
        "solved": ours(100.0 * sum(len(runs) for runs in good.values()) / total),
        "presentations": of_solved(counts[first]),
        "most compact": ours(kinds[first].most_common(1)[0][0] == "compactness, inhibitory"),
        "kinds": ours(len({name for found in kinds.values() for name in found}) > 1),
        "touches T": ours(*touched[:4]),
        "touches C": ours(*touched[4:]),
    }
    names = sorted({name for found in kinds.values() for name in found})
    rows: list[tuple[Cell, ...]] = [
        (f"±{start:g}", median_told(counts[start]), *(kinds[start][name] for name in names))
        for start in by_start
    ]
    head = ("start", "presentations, median (range; learned)", *names)
    return Measured(
        figures,
        blocks=(
            Figure("the patterns", row_images("T and C", grids(), [""] * 8), "T and C, each in four turns"),
            _kernels(good),
            Table("kinds of kernels of the nets that learned", head, tuple(rows)),
        ),
    )


def _turned_off(run: Trained) -> Floats:
    """How many hidden units each pattern turns off that an empty grid leaves on."""
    return np.asarray((run.activations("a1") < 0.5).sum(axis=1), dtype=np.float64)


def _kernels(good: dict[float, list[Trained]]) -> Figure:
    """The kernels, each over its largest weight."""
    shown = [(start, run) for start, runs in good.items() for run in runs[:10]]
    kernels = np.array([run.run.weights["W1"].reshape(3, 3) for _, run in shown])
    scaled = kernels / np.abs(kernels).max(axis=(1, 2), keepdims=True)
    names = [f"±{start:g}" for start, _ in shown]
    tips = [
        f"{kind_of(run.run.weights['W1'])}; bias {run.run.weights['b1'][0]:.1f}, "
        f"to the output {run.run.weights['W2'][0, 0]:.1f}"
        for _, run in shown
    ]
    svg = weight_images(
        "Kernels that tell T from C", scaled, names, tips, largest=1.0,
        notes=["each over its largest weight; under it the range that it started from"],
    )  # fmt: skip
    return Figure("the kernels", svg, "nine shared weights of each net that learned, as an image")
