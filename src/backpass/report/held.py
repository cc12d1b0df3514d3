"""The rows of each part of a run, what the network says of them, and how good that is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from backpass.data import mapped
from backpass.errors import BackpassError
from backpass.scoring import SCORED, baselines, score
from backpass.training.evaluate import Evaluator

Array = NDArray[Any]
Parts = Mapping[str, tuple[Array, Array]]
Scores = Mapping[str, dict[str, Any]]

#: Parts in the order in which they are told of; the last of them that there is counts.
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Held:
    """What is known of the parts of a run.

    Attributes
    ----------
    run : Run
    parts : mapping of str to (x, t)
        Rows as they enter the network, and what it is compared with.
    scores : mapping of str to dict
        See `backpass.scoring.score`.
    """

    run: Any
    parts: Parts
    scores: Scores

    @property
    def shown(self) -> str:
        """The part to judge the network by: test, else validation, else train; "" where nothing is known."""
        return next((p for p in reversed(PARTS) if p in self.scores or p in self.parts), "")

    def answers(self, part: str) -> tuple[Array, Array]:
        """The targets of a part and what the network says, in the units of the data; see `Run.scores`."""
        x, t = self.parts[part]
        units = self.run.preparation.in_units
        rows = mapped.some(x, SCORED, self.run.settings.seed)
        return units(t if rows is None else mapped.take(t, rows)), units(outputs(self.run, x, rows))

    def baselines(self) -> Scores:
        """Simple models on the same rows, as far as those can be had."""
        if "train" not in self.parts or not self.shown:
            return {}
        x, t = self.parts["train"]
        run = self.run
        return baselines(
            run.settings.data.task,
            x,
            t,
            {self.shown: self.parts[self.shown]},
            classes=run.answers_named,
            seed=run.settings.seed,
            units=run.preparation.in_units,
        )


def held(run: Any, parts: Parts | None = None, scores: Scores | None = None) -> Held:
    """Gather the parts of a run; those whose rows cannot be had are left out.

    Parameters
    ----------
    run : Run
    parts : mapping of str to (x, t), optional
        Rows as they enter the network; the run's own if left out.
    scores : mapping of str to dict, optional
        Computed where left out.
    """
    found: dict[str, tuple[Array, Array]] = {}
    with contextlib.suppress(BackpassError):  # moved, changed or never kept: the report tells what it has
        found = dict(run.parts if parts is None else parts)
    found = {name: found[name] for name in PARTS if name in found and len(found[name][0])}
    known = Held(run, found, {})
    if scores is None and parts is None and found:
        scores = run.scores
    elif scores is None:
        task, names, probable = run.settings.data.task, run.answers_named, run.probable
        scores = {name: score(task, *known.answers(name), names, probable) for name in found}
    return Held(run, found, scores or {})


def outputs(run: Any, x: Array, rows: Array | None = None) -> Array:
    """What the network that the run ends with says of prepared rows, or of some of them."""
    record = run.record
    evaluator = Evaluator(record.predict_graph, record.prediction, run.settings.data.task)
    return evaluator.predict(record.result(), x, rows)
