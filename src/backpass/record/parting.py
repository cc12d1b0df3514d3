"""Where two runs part, or a run and its replay: the last state that is equal, and the first that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backpass.errors import DataError, RecordError, ReplayMismatch
from backpass.record.checkpoints import digest
from backpass.record.record import Record
from backpass.record.replay import Replay

_STRETCH = 1000  # steps run at once


@dataclass(frozen=True)
class Parting:
    """Where two runs part.

    Attributes
    ----------
    equal : int or None
        The last completed step of those compared after which their carried values are equal, bit for bit;
        None where they start from different ones.
    apart : int or None
        The first completed step of those compared after which they are not; None where all are equal.
    compared : int
        At how many marks (hashes and checkpoints) the records were compared.
    found : bool
        Whether `apart` is the very first: the one after `equal`.
    why_not : str
        Why it could not be found, if so.
    """

    equal: int | None
    apart: int | None
    compared: int
    found: bool = True
    why_not: str = ""


def part(a: Record, b: Record, replays: Callable[[], tuple[Replay, Replay]]) -> Parting:
    """Compare two runs of the same carried values.

    Their records are compared first: at marks that both have, and by the cost of each step. Then what lies
    between the last equal and the first different mark is halved, with a replay of both.

    Parameters
    ----------
    a, b : Record
    replays : callable
        Gives the replay of each; only called if it is needed, for it needs the data.
    """
    steps = min(a.outcome.steps, b.outcome.steps)
    equal, marked, compared = _marks(a, b, steps)
    apart = _by_costs(a, b, equal, marked, steps)
    if apart is None and equal == steps:
        return Parting(equal, None, compared)
    if apart == 0:
        return Parting(None, 0, compared)
    try:
        first, second = replays()
        low, high = equal or 0, steps if apart is None else apart
        if apart is not None and apart != marked and _same(first, second, high):
            low, high = high, steps if marked is None else marked  # other costs, and the same weights yet
        if high != marked and _same(first, second, high):
            return Parting(high, None, compared)
        for record, replay in ((a, first), (b, second)):
            _trust(record, replay, low, high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _same(first, second, middle) else (low, middle)
    except (RecordError, DataError) as error:  # the data are gone or have changed; or these are not the bits
        return Parting(equal, apart, compared, False, str(error))
    return Parting(low, high, compared)


def _marks(a: Record, b: Record, steps: int) -> tuple[int | None, int | None, int]:
    """The last equal mark before the first different one, that one, and how many were compared."""
    equal, apart, compared = None, None, 0
    both = (a.hashes.keys() | a.checkpoints.keys()) & (b.hashes.keys() | b.checkpoints.keys())
    for mark in sorted(mark for mark in both if mark <= steps):
        one, other = _hash(a, mark), _hash(b, mark)
        if one is None or other is None:
            continue
        compared += 1
        if one != other:
            apart = mark
            break
        equal = mark
    return equal, apart, compared


def _hash(record: Record, mark: int) -> str | None:
    """The hash of a state of the record, if that has it."""
    if mark in record.hashes:
        return record.hashes[mark]
    return digest(record.checkpoints[mark]) if record.has(mark) else None


def _by_costs(a: Record, b: Record, equal: int | None, apart: int | None, steps: int) -> int | None:
    """An upper bound of the first different state, by the first different cost.

    The cost of step s is that of the state after s - 1 steps, on the batch of step s: if it differs, so does
    that state, or the batch does and then the state after step s.
    """
    one, other = a.all_costs()[:steps], b.all_costs()[:steps]
    count = min(len(one), len(other))
    off = np.flatnonzero(one[:count].view(np.int64) != other[:count].view(np.int64))
    if not len(off):
        return apart
    bound = max(int(off[0]) + 1, 1 if equal is None else equal + 1)
    return bound if apart is None else min(apart, bound)


def _same(a: Replay, b: Replay, done: int) -> bool:
    one, other = a.state(done), b.state(done)
    return one.keys() == other.keys() and all(one[n].tobytes() == other[n].tobytes() for n in one)


def _trust(record: Record, replay: Replay, low: int, high: int) -> None:
    """Refuse to halve with a replay that is not the run's: its states between two marks say nothing then."""
    marks = [mark for mark in sorted(record.hashes) if low < mark]
    if not marks:
        return
    mark = marks[0]
    if mark > max(high, low + _STRETCH):
        return  # too far to be worth the way
    replay.tapped(low, mark, ())
    if digest(record.state(replay.loop)) != record.hashes[mark]:
        machine = record.settings.machine
        raise ReplayMismatch(
            f"a run of {machine.cpu}, {machine.blas}, is not bit-equal when it is computed again here"
        )


def first_cost_apart(replay: Replay, start: int, stop: int) -> int | None:
    """The first step (counted from 1) whose cost is not the recorded one when the run is computed again.

    Parameters
    ----------
    replay : Replay
    start, stop : int
        Steps ``start <= s < stop``, counted from 0.

    Returns
    -------
    int or None
        The carried values differ after the step before it at the latest. None where no cost tells.
    """
    known = replay.record.all_costs()
    for first in range(start, min(stop, len(known)), _STRETCH):
        last = min(stop, len(known), first + _STRETCH)
        found = replay.tapped(first, last, ()).watched
        off = np.flatnonzero(found.view(np.int64) != known[first:last].view(np.int64))
        if len(off):
            return first + int(off[0]) + 1
    return None
