"""A task of a race: a net and the rows that it is to learn."""

from __future__ import annotations

from dataclasses import dataclass

from backpass.exec.base import Array
from backpass.nn import Network


@dataclass(frozen=True, eq=False)
class Task:
    """A net of dense layers in sequence, and rows. All numbers are float64.

    Attributes
    ----------
    name, words : str
        "xor", and what it is in a sentence.
    network : Network
    loss : str
    x, t : ndarray, shape (rows, inputs) and (rows, outputs)
        Rows to learn from.
    batch : int
        Rows of a step; all of them makes every pass a pass over the data.
    goal : float
        The cost over all rows at which the task counts as learned.
    test : (x, t), optional
        Rows that are not learned from.
    seed : int
        Of the start and of the order of rows.
    """

    name: str
    words: str
    network: Network
    loss: str
    x: Array
    t: Array
    batch: int
    goal: float
    test: tuple[Array, Array] | None = None
    seed: int = 0
