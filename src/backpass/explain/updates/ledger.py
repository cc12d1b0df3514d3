"""The ledger of one weight over many steps: what each example, penalty and decay of each step did to it.

In every step the weight, and each slot that the optimiser carries for it, is a sum of terms: the gradient, a
carried slot, the weight itself, each times a factor (`terms`). So a step's gradient acts twice: on the weight
at once, and through the slot S on all later steps. With ``W_{k+1} = W_k + h_k S_k + f_k g_k + ...`` and
``S_{k+1} = m_k S_k + s_k g_k + ...`` what g_k is multiplied by in the weight at the end is

    c_k = f_k + λ_{k+1} s_k        with        λ_k = h_k + m_k λ_{k+1},  λ at the end = 0

which one recursion from the end gives for all steps. A divisor, such as the root of Adam's mean square, is
taken as it was in its step: the ledger says what each example added along the way that the run took.

A run is gone through from its end, from checkpoint to checkpoint; each step is computed once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.explain.updates.plan import Plan, moves, plan, row_shares, scale
from backpass.explain.updates.series import Floats, Series
from backpass.record.replay import Replay

Indices: TypeAlias = NDArray[np.int64]

#: Rows of a stretch, times the columns that are kept of each: eight bytes apiece.
_MOST = 1 << 24


@dataclass(frozen=True, eq=False)
class Stretch:
    """What some steps did to a weight, as it is at the end of the ledger.

    Attributes
    ----------
    start, stop : int
        The steps ``start <= s < stop``, counted from 0.
    rows, starts : ndarray of int64
        The training rows of the steps, and where those of each begin. Where the gradient is no sum over rows,
        `rows` is empty, and there is one share a step.
    shares : ndarray of float64
        What each row of each step did.
    gradients : ndarray of float64
        Each row's part of the gradient itself.
    fresh : ndarray of float64, shape (steps,)
        What the gradient of each step is multiplied by at once, without what is carried on.
    parts : dict of str to ndarray, shape (steps,)
        What else each step did: "penalty", "decay", "clipping".
    rounding, bound : ndarray of float64, shape (steps,)
        What the parts of each step leave over, and the most that floating point can.
    weight : ndarray of float64, shape (steps + 1,)
        The weight before the first step, and after each.
    felt : dict of str to float
        What each slot as it was before the stretch is multiplied by in the weight at the end.
    """

    start: int
    stop: int
    rows: Indices
    starts: Indices
    shares: Floats
    gradients: Floats
    fresh: Floats
    parts: dict[str, Floats]
    rounding: Floats
    bound: Floats
    weight: Floats
    felt: dict[str, float]


def account(made: Plan, series: Series, felt: Mapping[str, float], of_weight: bool = True) -> Stretch:
    """The ledger of a stretch.

    Parameters
    ----------
    made : Plan
    series : Series
    felt : mapping of str to float
        What each slot as it is after the stretch is multiplied by in what is explained.
    of_weight : bool
        Whether the weight is explained, or the slots alone.
    """
    steps = len(series.sizes)
    starts = series.starts if made.sums else np.arange(steps + 1, dtype=np.int64)
    shares, penalty = _gradient(made, series)
    gradient = np.add.reduceat(shares, starts[:-1])
    gross = np.add.reduceat(np.abs(shares), starts[:-1])
    if made.sums:
        series.supply(made.gradient, gradient + penalty)
    all_moves = {key: moves(made, key, series) for key in made.terms}
    dtype = made.graph.inputs[made.name].array_type.numpy_dtype
    eps, least = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_subnormal)
    values = {key: _path(made, key, series) for key in made.terms}
    count = np.diff(starts) + 3.0

    coefficient: dict[str, Floats] = {}  # of each value after each step, in what is explained
    begin: dict[str, float] = {}
    zeros = np.zeros(steps)
    for slot in made.slots:
        direct = all_moves[made.name].carried.get(slot, zeros) if of_weight else zeros
        path = recursion(all_moves[slot].carried.get(slot, zeros), direct, felt.get(slot, 0.0))
        begin[slot], coefficient[slot] = float(path[0]), path[1:]
    if of_weight:
        coefficient = {made.name: np.ones(steps), **coefficient}

    c, parts = zeros, {"penalty": zeros, "decay": zeros, "clipping": zeros}
    rounding, bound = zeros, zeros
    weight = values[made.name][:-1]
    for key, of_key in coefficient.items():
        m = all_moves[key]
        carried = [m.carried[slot] * values[slot][:-1] for slot in m.carried]
        amounts = [m.fresh * gradient, m.fresh * penalty, m.decay * weight, m.clipping, *carried]
        change = np.diff(values[key]) if key == made.name else values[key][1:]
        size = np.abs(values[key][:-1]) + np.abs(m.fresh) * gross + sum(map(np.abs, amounts[1:]))
        rounding = rounding + of_key * (change - sum(amounts))
        limit = eps * size + least * (1.0 + np.abs(m.fresh))
        bound = bound + np.abs(of_key) * 4 * (count + len(m.carried)) * limit
        c = c + of_key * m.fresh
        for name, amount in zip(parts, amounts[1:4], strict=True):
            parts[name] = parts[name] + of_key * amount
    return Stretch(
        start=series.start,
        stop=series.stop,
        rows=series.rows if made.sums else np.zeros(0, np.int64),
        starts=starts,
        shares=np.repeat(c, np.diff(starts)) * shares,
        gradients=shares,
        fresh=all_moves[made.name].fresh,
        parts={name: amount for name, amount in parts.items() if np.any(amount)},
        rounding=rounding,
        bound=bound,
        weight=values[made.name],
        felt=begin,
    )


def _gradient(made: Plan, series: Series) -> tuple[Floats, Floats]:
    """The parts of the gradient by row, and what penalties add to it in each step."""
    steps = len(series.sizes)
    if not made.sums:
        return series.number(made.gradient, made.entry), np.zeros(steps)
    penalty = np.zeros(steps)
    for scaled in made.penalties:
        penalty = penalty + scale(scaled, series) * series.number(scaled.value, made.entry)
    return row_shares(made, series), penalty


def _path(made: Plan, key: str, series: Series) -> Floats:
    """A held value before the first step, and after each."""
    new = next(made.graph.outputs[new] for new, old in made.graph.carry.items() if old == key)
    first = series.before[key][made.entry].astype(np.float64)
    return np.concatenate([[first], series.number(new, made.entry)])


def recursion(kept: Floats, direct: Floats, end: float) -> Floats:
    """λ_k = direct_k + kept_k λ_{k+1} from the end: shape (steps + 1,), the last is `end`.

    Examples
    --------
    >>> recursion(np.array([0.5, 0.5]), np.array([1.0, 1.0]), 0.0)
    array([1.5, 1. , 0. ])
    """
    pairs = zip(reversed(kept.tolist()), reversed(direct.tolist()), strict=True)
    found = itertools.accumulate(pairs, lambda after, pair: pair[1] + pair[0] * after, initial=end)
    return np.array(list(found)[::-1])


class Replayed(NamedTuple):
    """How a stretch was replayed.

    Attributes
    ----------
    compared : bool
        Whether it ended at a checkpoint, and was compared with it.
    again : bool
        Whether the kernel that keeps numbers on the way was not equal to the run bit for bit, so that the
        steps were taken one by one.
    gap : float
        The largest difference that is left; 0.0 where all bits are equal.
    """

    compared: bool
    again: bool
    gap: float


def stretches(replay: Replay, made: Plan, start: int, stop: int) -> Iterator[tuple[Stretch, Replayed]]:
    """The ledger of the steps ``start <= s < stop`` (counted from 0), from the last stretch to the first."""
    reading = made.reading(replay)
    columns = 1 + sum(len(tap.index) < len(tap.node.shape) for tap in (*reading.taps, *reading.slow))
    most = max(1, _MOST // (columns * replay.record.batches.batch))
    felt: Mapping[str, float] = {}
    marks = set(replay.record.checkpoints)
    for first, last in _cuts(sorted(marks), start, stop, most):
        series = Series(reading, replay, first, last)
        compared = last in marks and replay.record.has(last)
        gap = _gap(replay, last) if compared else 0.0
        again = gap > 0
        if again:  # then the run's own kernel, which keeps nothing on the way
            series = Series(reading, replay, first, last, stepwise=True)
            gap = _gap(replay, last)
        found = account(made, series, felt)
        felt = found.felt
        yield found, Replayed(compared, again, gap)


def _cuts(marks: Sequence[int], start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """Stretches, the last first: from checkpoint to checkpoint, shorter where those are far apart."""
    inside = [start, *(m for m in marks if start < m < stop), stop]
    for first, last in reversed(list(itertools.pairwise(inside))):
        cuts = [*range(first, last, most), last]
        yield from reversed(list(itertools.pairwise(cuts)))


def _gap(replay: Replay, done: int) -> float:
    """The largest difference between the state that the loop has come to and the checkpoint."""
    expected, found = replay.record.checkpoints[done], replay.record.state(replay.loop)
    gaps = [0.0]
    for name, array in expected.items():
        if found[name].tobytes() != array.tobytes():
            apart = np.abs(found[name].astype(np.float64) - array.astype(np.float64))
            gaps.append(max(float(np.max(apart)), 5e-324))  # 0.0 and -0.0 differ too
    return max(gaps)


@dataclass(frozen=True, eq=False)
class CarriedBack:
    """A carried slot, taken apart into the examples of the steps that it comes from.

    Attributes
    ----------
    steps, rows : ndarray of int64
        The step (counted from 1) and the training row of each share.
    shares : ndarray of float64
    beside : float
        What penalties, decay and clipping of those steps contributed.
    rest : float
        What comes from still earlier steps.
    """

    steps: Indices
    rows: Indices
    shares: Floats
    beside: float
    rest: float


def carried_back(
    replay: Replay,
    name: str,
    entry: tuple[int, ...],
    step: int,
    slot: str,
    outer: float = 1.0,
    named: float = 0.99,
    furthest: int = 1000,
) -> CarriedBack:
    """Trace what a slot holds before a step back to the examples of earlier steps.

    Parameters
    ----------
    replay : Replay
    name, entry : str, tuple of int
        The weight.
    step : int
        Counted from 1.
    slot : str
        The carried value: ``v_W1``, ``m_W1``.
    outer : float
        What it is multiplied by in the update that is explained.
    named : float
        The part of it that has to be traced.
    furthest : int
        Steps to go back at the most.
    """
    made = plan(replay.record.step, name, entry)
    now = outer * float(replay.state(step - 1)[slot][entry])
    nothing = CarriedBack(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), 0.0, now)
    if now == 0.0 or step == 1:
        return nothing
    reading, back = made.reading(replay), min(48, furthest)
    while True:
        first = max(0, step - 1 - min(back, furthest))
        series = Series(reading, replay, first, step - 1)
        found = account(made, series, {slot: outer}, of_weight=False)
        rest = found.felt[slot] * float(series.before[slot][entry])
        if abs(rest) <= (1 - named) * abs(now) or first == 0 or back >= furthest:
            break
        back *= 2
    beside = sum(float(np.sum(part)) for part in found.parts.values())
    numbers = np.repeat(np.arange(first + 1, step), np.diff(found.starts))
    return CarriedBack(numbers, found.rows, found.shares, beside, rest)
