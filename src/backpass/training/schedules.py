"""Schedules: the learning rate of each step, as a pure function of the plan of a run and its events.

The learning rate is an input of the step's program, one value a step, so a schedule costs no compiling. A
schedule that looks at how well the run does (`OnPlateau`) decides while the run goes; each decision is
written into the record as an event, so that a replay need not decide again.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError, nearest

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class When:
    """The steps that values are asked for, and what a schedule may know about them.

    Attributes
    ----------
    step, epoch : ndarray of int64
        Of each of them, counted from 0.
    steps : int
        Planned for the whole run.
    events : tuple of (int, float)
        From which step on (counted from 0) the rate was multiplied by what.
    """

    step: NDArray[np.int64]
    epoch: NDArray[np.int64]
    steps: int
    events: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Schedule:
    """What all schedules share.

    Parameters
    ----------
    lr : float
        The learning rate to start from.
    """

    lr: float = 0.1

    def __post_init__(self) -> None:
        check("lr", self.lr, 0.0)

    def values(self, when: When) -> Floats:
        """The learning rate at each step, in float64."""
        raise NotImplementedError

    @property
    def plateau(self) -> OnPlateau | None:
        """The part of the schedule that looks at how well the run does, if there is one."""
        return None

    def describe(self) -> dict[str, Any]:
        """The schedule as plain data."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {k: v.describe() if isinstance(v, Schedule) else v for k, v in found.items()}
        return {"name": NAMES[type(self)], **plain}

    @staticmethod
    def from_description(description: dict[str, Any]) -> Schedule:
        """The schedule that `describe` described."""
        given = dict(description)
        name = str(given.pop("name", None))
        kinds = {word: kind for kind, word in NAMES.items()}
        if name not in kinds:
            raise UsageError(f"there is no schedule {name!r}. {nearest(name, kinds)}")
        known = {f.name for f in dataclasses.fields(kinds[name])}
        if not given.keys() <= known:
            raise UsageError(f"the schedule {name!r} has no setting {sorted(given.keys() - known)}")
        if isinstance(given.get("around"), dict):
            given["around"] = Schedule.from_description(given["around"])
        return kinds[name](**given)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate at every step.

    Examples
    --------
    >>> rates(Constant(0.5), 3).tolist()
    [0.5, 0.5, 0.5]
    """

    def values(self, when: When) -> Floats:
        return np.full(len(when.step), float(self.lr))


@dataclass(frozen=True)
class Step(Schedule):
    """η = lr · factor^⌊epoch / every⌋: a drop after every so many epochs.

    Parameters
    ----------
    lr : float
    factor : float
        What the rate is multiplied by, in (0, 1].
    every : int
        Epochs from drop to drop.

    Examples
    --------
    >>> rates(Step(1.0, factor=0.5, every=2), 4).tolist()
    [1.0, 1.0, 0.5, 0.5]
    """

    factor: float = 0.1
    every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_factor(self.factor)
        check_count("every", self.every)

    def values(self, when: When) -> Floats:
        return self.lr * np.power(float(self.factor), when.epoch // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """η = lr · factor^epoch: a drop after each epoch.

    Examples
    --------
    >>> rates(Exponential(1.0, factor=0.5), 3).tolist()
    [1.0, 0.5, 0.25]
    """

    factor: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_factor(self.factor)

    def values(self, when: When) -> Floats:
        return self.lr * np.power(float(self.factor), when.epoch)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine over all planned steps S: η = low + (lr − low) (1 + cos(π s / S)) / 2, s from 0. [1]_

    Parameters
    ----------
    lr, low : float
        The rate at the start, and towards the end.

    References
    ----------
    .. [1] Loshchilov & Hutter, SGDR, ICLR 2017, eq. 5, without restarts.

    Examples
    --------
    >>> rates(Cosine(1.0), 4).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146]
    """

    low: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("low", self.low, 0.0)

    def values(self, when: When) -> Floats:
        turned = 1 + np.cos(np.pi * when.step / max(when.steps, 1))
        return np.asarray(self.low + (self.lr - self.low) * turned / 2, dtype=np.float64)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """η = lr / s^power, with the step s counted from 1. [1]_

    A power in (½, 1] meets the conditions of stochastic approximation: the rates add up to infinity, their
    squares do not.

    References
    ----------
    .. [1] Robbins & Monro, A stochastic approximation method, Ann. Math. Stat. 22 (1951).

    Examples
    --------
    >>> rates(InverseScaling(1.0, power=0.5), 4).round(3).tolist()
    [1.0, 0.707, 0.577, 0.5]
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check("power", self.power, 0.0)

    def values(self, when: When) -> Floats:
        return np.asarray(self.lr / np.power(when.step + 1.0, float(self.power)), dtype=np.float64)


@dataclass(frozen=True)
class OnPlateau(Schedule):
    """A drop when a metric has stopped getting better.

    Parameters
    ----------
    lr : float
    factor : float
        What the rate is multiplied by, in (0, 1].
    patience : int
        Epochs without a new best, after which the rate drops. The count then starts anew.
    metric : str
        A metric of the validation rows, or "cost", the mean cost of an epoch's steps.
    min_delta : float
        By how much a value must be better to be a new best.
    low : float
        The rate never drops below it.

    Examples
    --------
    >>> rates(OnPlateau(1.0), 4, events=[(2, 0.1)]).tolist()
    [1.0, 1.0, 0.1, 0.1]
    """

    factor: float = 0.1
    patience: int = 10
    metric: str = "loss"
    min_delta: float = 0.0
    low: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_factor(self.factor)
        check_count("patience", self.patience)
        check("min_delta", self.min_delta, 0.0)
        check("low", self.low, 0.0)

    @property
    def plateau(self) -> OnPlateau | None:
        return self

    def values(self, when: When) -> Floats:
        found = np.full(len(when.step), float(self.lr))
        for first, factor in when.events:
            found[when.step >= first] *= factor
        return np.asarray(np.maximum(found, min(self.low, self.lr)), dtype=np.float64)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Another schedule, reached in a straight line: times s / steps over the first steps, s from 1. [1]_

    Parameters
    ----------
    around : Schedule or float
        The schedule to warm up to.
    steps : int
        How many steps it takes.

    References
    ----------
    .. [1] Goyal et al., Accurate, large minibatch SGD (2017), section 2.2, gradual warm-up.

    Examples
    --------
    >>> rates(WarmUp(1.0, steps=4), 6).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    lr: float = dataclasses.field(default=0.0, init=False, repr=False)
    around: Schedule | float = 0.1
    steps: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "around", as_schedule(self.around))
        object.__setattr__(self, "lr", as_schedule(self.around).lr)
        check_count("steps", self.steps)

    @property
    def plateau(self) -> OnPlateau | None:
        return as_schedule(self.around).plateau

    def values(self, when: When) -> Floats:
        return as_schedule(self.around).values(when) * np.minimum(1.0, (when.step + 1) / self.steps)

    def describe(self) -> dict[str, Any]:
        return {"name": "warm_up", "around": as_schedule(self.around).describe(), "steps": self.steps}


#: How each schedule is called in files.
NAMES: dict[type[Schedule], str] = {
    Constant: "constant",
    Step: "step",
    Exponential: "exponential",
    Cosine: "cosine",
    InverseScaling: "inverse_scaling",
    OnPlateau: "on_plateau",
    WarmUp: "warm_up",
}


def as_schedule(lr: float | Schedule) -> Schedule:
    """A number as the schedule that always gives it."""
    return lr if isinstance(lr, Schedule) else Constant(lr)


def rates(
    schedule: Schedule, steps: int, *, epoch: int = 1, events: list[tuple[int, float]] | None = None
) -> Floats:
    """The learning rates of a run of `steps` steps, for a look at a schedule.

    Parameters
    ----------
    schedule : Schedule
    steps : int
    epoch : int
        Steps of an epoch.
    events : list of (int, float), optional
        See `When`.

    Returns
    -------
    ndarray of float64, shape (steps,)
    """
    step = np.arange(steps)
    return schedule.values(When(step, step // epoch, steps, tuple(events or ())))


def check(name: str, value: float, low: float, high: float = math.inf, *, open: bool = False) -> None:
    """Refuse what is not a number in [low, high), or in (low, high) if `open`."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not low <= value < high or (open and value == low):
        bounds = f"{'above' if open else 'at least'} {low:g}" + (
            "" if math.isinf(high) else f" and below {high:g}"
        )
        raise UsageError(f"{name} must be a number, {bounds}; got {value!r}")


def check_count(name: str, value: int) -> None:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")


def _check_factor(value: float) -> None:
    check("factor", value, 0.0, open=True)
    if value > 1:
        raise UsageError(f"factor must be at most 1, so that the learning rate falls; got {value!r}")
