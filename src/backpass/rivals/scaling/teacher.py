"""One task in many sizes: a linear layer learns what a fixed random one does, so that only N changes."""

from __future__ import annotations

import numpy as np

from backpass.nn import Dense, Network
from backpass.rivals.task import Task

#: Inputs, and as many outputs: 9 to 1,024 weights, each size about three times the one before it.
WIDTHS = (3, 5, 10, 18, 32)
#: Rows for each input: with so many the curvatures spread alike (from 0.25 to 2.25) at every width.
_ROWS = 4


def linear(width: int, seed: int = 0) -> Task:
    """A teacher of random weights, and a student that starts at zero.

    The rows are drawn from N(0, I), the teacher's weights from N(0, 1 / inputs), and all rows are one batch.
    The cost is a quadratic function of the student's weights, whose curvatures are, in the limit of many
    inputs, spread alike at every width (Marchenko & Pastur 1967). This is the setting in which Werfel, Xie
    and Seung (2005) worked out how weight and node perturbation slow down; theirs had one row at a time.

    Parameters
    ----------
    width : int
        Inputs, and outputs: N is its square, and M the width itself.
    seed : int
        Of the teacher and of the rows.

    Examples
    --------
    >>> task = linear(10)
    >>> task.x.shape, task.t.shape, task.batch
    ((40, 10), (40, 10), 40)
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, width, 0x7EAC])))
    x = rng.standard_normal((_ROWS * width, width))
    teacher = rng.standard_normal((width, width)) / np.sqrt(width)
    return Task(
        name=f"linear-{width}",
        words=f"linear-{width}: what does a random linear layer answer?",
        network=Network([Dense(width, init="zeros", use_bias=False)]),
        loss="squared_error",
        x=x,
        t=x @ teacher,
        batch=len(x),
        goal=0.0,
        seed=seed,
    )
