"""`Method`: a way to learn. Each has a file in `methods/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from backpass.exec.base import Array
from backpass.rivals.problem import Feeds, Problem


class Method(ABC):
    """A way to learn, at work on a problem. It pays for each program it runs; see `Problem`.

    Parameters
    ----------
    problem : Problem
    size : float
        Its step size, whatever that is for it: a learning rate, the length of a trial.
    seed : int
        Of what it draws.

    Attributes
    ----------
    name, title : str
        "one-weight", "one weight at a time".
    rule : str
        What it does, in the notation of the field, in a line.
    right : str
        Where it is the right choice, in a sentence; "" where it never is.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    rule: ClassVar[str]
    right: ClassVar[str] = ""

    def __init__(self, problem: Problem, size: float, seed: int = 0) -> None:
        self.problem, self.size = problem, size
        self.weights = problem.start.copy()
        self.rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x21FA1])))
        self.steps = 0  #: done so far

    @classmethod
    @abstractmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        """The seven step sizes that a race tries, from small to large: a logarithmic grid."""

    @classmethod
    @abstractmethod
    def sentence(cls, problem: Problem) -> str:
        """What one gradient, or one sweep, costs this method on this problem, in plain words."""

    @abstractmethod
    def step(self) -> None:
        """Learn from the next rows: change `weights`."""

    @property
    def finished(self) -> bool:
        """It has nothing left to try."""
        return False


def grid_of_sizes(middle: float) -> tuple[float, ...]:
    """Seven step sizes about one, each about 3.2 times the one before it.

    Examples
    --------
    >>> grid_of_sizes(1.0)
    (0.032, 0.1, 0.32, 1.0, 3.2, 10.0, 32.0)
    """
    return tuple(float(f"{middle * 10 ** (k / 2):.2g}") for k in range(-3, 4))


class Estimator(Method):
    """A method that guesses at the gradient, and goes down along its guess.

    Attributes
    ----------
    draws : bool
        Whether it draws: two estimates from the same weights and rows differ.
    """

    draws: ClassVar[bool] = False

    @abstractmethod
    def estimate(self, rows: Feeds) -> Array:
        """A guess at the gradient of the cost of these rows, shape (N,)."""

    def variance_law(self, rows: Feeds) -> float | None:
        """E|g^ - g|² / |g|² for the present weights, where there is an exact law; None where there is none.

        For what perturbs by a small change, or takes a difference: the limit of ever smaller changes.
        """
        return None

    def step(self) -> None:
        self.weights.flat -= self.size * self.estimate(self.problem.batch(self.steps))
        self.steps += 1


class KeepBetter(Method):
    """A method that asks no derivative: it proposes other weights, and keeps them if they are better."""

    def __init__(self, problem: Problem, size: float, seed: int = 0) -> None:
        super().__init__(problem, size, seed)
        self._rows: Feeds | None = None
        self._here = np.inf  #: the cost of `weights` for these rows

    @abstractmethod
    def propose(self) -> Array:
        """Other weights, shape (N,)."""

    def step(self) -> None:
        rows = self.problem.batch(self.steps)
        if rows is not self._rows:  # a lucky batch must not decide: both are judged on the same rows
            self._rows, self._here = rows, self.problem.cost(self.weights, rows)
        other = self.weights.like(self.propose())
        there = self.problem.cost(other, rows)
        if there < self._here:
            self.weights, self._here = other, there
        self.steps += 1
