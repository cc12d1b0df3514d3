"""The sums of a run's ledger, by example, step, class or epoch, as they grow from its end to its start."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.explain.updates.ledger import Replayed, Stretch
from backpass.explain.updates.plan import Plan
from backpass.explain.updates.series import Floats
from backpass.explain.updates.shares import is_coupled, second_route
from backpass.record.looking import feeds_of
from backpass.record.replay import Replay
from backpass.training.evaluate import classes_of

Indices: TypeAlias = NDArray[np.int64]

#: By what a run's ledger can be grouped, and what one of each is called.
BY = {"example": "row", "row": "row", "class": "class", "step": "step", "epoch": "epoch"}
_POINTS = 400  # of the curve of the weight
_CHECKED, _CHECKED_ROWS = 3, 32  # steps whose shares take the second route, and rows of each


class Tally:
    """The sums of a ledger under way, from its last stretch to its first."""

    def __init__(self, replay: Replay, made: Plan, by: str, start: int, stop: int) -> None:
        self.replay, self.made, self.by, self.start = replay, made, by, start
        batches, data = replay.record.batches, replay.record.settings.data
        count = {"step": stop - start, "class": len(data.classes), "epoch": batches.epochs}
        self.net = np.zeros(count.get(by, batches.rows))
        self.gross = np.zeros(len(self.net))
        self.classes = classes_of(np.asarray(replay.data["t"])) if by == "class" else None
        self.parts: dict[str, float] = {}
        self.gradients = self.bound = self.gap = 0.0
        self.before = self.after = 0.0
        self.felt: dict[str, float] = {}
        self.compared = self.again = 0
        self.worst = (-1.0, 0.0, 0.0)  # how near to its bound, what is left over, the bound
        self.route = (0.0, 0.0)
        self.evidence: set[str] = set()
        self._paths: list[tuple[Floats, Floats]] = []
        self._routes = _CHECKED if made.sums and not is_coupled(made.graph, made.name) else 0

    def add(self, stretch: Stretch, replayed: Replayed) -> None:
        """Take in a stretch, the one before those that were taken in."""
        groups = self._groups(stretch)
        self.net += np.bincount(groups, stretch.shares, len(self.net))
        self.gross += np.bincount(groups, np.abs(stretch.shares), len(self.net))
        for kind, amounts in stretch.parts.items():
            self.parts[kind] = self.parts.get(kind, 0.0) + float(np.sum(amounts))
        by_step = np.add.reduceat(stretch.shares, stretch.starts[:-1])
        self.gradients += float(np.sum(by_step))
        self.bound += float(np.sum(stretch.bound))
        k = int(np.argmax(np.abs(stretch.rounding) / stretch.bound))
        nearness = float(abs(stretch.rounding[k]) / stretch.bound[k])
        if nearness > self.worst[0]:
            self.worst = nearness, float(stretch.rounding[k]), float(stretch.bound[k])
        if not self._paths:
            self.after = float(stretch.weight[-1])
        self.before, self.felt = float(stretch.weight[0]), stretch.felt
        self._paths.append((stretch.weight, by_step))
        self.compared += replayed.compared
        self.again += replayed.again
        self.gap = max(self.gap, replayed.gap)
        if self._routes:
            self._routes -= 1
            self._check(stretch)

    def _groups(self, stretch: Stretch) -> Indices:
        """Which group each share belongs to."""
        if BY[self.by] in ("row", "class"):
            return stretch.rows if self.classes is None else self.classes[stretch.rows]
        steps = np.arange(stretch.start, stretch.stop)
        if self.by == "epoch":
            steps = self.replay.record.batches.epochs_of(stretch.start, stretch.stop)
        else:
            steps = steps - self.start
        return np.repeat(steps, np.diff(stretch.starts))

    def _check(self, stretch: Stretch) -> None:
        """Take the shares of the first step of a stretch by the second route."""
        record, name, entry = self.replay.record, self.made.name, self.made.entry
        state = self.replay.state(stretch.start)
        feeds = feeds_of(record, self.replay.data, state, stretch.start)
        shares = stretch.gradients[: stretch.starts[1]]
        rows = np.argsort(-np.abs(shares), kind="stable")[:_CHECKED_ROWS].tolist()
        again = second_route(record.step, name, entry, feeds, rows)
        factor = abs(float(stretch.fresh[0])) or 1.0
        gap = factor * float(np.max(np.abs(again - shares[rows]), initial=0.0))
        eps = float(np.finfo(state[name].dtype).eps)
        bound = 256 * eps * (abs(float(stretch.weight[0])) + factor * float(np.sum(np.abs(shares))))
        if not self.route[1] or gap * self.route[1] > self.route[0] * bound:
            self.route = gap, bound

    def curve(self) -> tuple[tuple[int, float, float], ...]:
        """The weight, and what the gradients had added up to, at some of the steps."""
        paths = self._paths[::-1]
        weight = np.concatenate([path[:-1] for path, _ in paths] + [paths[-1][0][-1:]])
        added = np.concatenate([[0.0], np.cumsum(np.concatenate([each for _, each in paths]))])
        at = np.unique(np.linspace(0, len(weight) - 1, _POINTS).astype(np.int64))
        return tuple((self.start + int(k), float(weight[k]), float(added[k])) for k in at)
