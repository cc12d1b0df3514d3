"""Training again without some of the rows: what really happens to the loss on an input.

The same start, the same steps in the same order with the same rates; the rows are missing from their batches,
whose mean is then over the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.explain.tracing.follow import checked_rows
from backpass.explain.tracing.inspection import Inspection, loss_gradient
from backpass.record.replay import Replay
from backpass.training.ahead import StreamedLoop

_STRETCH = 1000  # steps of one call


@dataclass(frozen=True)
class Removal:
    """The loss on an input, trained again without the rows that lowered it most.

    Attributes
    ----------
    rows : tuple of int
        The rows that were left out, as they are numbered in the data set.
    loss : float
        Of the run itself.
    predicted : float
        What the loss would change by, were their influence simply missing: minus its sum.
    without : float
        The loss, trained again without them.
    controls : tuple of float
        The losses, trained again without as many rows drawn at random from the others, once each.
    """

    rows: tuple[int, ...]
    loss: float
    predicted: float
    without: float
    controls: tuple[float, ...]

    @property
    def actual(self) -> float:
        """What the loss really changed by."""
        return self.without - self.loss


def loss_without(replay: Replay, rows: NDArray[np.int64], x: Array, t: Array) -> float:
    """The mean loss on given rows after training again without some of the training rows.

    Parameters
    ----------
    replay : Replay
    rows : ndarray of int64
        Places among the training rows, counted from 0.
    x, t : ndarray
        As in `backpass.explain.tracing.follow.follow`.

    Raises
    ------
    UsageError
        No row is left, or the training diverges.
    """
    record, loop = replay.record, replay.loop
    given = checked_rows(record, x, t)
    dropped = np.zeros(record.batches.rows, bool)
    dropped[rows] = True
    if dropped.all():
        raise UsageError(f"without these {len(rows):,} rows there is nothing to train on")
    replay.run_step(0)  # so that it is known where the replay stands, and can be again
    stands = record.state(loop)
    try:
        record.load(loop, record.checkpoints[0])
        done, steps = 0, record.result_step
        while done < steps:
            until = min(done + (1 if isinstance(loop, StreamedLoop) else _STRETCH), steps)
            order, starts = record.batches.span(done, until)
            sizes = np.diff(np.concatenate([[0], np.cumsum(~dropped[order])])[starts])
            ends = np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64)
            numbers = record.numbers(done, until)[sizes > 0]  # a batch of which no row is left is no step
            result = loop.run(order[~dropped[order]], ends, numbers)
            if result.done < len(ends) - 1:
                raise UsageError(
                    f"trained again without {len(rows):,} rows, the run diverges near step "
                    f"{done + result.done + 1:,}"
                )
            done = until
        state = record.state(loop) | record.fixed
    finally:
        record.load(loop, stands)
    loss = Inspection(loss_gradient(record.predict_graph, {}))
    return float(loss(state | given)["mean_loss"])


def verified(
    replay: Replay,
    numbers: NDArray[np.int64],
    influence: NDArray[np.float64],
    x: Array,
    t: Array,
    count: int,
    *,
    loss: float,
    controls: int = 3,
    seed: int = 0,
) -> Removal:
    """Train again without the rows that lowered the loss most, and without as many others.

    Parameters
    ----------
    replay : Replay
    numbers : ndarray of int64
        The number in the data set of each training row.
    influence : ndarray, shape (n,)
        Of each training row, negative where it lowered the loss.
    x, t : ndarray
        The input, as in `follow`.
    count : int
        How many rows are left out.
    loss : float
        On the input, of the run itself.
    controls : int
        How often as many others are left out.
    seed : int
        Of the drawing of these.

    Raises
    ------
    UsageError
        There are not so many rows, or not so many others.
    """
    used = replay.record.batches.rows
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= used // 2:
        raise UsageError(
            f"so many rows can be left out, and as many others to compare: 1 to {used // 2:,} of the "
            f"{used:,} training rows; got {count!r}"
        )
    order = np.argsort(influence, kind="stable")
    top, others = order[:count], order[count:]
    rng = np.random.default_rng(seed)
    drawn = [np.sort(rng.choice(others, int(count), replace=False)) for _ in range(controls)]
    return Removal(
        rows=tuple(int(numbers[r]) for r in top),
        loss=loss,
        predicted=-float(np.sum(influence[top])),
        without=loss_without(replay, top, x, t),
        controls=tuple(loss_without(replay, rows, x, t) for rows in drawn),
    )
