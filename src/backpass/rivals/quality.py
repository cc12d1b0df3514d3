"""How good a guess at the gradient is: its angle, its variance, its bias, and what a good one costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backpass.exec.base import Array
from backpass.rivals.method import Estimator
from backpass.rivals.problem import Feeds, Problem, Weights

#: So many standard errors are no proof of a bias.
ERRORS = 4.0


@dataclass(frozen=True)
class Quality:
    """The guesses of a method at the gradient g, for given weights and rows.

    Attributes
    ----------
    method : str
    N, M : int
        Weights, units.
    estimates : int
        How many were made; 1 of a method that does not draw.
    cosine, cosine_sd : float
        The mean cosine of an estimate and g, and its standard deviation.
    norm_ratio : float
        The mean length of an estimate, in lengths of g.
    error : float
        E|g^ - g|² / |g|², the mean squared error of an estimate.
    error_error : float
        Its standard error.
    law : float or None
        What theory says that it is, exactly, where it says so.
    bias : float
        |mean - g| / |g|: of all estimates.
    bias_error : float
        What it would be, root mean square, by chance alone: its standard error. 0 of what does not draw.
    passes : float
        What one estimate costs.
    """

    method: str
    N: int
    M: int
    estimates: int
    cosine: float
    cosine_sd: float
    norm_ratio: float
    error: float
    error_error: float
    law: float | None
    bias: float
    bias_error: float
    passes: float

    @property
    def unbiased(self) -> bool:
        """No bias was seen: it is within four standard errors of none."""
        return self.bias <= ERRORS * self.bias_error

    @property
    def variance(self) -> float:
        """E|g^ - E g^|² / |g|²: the part of the error that goes away in the mean of many."""
        return self.estimates * self.bias_error**2

    def estimates_for(self, relative_error: float) -> float:
        """How many estimates have a mean whose error, root mean square, is at most this share of |g|.

        Infinity where their bias alone is larger.
        """
        bias = 0.0 if self.unbiased else self.bias
        room = relative_error**2 - bias**2
        if room <= 0:
            return math.inf
        return float(max(1, math.ceil(self.variance / room)))

    def passes_for(self, relative_error: float) -> float:
        """What a gradient of that relative error costs, in passes."""
        return self.estimates_for(relative_error) * self.passes


def quality(method: Estimator, rows: Feeds | None = None, estimates: int = 1000) -> Quality:
    """Make many estimates of one gradient, and compare them with it.

    Parameters
    ----------
    method : Estimator
        For its present weights, which stay as they are.
    rows : mapping, optional
        ``x`` and ``t``; all rows of the task by default.
    estimates : int
        How many. What does not draw makes one.

    Returns
    -------
    Quality

    Examples
    --------
    >>> from backpass.nn import Dense, Network
    >>> from backpass.rivals.methods import METHODS
    >>> from backpass.rivals.task import Task
    >>> x, t = np.array([[0.5, 1.0], [2.0, -1.0]]), np.array([[1.0], [0.0]])
    >>> net = Network([Dense(2, "tanh"), Dense(1, "sigmoid")])
    >>> problem = Problem(Task("two", "two rows", net, "squared_error", x, t, 2, 0.01))
    >>> found = quality(METHODS["forward-gradient"](problem, 0.1), estimates=2000)
    >>> found.unbiased, found.law, abs(found.error - found.law) < 4 * found.error_error
    (True, 10.0, True)
    """
    problem = method.problem
    rows = problem.all_rows if rows is None else rows
    with problem.meter.off():
        gradient = problem.gradient(method.weights, rows)[1]
    count = estimates if method.draws else 1
    before = problem.meter.passes
    first = method.estimate(rows)
    passes = (problem.meter.passes - before) * problem.rows_of_a_pass / len(rows["x"])
    total = np.zeros_like(gradient)
    cosines, norms, errors = np.empty(count), np.empty(count), np.empty(count)
    with problem.meter.off():
        for k in range(count):
            guess = first if k == 0 else method.estimate(rows)
            total += guess
            norms[k] = np.linalg.norm(guess)
            cosines[k] = cosine(guess, gradient)
            errors[k] = np.sum((guess - gradient) ** 2)
    size = float(gradient @ gradient)
    bias = float(np.sum((total / count - gradient) ** 2)) / size
    error = float(errors.mean()) / size
    # what is left of the error when that of the mean is taken away, without bias by count / (count - 1)
    variance = max(error - bias, 0.0) / (count - 1) if count > 1 else 0.0
    return Quality(
        method=method.name,
        N=problem.N,
        M=problem.M,
        estimates=count,
        cosine=float(cosines.mean()),
        cosine_sd=float(cosines.std()),
        norm_ratio=float(norms.mean()) / math.sqrt(size),
        error=error,
        error_error=float(errors.std(ddof=1)) / size / math.sqrt(count) if count > 1 else 0.0,
        law=method.variance_law(rows),
        bias=math.sqrt(bias),
        bias_error=math.sqrt(variance),
        passes=passes,
    )


def angles(problem: Problem, weights: Weights, backwards: Feeds, rows: Feeds) -> dict[str, float]:
    """The angle between δ as it comes back through other weights and backpropagation's, by layer.

    Parameters
    ----------
    problem, weights, rows
    backwards : mapping of str to ndarray
        ``B2`` and so on.

    Returns
    -------
    dict of str to float
        ``δ1`` and so on, all but the output layer's, which needs no way back: degrees, the mean over rows.
    """
    other, _ = problem.deltas(weights, rows, backwards)
    true, _ = problem.deltas(weights, rows)
    return {name: angle_of_rows(other[name], true[name]) for name in list(true)[:-1]}


def angle_of_rows(some: Array, other: Array) -> float:
    """The angle between the rows of two matrices in degrees, the mean over rows that have a direction.

    Examples
    --------
    >>> round(angle_of_rows(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]])), 6)
    45.0
    """
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(other, axis=1)
    there = lengths > 0
    cosines = (some * other).sum(axis=1)[there] / lengths[there]
    return float(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))).mean())


def cosine(a: Array, b: Array) -> float:
    """Of the angle between two vectors; 0 where one of them has no direction."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
