"""The rows of each part of a run, what the network says of them, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import BackpassError
from backpass.scoring import score
from backpass.training.evaluate import Evaluator

Array = NDArray[Any]
Parts = Mapping[str, tuple[Array, Array]]

#: Parts in the order in which they are told of; the last of them that there is counts.
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Held:
    """What is known of the parts of a run.

    Attributes
    ----------
    parts : mapping of str to (x, t)
        Rows as they enter the network, and what it is compared with.
    outputs : mapping of str to ndarray
        What the network says.
    scores : mapping of str to dict
        See `backpass.scoring.score`.
    original : callable
        From targets or outputs to the units of the data.
    """

    parts: Parts
    outputs: Mapping[str, Array]
    scores: Mapping[str, dict[str, Any]]
    original: Callable[[Array], Array]

    @property
    def shown(self) -> str:
        """The part to judge the network by: test, else validation, else train; "" where nothing is known."""
        return next((p for p in reversed(PARTS) if p in self.scores or p in self.parts), "")


def held(run: Any, parts: Parts | None = None, scores: Mapping[str, dict[str, Any]] | None = None) -> Held:
    """Gather the parts of a run; those whose rows cannot be had are left out.

    Parameters
    ----------
    run : Run
    parts : mapping of str to (x, t), optional
        Rows as they enter the network; read again if left out.
    scores : mapping of str to dict, optional
        Computed where left out.
    """
    found = dict(parts) if parts is not None else _parts_again(run)
    found = {name: found[name] for name in PARTS if name in found and len(found[name][0])}
    task = run.settings.data.task
    original = _original(run, task)
    record = run.record
    evaluator = Evaluator(record.predict_graph, record.prediction, task)
    outputs = {name: evaluator.predict(record.result(), x) for name, (x, _) in found.items()}
    if scores is None:
        names = names_of_outputs(run)
        scores = {
            name: score(task, original(found[name][1]), original(a), names) for name, a in outputs.items()
        }
    return Held(found, outputs, scores, original)


def names_of_outputs(run: Any) -> tuple[Any, ...]:
    """The classes; else the names of labels or target columns, where the data have them."""
    preparation = getattr(run, "preparation", None)
    return tuple(run.settings.data.classes) or tuple(getattr(preparation, "target_names", ()) or ())


def _original(run: Any, task: str) -> Callable[[Array], Array]:
    """Quantities in the units of the data, where they were standardised on the way in."""
    preparation = getattr(run, "preparation", None)
    if task != "regression" or preparation is None:
        return lambda values: values

    def answers(values: Array) -> Array:
        found = np.asarray(preparation.answers(values), dtype=np.float64)
        return found.reshape(len(values), -1)

    return answers


def _parts_again(run: Any) -> dict[str, tuple[Array, Array]]:
    """The training rows that the run has, and the held-out rows of a source that can be read again."""
    found: dict[str, tuple[Array, Array]] = {}
    try:
        found["train"] = (run.rows.arrays["x"], run.rows.arrays["t"])
        if run.settings.data.source:
            found |= _held_out_again(run)
    except BackpassError:
        pass  # moved, changed or never kept: the report tells what it has
    return found


def _held_out_again(run: Any) -> dict[str, tuple[Array, Array]]:
    from backpass.data import load
    from backpass.training.rows import entered, parts_of

    settings = run.settings
    dataset = load(settings.data.source)
    outputs = run.rows.arrays["t"].shape[1]
    numbers = parts_of(dataset, settings.data.validation, settings.data.test, settings.seed)
    x, t = entered(dataset, settings.dtype, outputs)
    found = {name: (x[rows], t[rows]) for name, rows in zip(PARTS[1:], numbers[1:], strict=True)}
    if not settings.data.test and dataset.test is not None:
        found["test"] = entered(dataset.test, settings.dtype, outputs)
    return found
