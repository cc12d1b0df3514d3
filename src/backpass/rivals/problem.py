"""A task made ready for the methods: programs that run and are counted, the start, the order of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Self

import numpy as np

from backpass.errors import NotLowered
from backpass.exec.base import Array, Function
from backpass.exec.choose import executor_named, obstacle_to_compiling
from backpass.ir import Graph
from backpass.passes import work
from backpass.rivals.meter import Meter
from backpass.rivals.programs import Programs
from backpass.rivals.task import Task
from backpass.training.batches import Batches
from backpass.training.evaluate import classes_of

Feeds = Mapping[str, Array]
_EPOCHS = 1_000_000  # more than any race has: an epoch's order is a function of its number


class Weights:
    """All parameters as one vector, and by name as views of it: what is written in one is seen in the other.

    Attributes
    ----------
    flat : ndarray, shape (N,)
    named : dict of str to ndarray
    """

    def __init__(self, flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.flat, self.shapes = flat, shapes
        self.named: dict[str, Array] = {}
        begin = 0
        for name, shape in shapes.items():
            end = begin + math.prod(shape)
            self.named[name] = flat[begin:end].reshape(shape)
            begin = end

    def __len__(self) -> int:
        return len(self.flat)

    def copy(self) -> Self:
        """A vector of its own."""
        return type(self)(self.flat.copy(), self.shapes)

    def like(self, flat: Array) -> Self:
        """Another vector of the same layout: a gradient, a direction."""
        return type(self)(np.ascontiguousarray(flat), self.shapes)


class Program:
    """A Graph that runs, and says to the meter what it cost."""

    def __init__(self, name: str, graph: Graph, meter: Meter) -> None:
        self.name, self.graph, self.meter = name, graph, meter
        self._function = compiled(graph)
        self._inputs = tuple(graph.inputs)
        self._bound: dict[int, Callable[[Feeds], dict[str, Array]]] = {}
        self._flops: dict[int, int] = {}

    def flops(self, rows: int) -> int:
        """Its work for so many rows."""
        if rows not in self._flops:
            self._flops[rows] = work(self.graph, {"B": rows}).flops
        return self._flops[rows]

    def __call__(self, rows: Feeds, *others: Feeds) -> dict[str, Array]:
        feeds = {name: value for given in (rows, *others) for name, value in given.items()}
        count = len(rows["x"])
        self.meter.add(self.name, self.flops(count))
        run = self._bound.get(count) or self._for_rows(count)
        return run({name: feeds[name] for name in self._inputs})

    def _for_rows(self, count: int) -> Callable[[Feeds], dict[str, Array]]:
        """The function for so many rows: a race of a small net is nearly all calls, so they are short."""
        bind = getattr(self._function, "bound", None)
        self._bound[count] = bind({"B": count}) if bind is not None else self._function
        return self._bound[count]


class Problem:
    """A task made ready: the same for each method.

    Attributes
    ----------
    task : Task
    programs : Programs
    start : Weights
        Where every method starts. Copy it.
    meter : Meter
        What has been spent since the last `fresh`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        features = task.x.shape[1]
        self.programs = Programs(task.network, task.loss, features)
        drawn = task.network.initial(features, task.seed, "f64")
        shapes = {name: drawn[name].shape for name in self.programs.parameters}
        flat = np.concatenate([np.ravel(drawn[name]) for name in self.programs.parameters])
        self.start = Weights(flat, shapes)
        self.all_rows: Feeds = {"x": task.x, "t": task.t}
        self._batches = Batches(len(task.x), min(task.batch, len(task.x)), _EPOCHS, task.seed)
        self.meter = Meter(work(self.programs.forward, {"B": self.rows_of_a_pass}).flops)

    @property
    def N(self) -> int:
        """How many weights and biases there are."""
        return len(self.start)

    @property
    def M(self) -> int:
        """How many units there are besides the inputs."""
        return sum(shape[1] for name, shape in self.start.shapes.items() if name[0] == "W")

    @property
    def rows_of_a_pass(self) -> int:
        """Rows of a batch."""
        return self._batches.batch

    def price(self, program: str) -> float:
        """What one run of a program costs over a batch, in passes: an attribute of `Programs`."""
        graph: Graph = getattr(self.programs, program)
        return work(graph, {"B": self.rows_of_a_pass}).flops / self.meter.one

    def fresh(self) -> None:
        """Start counting anew."""
        self.meter.flops = 0
        self.meter.runs.clear()

    def batch(self, k: int) -> Feeds:
        """The rows of step k, counted from 0: the same for each method."""
        if self._batches.batch == len(self.task.x):
            return self.all_rows  # one batch is all rows; their order says nothing
        order, _ = self._batches.span(k, k + 1)
        return {"x": self.task.x[order], "t": self.task.t[order]}

    # ---- what a method may ask, and pays for

    def cost(self, weights: Weights, rows: Feeds) -> float:
        """The cost C: one forward pass."""
        return float(self._forward(rows, weights.named)["C"])

    def gradient(self, weights: Weights, rows: Feeds) -> tuple[float, Array]:
        """The cost and its gradient, shape (N,): a forward and a backward pass."""
        return self._flat(self._backprop(rows, weights.named))

    def output_gradient(self, weights: Weights, rows: Feeds) -> tuple[float, Array]:
        """The cost and the gradient of the output layer's parameters; zeros for all others."""
        return self._flat(self._output_layer(rows, weights.named))

    def slope(self, weights: Weights, direction: Weights, rows: Feeds) -> tuple[float, float]:
        """The cost and its derivative along a direction: forward mode, no backward pass."""
        found = self._slope(rows, weights.named, {f"v_{name}": v for name, v in direction.named.items()})
        return float(found["C"]), float(found["slope"])

    def losses(self, weights: Weights, rows: Feeds) -> dict[str, Array]:
        """The loss of each row, and the activations of the hidden layers: one forward pass."""
        return self._clean(rows, weights.named)

    def noisy_losses(self, weights: Weights, rows: Feeds, noise: Feeds) -> Array:
        """The loss of each row with noise added to the pre-activations, ``noise1`` and so on: one pass."""
        return self._noisy(rows, weights.named, noise)["loss"]

    def credit(self, rows: Feeds, activations: Feeds, guesses: Feeds) -> Array:
        """From a guess at each δ (``guess1`` and so on, adjoints of C) to one at the gradient, shape (N,)."""
        return self._flat(self._credit(rows, activations, guesses))[1]

    def feedback(self, weights: Weights, rows: Feeds, backwards: Feeds) -> tuple[float, Array]:
        """The cost, and the gradient as it comes back through other weights, ``B2`` and so on."""
        return self._flat(self._feedback(rows, weights.named, backwards))

    # ---- what is looked at from outside, and costs a method nothing

    def cost_of_all(self, weights: Weights) -> float:
        """The cost over all rows."""
        with self.meter.off():
            return self.cost(weights, self.all_rows)

    def deltas(
        self, weights: Weights, rows: Feeds, backwards: Feeds | None = None
    ) -> tuple[dict[str, Array], ...]:
        """The δ of each layer, and the activations that come into it, each of shape (rows, units).

        Parameters
        ----------
        weights, rows
        backwards : mapping of str to ndarray, optional
            ``B2`` and so on, in place of W on the way back.

        Returns
        -------
        deltas, incoming : dict of str to ndarray
            ``δ1``, ``δ2``; ``x``, ``a1``.
        """
        names = [name for name in weights.shapes if name[0] == "W" and name != "W1"]
        through = {f"B{name[1:]}": weights.named[name] for name in names} | dict(backwards or {})
        with self.meter.off():
            incoming = {"x": rows["x"], **self.losses(weights, rows)}
            found = self._feedback_deltas(rows, weights.named, through)
        del incoming["loss"]
        return found, incoming

    def accuracy(self, weights: Weights, part: str = "train") -> float:
        """The share of rows of a part ("train", "test") whose class is told right; NaN without such rows."""
        x, t = (self.task.x, self.task.t) if part == "train" else self.task.test or (None, None)
        if x is None or t is None:
            return float("nan")
        a = self._predict({"x": x, **weights.named})[self.task.network.prediction]
        return float(np.mean(classes_of(a) == classes_of(t)))

    # ---- the programs, compiled when they are first asked for

    @cached_property
    def _forward(self) -> Program:
        return Program("forward", self.programs.forward, self.meter)

    @cached_property
    def _backprop(self) -> Program:
        return Program("forward and backward", self.programs.backprop, self.meter)

    @cached_property
    def _output_layer(self) -> Program:
        return Program("forward and output layer", self.programs.output_layer, self.meter)

    @cached_property
    def _slope(self) -> Program:
        return Program("forward mode", self.programs.slope, self.meter)

    @cached_property
    def _clean(self) -> Program:
        return Program("forward, each row", self.programs.clean, self.meter)

    @cached_property
    def _noisy(self) -> Program:
        return Program("forward, noisy units", self.programs.noisy, self.meter)

    @cached_property
    def _credit(self) -> Program:
        return Program("credit to weights", self.programs.credit, self.meter)

    @cached_property
    def _feedback(self) -> Program:
        return Program("forward and feedback", self.programs.feedback, self.meter)

    @cached_property
    def _feedback_deltas(self) -> Program:
        return Program("deltas", self.programs.feedback_deltas, self.meter)

    @cached_property
    def _predict(self) -> Function:
        features = self.task.x.shape[1]
        return compiled(self.task.network.forward(features, "f64"))

    def _flat(self, found: Mapping[str, Array]) -> tuple[float, Array]:
        """The cost, and the gradients as one vector; zeros where the program has none."""
        parts = [
            np.ravel(found[f"d{name}"]) if f"d{name}" in found else np.zeros(int(np.prod(shape)))
            for name, shape in self.start.shapes.items()
        ]
        return float(found.get("C", np.nan)), np.concatenate(parts)


def compiled(graph: Graph) -> Function:
    """The program as native code where it can be, else in NumPy."""
    if obstacle_to_compiling() is None:
        try:
            return executor_named("compiled").compile(graph)
        except NotLowered:
            pass
    return executor_named("reference").compile(graph)
