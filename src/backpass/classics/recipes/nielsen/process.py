"""Nielsen's program `network2.py` as it ran: Python 2.7 and NumPy of 2015, one process, one seed.

What a second net of the same process is given depends on all that was drawn before it: both generators go on,
and the list of training rows stays as the last epoch left it.

Source: github.com/mnielsen/neural-networks-and-deep-learning, src/network2.py and fig/*.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backpass import SGD, Dense, Network, Run, train
from backpass.classics.keeping import kept
from backpass.classics.measured import Told
from backpass.classics.recipes.mnist import Digits
from backpass.exec.base import Array
from backpass.exec.threads import blas_threads
from backpass.running.loop import Progress
from backpass.training.evaluate import Evaluator

Start = Literal["default", "large"]


class Process:
    """A Python process after ``random.seed(seed); np.random.seed(seed)``.

    Parameters
    ----------
    seed : int
    rows : int
        Length of its list of training rows.
    """

    def __init__(self, seed: int, rows: int) -> None:
        self._normal = np.random.RandomState(seed)
        self._random = random.Random(seed)
        self._rows = list(range(rows))

    def net(self, sizes: Sequence[int], start: Start = "default") -> Network:
        """A net of sigmoids with the next weights that the process draws.

        Biases are from N(0, 1), all layers first. Weights are from N(0, 1) where the start is "large", else
        from N(0, 1 / inputs); his matrices have an output a row.
        """
        biases = [self._normal.randn(n, 1) for n in sizes[1:]]
        weights = [self._normal.randn(n, m) for m, n in pairwise(sizes)]
        if start == "default":
            weights = [W / np.sqrt(m) for W, m in zip(weights, sizes, strict=False)]
        return Network(
            [
                Dense(n, "sigmoid", weights=W.T, bias=b[:, 0])
                for n, W, b in zip(sizes[1:], weights, biases, strict=True)
            ]
        )

    def orders(self, epochs: int) -> NDArray[np.int64]:
        """The rows of the next epochs as ``random.shuffle`` of Python 2.7 leaves them: one list, in place.

        ``random.random`` gives the same numbers in Python 2 and 3 for a whole seed; ``random.shuffle`` does
        not.

        Examples
        --------
        >>> Process(12345678, 5).orders(2).tolist()
        [[1, 4, 0, 2, 3], [4, 1, 3, 0, 2]]
        """
        draw, rows, found = self._random.random, self._rows, []
        for _ in range(epochs):
            for i in range(len(rows) - 1, 0, -1):
                j = int(draw() * (i + 1))
                rows[i], rows[j] = rows[j], rows[i]
            found.append(np.array(rows, np.int64))
        return np.array(found)


@dataclass(frozen=True)
class Plan:
    """How a net learns.

    Attributes
    ----------
    rate : float
        η.
    decay : float
        His λ: the cost has λ / 2n ΣW² besides, n the number of rows.
    batch : int
    executor : {"compiled", "reference"}
    """

    rate: float
    decay: float = 0.0
    batch: int = 10
    executor: Literal["compiled", "reference"] = "compiled"


@dataclass(frozen=True)
class Curves:
    """What his program monitors after each epoch: costs, and how many answers are right.

    Each is an array of shape (epochs,), or None where he did not ask for it.
    """

    held_cost: Array | None = None
    held_right: Array | None = None
    train_cost: Array | None = None
    train_right: Array | None = None


#: His names of them, in the order in which his program returns them.
MONITORED = ("held_cost", "held_right", "train_cost", "train_right")


class Monitor:
    """Costs and right answers on both sets of rows, computed beside the training, in a thread of their own.

    Parameters
    ----------
    wanted : sequence of str
        Of `MONITORED`.
    held : (X, y)
    decay : float
        λ.
    """

    def __init__(self, wanted: Sequence[str], held: Digits, decay: float) -> None:
        self.wanted, self.held, self.decay = wanted, held, decay
        self._worker = ThreadPoolExecutor(1)
        self._found: list[Future[dict[str, float]]] = []

    def begun(self, run: Run) -> None:
        """Take in what is the same after each epoch."""
        x, t = run.rows.arrays["x"], run.rows.arrays["t"]
        self._parts = {"train": (x, t)}
        self._parts["held"] = (self.held[0].astype(x.dtype), np.eye(t.shape[1], dtype=t.dtype)[self.held[1]])
        self._evaluator = Evaluator(run.graph, run.record.prediction, "classification")
        self._evaluator.threads = 1  # another core trains meanwhile

    def on_epoch(self, progress: Progress) -> None:
        """Have the values after an epoch measured."""
        self._found.append(self._worker.submit(self._measure, dict(progress.values)))

    def _measure(self, values: dict[str, Array]) -> dict[str, float]:
        found, squares = {}, sum(float(np.sum(W * W)) for W in values.values() if W.ndim == 2)
        for part, (x, t) in self._parts.items():
            if any(name.startswith(part) for name in self.wanted):
                seen = self._evaluator.metrics(values, x, t)
                found[f"{part}_cost"] = seen["loss"] + 0.5 * (self.decay / len(x)) * squares
                found[f"{part}_right"] = round(seen["accuracy"] * len(x))
        return found

    def curves(self) -> Curves:
        """What was measured, once it is."""
        rows = [future.result() for future in self._found]
        return Curves(**{name: np.array([row[name] for row in rows]) for name in self.wanted})

    def close(self) -> None:
        """Measure nothing more."""
        self._worker.shutdown(cancel_futures=True)


def learn(
    net: Network,
    rows: Digits,
    held: Digits,
    orders: NDArray[np.int64],
    plan: Plan,
    wanted: Sequence[str] = MONITORED,
    told: Told = lambda share, words: None,
    name: str = "run",
) -> tuple[Curves, Run]:
    """Train a net in float64 with cross-entropy, each epoch in its given order, and monitor it.

    Parameters
    ----------
    net : Network
    rows, held : (X, y)
        What it learns; what it is tested on.
    orders : ndarray of int64, shape (epochs, n)
    plan : Plan
    wanted : sequence of str
        Of `MONITORED`.
    told : Told
    name : str
        What the run is called where it is kept.

    Returns
    -------
    Curves
        What `wanted` names, after each epoch.
    Run
    """
    monitor = Monitor(wanted, held, plan.decay)
    try:
        run = trained(net, rows, orders, plan, monitor, monitor.begun, told, name)
        return monitor.curves(), run
    finally:
        monitor.close()


def trained(
    net: Network,
    rows: Digits,
    orders: NDArray[np.int64],
    plan: Plan,
    after_epoch: Any,
    begun: Callable[[Run], None] | None = None,
    told: Told = lambda share, words: None,
    name: str = "run",
) -> Run:
    """Train a net as `learn` does; `after_epoch` is a callback, see `backpass.train`."""

    def progress(now: Progress) -> None:
        told(now.step / now.steps, f"epoch {now.epoch:,} of {now.epochs:,}")

    with blas_threads(1):  # products this small gain nothing from a second thread
        return train(
            net, rows, loss="cross_entropy", optimizer=SGD(plan.rate, decay=plan.decay / len(rows[0])),
            batch=plan.batch, epochs=len(orders), order=orders, dtype="f64", executor=plan.executor,
            callbacks=[after_epoch], begun=begun, progress=progress, out=kept(name),
        )  # fmt: skip
