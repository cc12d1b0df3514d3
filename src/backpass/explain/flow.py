"""``flow``: how large the error, the gradients and the updates are from layer to layer, and over the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backpass.explain.answer import Answer, Block, Figure, Note, Table
from backpass.pictures.curves import Line, Panel, line_chart
from backpass.pictures.heat import heat
from backpass.record.monitors import Inspection, Monitors
from backpass.record.replay import Moment

#: Mean factors from layer to layer that are called vanishing and exploding, over so many layers.
_VANISHES, _EXPLODES, _LAYERS = 0.5, 2.0, 3
_DEAD, _SATURATED = 0.25, 0.5  # parts of a layer's units that are worth a sentence
_THROWN = 0.5  # of the size of the weights: no step of a training that goes well is as long
_COLUMNS = 80  # of the picture over time


@dataclass(frozen=True)
class LayerFlow:
    """What reaches a pre-activation.

    Attributes
    ----------
    name : str
        Of its delta: ``δ1``.
    norm, variance : float
        √Σδ² over the batch and all units; the variance of its entries.
    factor : float
        This norm over that of the layer above, whose error came down to this one; NaN for the last layer.
    """

    name: str
    norm: float
    variance: float
    factor: float


@dataclass(frozen=True)
class ParameterFlow:
    """What happens to a parameter: √Σ² of its gradient, its update and itself; the update over itself."""

    name: str
    gradient: float
    update: float
    weight: float
    ratio: float


@dataclass(frozen=True)
class UnitsFlow:
    """The activations of a layer; see `backpass.record.monitors` for dead and saturated."""

    name: str
    mean: float
    deviation: float
    dead: float
    saturated: float


@dataclass(frozen=True, kw_only=True)
class Flow(Answer):
    """How the error flows back.

    Attributes
    ----------
    layers : tuple of LayerFlow
        From the last layer to the first: the way that the error goes.
    parameters : tuple of ParameterFlow
    units : tuple of UnitsFlow
    shrink : float
        The geometric mean of the factors from layer to layer; NaN where there is a single layer.
    steps : tuple of int
        Those that were looked at while the run went on.
    over_time : dict of str to tuple of float
        The norm of each delta at these steps.
    """

    layers: tuple[LayerFlow, ...]
    parameters: tuple[ParameterFlow, ...]
    units: tuple[UnitsFlow, ...]
    shrink: float
    steps: tuple[int, ...]
    over_time: Mapping[str, tuple[float, ...]]

    def blocks(self) -> list[Block]:
        found: list[Block] = [
            Table(
                "the error on its way back, from the last layer to the first",
                ("layer", "norm of δ", "variance", "factor"),
                tuple((x.name, x.norm, x.variance, x.factor) for x in self.layers),
                shown=60,
            ),
            Table(
                "parameters: √Σ² of the gradient, of the update and of the weights",
                ("parameter", "gradient", "update", "weights", "update / weights"),
                tuple((p.name, p.gradient, p.update, p.weight, p.ratio) for p in self.parameters),
                shown=60,
            ),
        ]
        if self.units:
            found.append(
                Table(
                    "activations over the batch",
                    ("values", "mean", "deviation", "dead units", "saturated"),
                    tuple((u.name, u.mean, u.deviation, u.dead, u.saturated) for u in self.units),
                    shown=60,
                )
            )
        if len(self.layers) > 1:
            found.append(self._depth())
        if len(self.steps) > 1:
            found.append(self._time())
        else:
            found.append(Note("No layer monitors were written while the run went on, so there is no picture "
                              "over time."))  # fmt: skip
        return found

    def _depth(self) -> Figure:
        first = list(range(len(self.layers)))
        lines = [Line("norm of δ", first, [x.norm or None for x in self.layers])]
        names = ", ".join(f"{k} is {x.name}" for k, x in enumerate(self.layers))
        heading = "The error from the last layer to the first"
        panel = Panel(heading, "layers from the output", "norm of δ", lines, log=True)
        title = f"The error over depth, step {self.step:,}"
        return Figure("over depth", line_chart(title, [panel]), names)

    def _time(self) -> Figure:
        picked = _spread_out(len(self.steps), _COLUMNS)
        values = [[self.over_time[x.name][k] for k in picked] for x in self.layers]
        columns = [f"{self.steps[k]:,}" for k in picked]
        rows = [x.name for x in self.layers]
        svg = heat("The error over the run", rows, columns, values, across="step", unit="norm of δ")
        told = []
        for name, row in zip(rows, values, strict=True):
            told.append(f"{name} from {row[0]:.3g} to {row[-1]:.3g}")
        return Figure("over the run", svg, f"norms at {len(self.steps)} steps: {'; '.join(told)}")


def flow(moment: Moment, monitors: Monitors) -> Flow:
    """How the error flows back in one step, and how it did over the run.

    Parameters
    ----------
    moment : Moment
        The visited step: its layers.
    monitors : Monitors
        What was seen while the run went on; may be empty.

    Returns
    -------
    Flow

    Notes
    -----
    What a layer does to the error that passes it shows in the norms of its deltas: where each is a constant
    factor of the one above, the error vanishes or explodes exponentially with depth. [1]_ [2]_

    References
    ----------
    .. [1] Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen (1991); Bengio, Simard & Frasconi, IEEE
       Trans. Neural Networks 5 (1994).
    .. [2] Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS
       2010.
    """
    seen = Inspection(moment.graph).look(moment.feeds)
    deltas = [
        name for name in reversed(list(moment.graph.outputs)) if f"norm {name}" in seen and name[0] == "δ"
    ]
    deltas.sort(key=lambda name: moment.graph.nodes.index(moment.graph[name]))
    layers, above = [], math.nan
    for name in deltas:
        norm = seen[f"norm {name}"]
        factor = norm / above if above else math.nan
        layers.append(LayerFlow(name, norm, seen[f"variance {name}"], factor))
        above = norm
    parameters = tuple(
        ParameterFlow(p, seen[f"norm d{p}"], seen[f"norm Δ{p}"], seen[f"norm {p}"], seen[f"ratio {p}"])
        for p in moment.graph.inputs_of_kind("parameter")
        if f"norm d{p}" in seen
    )
    units = tuple(
        UnitsFlow(
            name, seen[f"mean {name}"], seen[f"deviation {name}"],
            seen.get(f"dead {name}", math.nan), seen.get(f"saturated {name}", math.nan),
        )
        for name in (key.removeprefix("mean ") for key in seen if key.startswith("mean "))
    )  # fmt: skip
    factors = [x.factor for x in layers if math.isfinite(x.factor) and x.factor > 0]
    shrink = math.exp(math.fsum(map(math.log, factors)) / len(factors)) if factors else math.nan
    over = monitors.values
    return Flow(
        question="flow",
        target="",
        step=moment.step,
        claim=_claim(moment.step, layers, units, shrink, monitors) + _too_far(parameters),
        layers=tuple(layers),
        parameters=parameters,
        units=units,
        shrink=shrink,
        steps=tuple(monitors.steps.tolist()),
        over_time={name: tuple(over[f"norm {name}"].tolist()) for name in deltas if f"norm {name}" in over},
        evidence=tuple(deltas),
    )


def _claim(
    step: int, layers: Sequence[LayerFlow], units: Sequence[UnitsFlow], shrink: float, monitors: Monitors
) -> str:
    if not layers:
        return f"Step {step:,} has no layer with a delta of its own."
    first, last = layers[-1], layers[0]
    if len(layers) == 1:
        words = [f"In step {step:,} the error at the only layer, {last.name}, has norm {last.norm:.3g}."]
    elif not last.norm:
        words = [f"In step {step:,} no error comes back: {last.name} is zero everywhere."]
    else:
        whole = first.norm / last.norm
        words = [
            f"In step {step:,} the error changes by a factor of {shrink:.3g} from layer to layer on its way "
            f"back: {first.name} has {whole:.3g} times the norm of {last.name}."
        ]
        between = [x for x in layers if math.isfinite(x.factor)]
        if not first.norm:
            gone = next(x.name for x in layers if not x.norm)
            words = [
                f"In step {step:,} the error dies on its way back: from {gone} on it is zero everywhere."
            ]
        elif len(layers) >= _LAYERS and shrink < _VANISHES:
            words.append(f"It vanishes: {_told(min(between, key=_factor))} lets least through.")
        elif len(layers) >= _LAYERS and shrink > _EXPLODES:
            words.append(f"It explodes: {_told(max(between, key=_factor))} enlarges it most.")
    for u in units:
        if u.dead >= _DEAD:
            words.append(f"{u.dead:.0%} of the units of {u.name} are dead: no row of the batch moves them.")
        elif u.saturated >= _SATURATED and u.dead != u.saturated:
            words.append(f"{u.saturated:.0%} of the values of {u.name} lie where it is flat.")
    return " ".join(words + _trend(layers, monitors))


def _too_far(parameters: Sequence[ParameterFlow]) -> str:
    """That a step threw weights over: its update is about as large as they are, where that is so."""
    known = [p for p in parameters if math.isfinite(p.ratio) and p.name[0] == "W"]
    if not known:
        return ""
    most = max(known, key=lambda p: p.ratio)
    if most.ratio < _THROWN:
        return ""
    return (
        f" The update of {most.name} is {most.ratio:.2g} times as large as its weights: the learning rate is "
        "too high, or the inputs are too large."
    )


def _factor(found: LayerFlow) -> float:
    return found.factor


def _told(found: LayerFlow) -> str:
    return f"the way to {found.name} (a factor of {found.factor:.3g})"


def _trend(layers: Sequence[LayerFlow], monitors: Monitors) -> list[str]:
    """Where the first layer's error went over the run, where that is much."""
    name = layers[-1].name
    seen = monitors.values.get(f"norm {name}", np.zeros(0))
    good = np.flatnonzero(np.isfinite(seen) & (seen > 0))
    if len(good) < 2:
        return []
    ratio = seen[good[-1]] / seen[good[0]]
    bad = np.flatnonzero(~np.isfinite(seen))
    words = []
    if len(bad):
        words.append(f"At step {monitors.steps[bad[0]]:,} {name} was no finite number any more.")
    if not 0.01 < ratio < 100:
        words.append(
            f"Over the run the norm of {name} went from {seen[good[0]]:.3g} to {seen[good[-1]]:.3g}."
        )
    return words


def _spread_out(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})
