"""The tasks of a race, from nine weights to 79,510."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backpass.data import Dataset, fit_preparation, load, split
from backpass.errors import UsageError, nearest
from backpass.exec.base import Array
from backpass.nn import Dense, Network
from backpass.rivals.task import Task

#: MNIST is cut to as many rows, so that a look at the cost over all of them stays short.
_MNIST_ROWS, _MNIST_TEST = 3000, 2000


@dataclass(frozen=True)
class _Plan:
    """How a task is made of a data set, and what a race of it is given when it is told nothing.

    Attributes
    ----------
    words : str
    hidden : int
        Units of the one hidden layer, tanh.
    goal : float
    batch : int or None
        None: all rows.
    held : float
        The share of rows that are not learned from.
    passes : float
        The budget of each method.
    seed : int
        One with which backpropagation reaches the goal: the first, from 0, unless `searched` says why not.
    searched : str
        What other seeds do, in words, where the seed had to be searched for.
    """

    words: str
    hidden: int
    goal: float
    passes: float
    batch: int | None = None
    held: float = 0.0
    seed: int = 0
    searched: str = ""


# Counted with the usual budget, over the seeds 0 to 11.
_PARITY = "of the seeds 0 to 11 it is the only one with which backpropagation gets there"
_COMPANY = "with 2 of the seeds 0 to 11, which include 0, backpropagation does not get there"

_PLANS = {
    "xor": _Plan("is exactly one of two inputs 1?", 2, 0.05, 35_000),
    "parity-4": _Plan(
        "is the number of ones among four inputs odd?", 4, 0.05, 140_000, seed=11, searched=_PARITY
    ),
    "iris": _Plan("which of three species is the iris?", 8, 0.1, 70_000, held=0.3),
    "digits": _Plan("which digit is on 8 x 8 pixels?", 32, 0.1, 70_000, batch=50, held=0.2),
    "company": _Plan(
        "do all three managers consent, and so the CEO?", 3, 0.1, 70_000, seed=3, searched=_COMPANY
    ),
    "mnist": _Plan("which digit is on 28 x 28 pixels?", 100, 0.3, 7_000, batch=100),
}

TASKS = tuple(_PLANS)


def task_named(name: str, seed: int | None = None, folder: Callable[[str], Path] | None = None) -> Task:
    """The task of that name.

    Parameters
    ----------
    name : str
    seed : int, optional
        Of the start and of the order of rows; the task's own if left out.
    folder : callable, optional
        From "mnist" to the folder that holds it.

    Raises
    ------
    UsageError
        There is none; the message offers the nearest.

    Examples
    --------
    >>> task = task_named("xor")
    >>> task.x.shape, task.t.shape
    ((4, 2), (4, 1))
    """
    if name not in _PLANS:
        raise UsageError(f"there is no task {name!r}. {nearest(name, TASKS)}")
    plan = _PLANS[name]
    seed = plan.seed if seed is None else seed
    test: tuple[Array, Array] | None
    if name == "mnist":
        if folder is None:
            raise UsageError("mnist does not come with backpass: say in which folder it is.")
        rows, test = _mnist(folder("mnist"))
    else:
        rows, test = _bundled(name, plan.held, seed)
    x, t = rows
    outputs = t.shape[1]
    last = Dense(1, "sigmoid") if outputs == 1 else Dense(outputs, "softmax")
    shape = f"{x.shape[1]}-{plan.hidden}-{outputs}"
    return Task(
        name=name,
        words=f"{name}: {plan.words} {len(x):,} rows, a {shape} net",
        network=Network([Dense(plan.hidden, "tanh"), last]),
        loss="cross_entropy",
        x=x,
        t=t,
        batch=plan.batch or len(x),
        goal=plan.goal,
        test=test,
        seed=seed,
    )


def searched_seed(name: str, seed: int) -> str:
    """What other seeds do, where a task's own seed had to be searched for and is the one given; else "".

    Examples
    --------
    >>> searched_seed("company", 3)
    'with 2 of the seeds 0 to 11, which include 0, backpropagation does not get there'
    >>> searched_seed("company", 4), searched_seed("xor", 0)
    ('', '')
    """
    plan = _PLANS.get(name)
    return plan.searched if plan is not None and seed == plan.seed else ""


def usual_passes(name: str) -> float:
    """The budget of each method, in passes, where a person names none."""
    return _PLANS[name].passes


def _bundled(name: str, held: float, seed: int) -> tuple[tuple[Array, Array], tuple[Array, Array] | None]:
    """Rows to learn from and to test on; what prepares them is fitted on the former."""
    data = load(name)
    train, _, test = split(data.y, test=held, seed=seed) if held else (np.arange(len(data)), None, None)
    prepared = fit_preparation(data, train)
    raw = data.X if data.table is None else data.table
    x, t = prepared.inputs(raw), _targets(prepared.targets(data))
    return (x[train], t[train]), None if test is None else (x[test], t[test])


def _mnist(folder: Path) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The first rows of both parts."""
    data = load(folder)
    assert data.test is not None, f"{folder} has no test part"
    return _some(data, _MNIST_ROWS), _some(data.test, _MNIST_TEST)


def _some(data: Dataset, rows: int) -> tuple[Array, Array]:
    few = replace(data, X=np.asarray(data.X[:rows]), y=data.y[:rows], validation=None, test=None)
    prepared = fit_preparation(few)
    return prepared.inputs(few.X), prepared.targets(few)


def _targets(hot: Array) -> Array:
    """Two classes are one output: 1 for the second."""
    return np.ascontiguousarray(hot[:, 1:]) if hot.shape[1] == 2 else hot
