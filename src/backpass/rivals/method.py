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
    sizes : tuple of float
        The step sizes that a race tries, a logarithmic grid.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    rule: ClassVar[str]
    right: ClassVar[str] = ""
    sizes: ClassVar[tuple[float, ...]]

    def __init__(self, problem: Problem, size: float, seed: int = 0) -> None:
        self.problem, self.size = problem, size
        self.weights = problem.start.copy()
        self.rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x21FA1])))
        self.steps = 0  #: done so far

    @classmethod
    @abstractmethod
    def sentence(cls, problem: Problem) -> str:
        """What one gradient, or one sweep, costs this method on this problem, in plain words."""

    @abstractmethod
    def step(self) -> None:
        """Learn from the next rows: change `weights`."""


class Estimator(Method):
    """A method that guesses at the gradient, and goes down along its guess."""

    @abstractmethod
    def estimate(self, rows: Feeds) -> Array:
        """A guess at the gradient of the cost of these rows, shape (N,)."""

    def step(self) -> None:
        self.weights.flat -= self.size * self.estimate(self.problem.batch(self.steps))
        self.steps += 1
