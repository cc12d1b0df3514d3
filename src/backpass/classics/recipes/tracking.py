"""What is measured of a run: after each epoch where a curve or a rule to stop asks for it, and at its end.

A measure is called ``part_what``. The part is "train", "validation" or "test"; what is measured is one of

========  =========================================================================================
accuracy  % of the rows whose largest output is the right one; a single output: on its side of the middle
errors    % of the rows that are not right
right     how many rows are
exact     % of the rows of which every output is on its side of the middle
loss      its mean
========  =========================================================================================

``best_part_what`` is the best of it over all epochs. ``epochs`` is how many it took until the run had learned
what it was to, so the presentations of each pattern; ``solved`` is 100 if it had, else 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backpass.classics.recipes.options import Until
from backpass.errors import UsageError, nearest
from backpass.run import Run
from backpass.running.loop import Progress
from backpass.training.evaluate import Evaluator, classes_of

Array = NDArray[np.floating]

PARTS = ("train", "validation", "test")
#: Each with the function that chooses the best of many.
_WHAT: dict[str, Callable[[Iterable[float]], float]] = {
    "accuracy": max, "errors": min, "right": max, "exact": max, "loss": min,
}  # fmt: skip
_OF_RUN = ("epochs", "solved")
#: Epochs in a row without a lower cost, after which a run has stalled.
_STALLED = 3


def check_measure(name: str) -> None:
    """Refuse what is no measure."""
    plain = [f"{part}_{what}" for part in PARTS for what in _WHAT]
    known = [*_OF_RUN, *plain, *(f"best_{measure}" for measure in plain)]
    if name not in known:
        raise UsageError(f"there is no measure {name!r}. {nearest(name, known)}")


def measured(what: str, a: Array, t: Array, losses: Callable[[], float]) -> float:
    """A measure of outputs against targets; `losses` gives the mean loss.

    Examples
    --------
    >>> a, t = np.array([[0.8, 0.3], [0.4, 0.3]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> measured("accuracy", a, t, lambda: 0.0), measured("exact", a, t, lambda: 0.0)
    (50.0, 50.0)
    """
    if what == "loss":
        return losses()
    middle = (t.min() + t.max()) / 2
    if what == "exact":
        return 100.0 * float(np.mean(np.all((a > middle) == (t > middle), axis=1)))
    if a.shape[1] > 1:
        right = int(np.sum(classes_of(a) == classes_of(t)))
    else:
        right = int(np.sum((a > middle) == (t > middle)))
    if what == "right":
        return float(right)
    share = 100.0 * right / len(t)
    return share if what == "accuracy" else 100.0 - share


@dataclass
class Tracked:
    """A run as it goes: give `begun` and `epoch` to `backpass.train`.

    Attributes
    ----------
    each_epoch : tuple of str
        The measures to take after each epoch.
    until : Until or None
    epochs : int or None
        After which epoch the rows were learned.
    curves : dict of str to list of float
        By measure, one value an epoch.
    """

    each_epoch: tuple[str, ...] = ()
    until: Until | None = None
    epochs: int | None = None
    curves: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._least, self._stalled = math.inf, 0

    def begun(self, run: Run) -> None:
        self.run = run
        self._evaluator = Evaluator(run.record.predict_graph, run.record.prediction, run.settings.data.task)

    def epoch(self, progress: Progress) -> str | None:
        """What `backpass.train` calls after each epoch."""
        weights = dict(progress.values) | self.run.record.fixed
        for name, value in self._of(weights, self.each_epoch).items():
            self.curves.setdefault(name, []).append(value)
        if self.until is not None and self._learned(weights, self.until, progress):
            self.epochs = progress.epoch
            return "stop"
        return None

    def at_end(self, names: Iterable[str]) -> dict[str, float]:
        """The measures of the whole run; NaN where it never came to what is asked."""
        names, found = list(names), {}
        for name in names:
            if name == "epochs":
                found[name] = math.nan if self.epochs is None else float(self.epochs)
            elif name == "solved":
                found[name] = 100.0 * (self.epochs is not None)
            elif name.startswith("best_"):
                plain = name.removeprefix("best_")
                found[name] = _WHAT[plain.rsplit("_", 1)[1]](self.curves[plain])
        rest = [name for name in names if name not in found]
        return found | self._of(self.run.record.result(), rest)

    def _of(self, weights: Mapping[str, Array], names: Iterable[str]) -> dict[str, float]:
        found, outputs = {}, {}
        for name in names:
            part, what = name.rsplit("_", 1)
            if part not in self.run.parts:
                raise UsageError(f"{name} is asked for, and there are no {part} rows")
            x, t = self.run.parts[part]
            if part not in outputs and what != "loss":
                outputs[part] = self._evaluator.predict(weights, x)

            def loss(x: Array = x, t: Array = t) -> float:
                return self._evaluator.metrics(weights, x, t)["loss"]

            found[name] = measured(what, outputs.get(part, t), t, loss)
        return found

    def _learned(self, weights: Mapping[str, Array], until: Until, progress: Progress) -> bool:
        if until.stall is not None:
            steps = progress.step // progress.epoch
            cost = float(np.mean(self.run.costs[-steps:]))
            self._stalled = self._stalled + 1 if cost > self._least - until.stall else 0
            self._least = min(self._least, cost)
            if self._stalled < _STALLED:
                return False
        if until.miss is None and until.loss is None:
            return True
        x, t = self.run.parts["train"]
        missed = np.abs(self._evaluator.predict(weights, x) - t)
        if until.miss is not None and missed.max() >= until.miss:
            return False
        return until.loss is None or bool((0.5 * (missed**2).sum(axis=1)).max() < until.loss)
