"""When a run ends before its last epoch, and what is said about one that gets worse."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError, nearest
from backpass.training.schedules import check, check_count

#: Metrics of which less is better; of all others, more is.
LESS_IS_BETTER = frozenset(
    {"cost", "loss", "log_loss", "mae", "mse", "rmse", "brier", "hamming_loss", "median_absolute_error"}
)
_GROWN = 10.0  # times the cost of the first step


@dataclass(frozen=True)
class EarlyStopping:
    """End a run when a metric has stopped getting better. Prechelt, Early stopping — but when? (1998).

    Parameters
    ----------
    patience : int
        Epochs without a new best, after which the run ends.
    metric : str
        A metric of the validation rows, or "cost", the mean cost of an epoch's training steps.
    min_delta : float
        By how much a value must be better to be a new best.
    keep_best : bool
        Whether the result is the weights of the best epoch, and not the last ones.

    Examples
    --------
    >>> EarlyStopping(patience=5, metric="accuracy").describe()["metric"]
    'accuracy'
    """

    patience: int = 10
    metric: str = "loss"
    min_delta: float = 0.0
    keep_best: bool = True

    def __post_init__(self) -> None:
        check_count("patience", self.patience)
        check("min_delta", self.min_delta, 0.0)
        if not isinstance(self.metric, str):
            raise UsageError(f"metric is the name of a metric, such as 'loss', got {self.metric!r}")

    def describe(self) -> dict[str, Any]:
        """The rule as plain data."""
        return dataclasses.asdict(self)


class Best:
    """The best value of a metric so far, and how long ago it was.

    Parameters
    ----------
    metric : str
    min_delta : float
    """

    def __init__(self, metric: str, min_delta: float) -> None:
        self.metric, self.min_delta = metric, min_delta
        self.column = metric if metric == "cost" else f"validation_{metric}"
        self.sign = -1.0 if metric in LESS_IS_BETTER else 1.0
        self.value = -np.inf  # with the sign turned so that more is better
        self.epoch = 0.0

    def see(self, row: Mapping[str, float]) -> bool:
        """Look at an epoch's row of the history; whether it is a new best."""
        found = self.sign * row[self.column]
        better = bool(found > self.value + self.min_delta if np.isfinite(self.value) else found > self.value)
        if better:
            self.value, self.epoch = found, row["epoch"]
        return better

    def waited(self, row: Mapping[str, float]) -> float:
        """Epochs since the best one."""
        return row["epoch"] - self.epoch


def check_metric(metric: str, known: Mapping[str, float] | None, who: str) -> None:
    """Refuse a metric that the validation will not give, before the run begins."""
    if metric == "cost":
        return
    if known is None:
        raise UsageError(
            f"{who} looks at the validation {metric}, and there are no validation rows\n"
            "  Hold some out with validation=0.2, or look at the training cost with metric='cost'."
        )
    if metric not in known:
        raise UsageError(
            f"{who} looks at the metric {metric!r}, which there is not. {nearest(metric, [*known, 'cost'])}"
        )


def divergence_note(costs: NDArray[np.float64], steps_of_epoch: int) -> str:
    """What to say of a run whose cost stays far above its start, though it is finite; "" if it does not.

    A learning rate far too large for Adam, or for units that saturate, ends in no overflow: only in a cost
    that never comes back.
    """
    long = max(20, steps_of_epoch)
    if len(costs) < long or not costs[0] > 0:
        return ""
    low = np.flatnonzero(~(costs > _GROWN * costs[0]))
    borders = np.concatenate([[-1], low, [len(costs)]])
    stretch = int(np.argmax(np.diff(borders)))
    first, last = int(borders[stretch]) + 1, int(borders[stretch + 1]) - 1
    if last - first + 1 < long:
        return ""
    until = "to the end" if last == len(costs) - 1 else f"to step {last + 1:,}"
    return (
        f"from step {first + 1:,} {until} the cost was more than {_GROWN:g} times that of step 1 "
        f"({np.mean(costs[first : last + 1]):.3g} on the mean, {costs[0]:.3g} at step 1): the learning rate "
        "is probably too large"
    )
