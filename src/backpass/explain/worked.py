"""One step fully worked: forward, error, backward and update of one example, with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backpass.explain.answer import Answer, Block, Equations, Figure, Heading, Ledger, Table
from backpass.explain.examples import described, labels_of, verb_of
from backpass.explain.naming import Naming
from backpass.explain.value import Value, value
from backpass.ir import Graph
from backpass.pictures.images import row_images
from backpass.record.replay import Moment

_TERMS = 5  # of a sum


@dataclass(frozen=True)
class Stage:
    """A part of the step.

    Attributes
    ----------
    name : str
        "forward", "error", "backward" or "update".
    words : str
    values : tuple of Value
    """

    name: str
    words: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Output:
    """What came out for an example, and what was wanted."""

    name: str
    came_out: float
    wanted: float


@dataclass(frozen=True, kw_only=True)
class Worked(Answer):
    """One step of one example, through the strongest unit of each layer.

    Attributes
    ----------
    row : int
        As it is numbered in the data set.
    stages : tuple of Stage
        Forward, error, backward, update.
    outputs : tuple of Output
        Of the example, worst first.
    picture : str
        The example, where rows are images, as SVG.
    """

    row: int
    stages: tuple[Stage, ...]
    outputs: tuple[Output, ...]
    picture: str = ""

    def blocks(self) -> list[Block]:
        found: list[Block] = []
        summed: set[str] = set()  # each sum is taken apart once, where it comes first
        if self.picture:
            found.append(Figure("the example", self.picture, f"row {self.row:,}"))
        for stage in self.stages:
            found.append(Heading(stage.name.capitalize(), stage.words))
            if stage.name == "error":
                head = ("output", "came out", "was wanted", "difference")
                found.append(
                    Table(
                        "",
                        head,
                        tuple((o.name, o.came_out, o.wanted, o.came_out - o.wanted) for o in self.outputs),
                    )
                )
            for one in stage.values:
                found.append(Equations(one.equations[:1]))
                if len(one.terms) > 1 and one.summed not in summed:
                    summed.add(one.summed)
                    title = f"{one.summed}, its largest terms"
                    found.append(Ledger(title, one.terms, one.total, one.summed, shown=_TERMS))
        return found


def worked(moment: Moment, row_numbers: NDArray[np.int64] | None = None, row: int | None = None) -> Worked:
    """One step worked through, for the example with the largest loss, or a chosen one.

    In each layer the unit is followed at which the example's error is largest, and of the weights into it the
    one that this error moves the most.

    Parameters
    ----------
    moment : Moment
    row_numbers : ndarray of int64, optional
        The number in the data set of each training row.
    row : int, optional
        The place in the batch of the example.
    """
    graph, record = moment.graph, moment.replay.record
    batch = record.batches.span(moment.step - 1, moment.step)[0]
    losses = np.asarray(moment["loss"], np.float64)
    b = int(np.nanargmax(losses)) if row is None else row
    layers = _layers(moment, b)
    prediction = record.prediction
    forward, backward, update = [], [], []
    for number, unit, weight in layers:
        forward += [f"z{number}[{b},{unit}]"]
        forward += [f"a{number}[{b},{unit}]"] if f"a{number}" != prediction else []
        update += [f"W{number}_new[{weight},{unit}]"]
    for number, unit, weight in reversed(layers):
        backward += [f"δ{number}[{b},{unit}]", f"dW{number}[{weight},{unit}]"]
    output = int(np.argmax(np.abs(np.asarray(moment["t"], np.float64)[b])))
    error = [f"{prediction}[{b},{output}]", f"loss[{b}]", "C"]
    words = {
        "forward": "Each layer adds up its inputs times its weights, z, and sends on f(z), a.",
        "error": "What came out is compared with what was wanted; the cost is the mean loss of the batch.",
        "backward": "δ goes from the last layer to the first by the chain rule; a weight's gradient is its "
        "input times its δ, added up over the batch.",
        "update": "Each weight takes a step against its gradient.",
    }
    asked = {"forward": forward, "error": error, "backward": backward, "update": update}
    stages = tuple(
        Stage(name, words[name], tuple(value(moment, target) for target in targets if _there(graph, target)))
        for name, targets in asked.items()
    )
    shown = int(batch[b] if row_numbers is None else row_numbers[batch[b]])
    return Worked(
        question="worked",
        target=f"row {shown}",
        step=moment.step,
        claim=_claim(moment, b, shown, float(losses[b]), stages),
        evidence=tuple(dict.fromkeys(target.split("[")[0] for some in asked.values() for target in some)),
        row=shown,
        stages=stages,
        outputs=_outputs(moment, b),
        picture=_picture(moment, b, shown),
    )


def _layers(moment: Moment, b: int) -> list[tuple[str, int, int]]:
    """Of each layer its number, the unit with the largest error, and the input whose weight moves most."""
    found = []
    for name in moment.graph.outputs:
        if name[0] != "δ" or f"dW{name[1:]}" not in moment.graph.named:
            continue
        delta = np.asarray(moment[name], np.float64)
        gradient = np.asarray(moment[f"dW{name[1:]}"], np.float64)
        if delta.ndim == 2 and gradient.ndim == 2 and gradient.shape[1] == delta.shape[1]:
            unit = int(np.argmax(np.abs(delta[b])))
            found.append((name[1:], unit, int(np.argmax(np.abs(gradient[:, unit])))))
    return sorted(found, key=lambda one: (len(one[0]), one[0]))


def _outputs(moment: Moment, b: int) -> tuple[Output, ...]:
    record = moment.replay.record
    came, wanted = (np.asarray(moment[name][b], np.float64) for name in (record.prediction, "t"))
    naming = Naming(record)
    names = [naming.output(k) or f"{k}" for k in range(len(came))]
    found = [Output(n, float(a), float(t)) for n, a, t in zip(names, came, wanted, strict=True)]
    return tuple(sorted(found, key=lambda o: -abs(o.came_out - o.wanted)))


def _there(graph: Graph, target: str) -> bool:
    return target.split("[")[0] in graph.named


def _claim(moment: Moment, b: int, number: int, loss: float, stages: tuple[Stage, ...]) -> str:
    record = moment.replay.record
    words = f"Step {moment.step:,} for row {number:,}"
    is_, read = (labels_of(record, moment[name][b : b + 1])[0] for name in ("t", record.prediction))
    words += f" ({described(is_, read, verb_of(record))})" if is_ else ""
    followed = [one.target for stage in stages if stage.name == "backward" for one in stage.values]
    deltas = [name for name in followed if name[0] == "δ"]
    way = f" Its error is followed through {', then '.join(deltas)}." if deltas else ""
    return f"{words}: its loss is {loss:.6g}, of a mean of {float(np.mean(moment['loss'])):.6g}.{way}"


def _picture(moment: Moment, b: int, number: int) -> str:
    shape = moment.replay.record.settings.data.image_shape
    if not shape:
        return ""
    image = np.asarray(moment["x"][b], np.float64).reshape(1, *shape)
    return row_images("The example", image, [f"row {number:,}"])
