"""A run that leaves another's way: the record that it begins with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike, NDArray

from backpass.errors import UsageError, nearest
from backpass.exec.machine import cpu_name, versions
from backpass.record.checkpoints import Checkpoints, digest
from backpass.record.forks import Stretch, batches_for, undropped
from backpass.record.ranges import as_text, spans
from backpass.record.record import Record
from backpass.record.replay import Replay
from backpass.record.settings import Branch, Machine
from backpass.running.resuming import costs_until, keep_best, until
from backpass.training.schedules import Schedule, check, check_count

Index = NDArray[np.int64]


def branched(
    record: Record,
    replay: Replay,
    at: int,
    *,
    lr: float | Schedule | None = None,
    numbers: Mapping[str, float],
    dropped: Index,
    rows: Index,
    epochs: int | None = None,
    run: str = "",
) -> Record:
    """The record of a branch before its first own step.

    Parameters
    ----------
    record : Record
        Of the run whose way it leaves.
    replay : Replay
        Of that record.
    at : int
        Completed steps that both share.
    lr, numbers, epochs
        See `backpass.Run.branch`.
    dropped : ndarray of int64
        Positions among the training rows; see `rows_to_drop`.
    rows : ndarray of int64
        The number in the data set of each training row.
    run : str
        What the other run is called.
    """
    done = record.outcome.steps
    if isinstance(at, bool) or not isinstance(at, (int, np.integer)) or not 0 <= at <= done:
        raise UsageError(
            f"there is no step {at!r} to branch at: this run has steps 0 (its start) to {done:,}"
        )
    at = int(at)
    kept = [branch for branch in record.settings.branches if branch.step <= at]
    held = next(x for x in record.stretches if x.first <= at and (x.last is None or at < x.last))
    state = replay.state(at)
    fork = Branch(
        run, at, digest(state), held.optimiser.describe(), held.l1, held.l2, held.epochs,
        record.batches.steps if held.steps is None else held.steps,
        as_text(dropped), as_text(rows[dropped]),
    )  # fmt: skip
    machine = Machine(versions(), cpu_name(), replay.loop.blas_name(), replay.loop.threads)
    settings = replace(
        record.settings,
        branches=(*kept, fork),
        epochs=_epochs(record, held, epochs),
        machine=machine,
        time_limit=None,
        **_numbers(record, held, lr, numbers),
    )
    batches = batches_for(settings, undropped(record.batches).order)
    if batches.steps <= at:
        raise UsageError(
            f"after step {at:,} nothing is left to do: {settings.epochs:,} epochs have {batches.steps:,} "
            "steps.\n"
            f"  Give more epochs, the whole counted: --epochs {2 * settings.epochs:,}"
        )
    marks = Checkpoints()
    for mark in [mark for mark in record.checkpoints if mark <= at and record.has(mark)]:
        marks.stored(mark, partial(record.checkpoints.__getitem__, mark))
    found = Record(
        settings, record.step, batches, record.predict_graph, marks,
        {mark: hash for mark, hash in record.hashes.items() if mark <= at},
        [costs_until(record, replay, at)], record.monitors.until(at), until(record, at),
        record.fixed, record.row_data,
    )  # fmt: skip
    if at not in marks:
        found.keep(at, state)
    keep_best(found, replay)
    if machine != record.settings.machine and at:
        found.outcome.notes.append(
            f"steps 1 to {at:,} were computed on another machine or by other versions, in "
            f"{run or 'the other run'}"
        )
    return found


def _epochs(record: Record, held: Stretch, epochs: int | None) -> int:
    """How many epochs are planned from now on."""
    if epochs is None:
        return held.epochs
    check_count("epochs", epochs)
    if record.settings.order == "explicit" and epochs > record.settings.epochs:
        raise UsageError(
            f"the order of the rows was given for {record.settings.epochs:,} epochs; there is none for "
            f"{epochs:,}. Train anew, with start= to begin with these weights."
        )
    return int(epochs)


def _numbers(
    record: Record, held: Stretch, lr: float | Schedule | None, numbers: Mapping[str, float]
) -> dict[str, Any]:
    """The settings that have these numbers."""
    known = record.step.inputs_of_kind("number")
    for name in numbers:
        if name not in known:
            raise UsageError(
                f"the program of this run has no number {name!r}. {nearest(name, known)}\n"
                "  A branch has the program of its run; another one takes a training of its own, from its "
                "weights if you like: --start."
            )
    found: dict[str, Any] = {"l1": held.l1, "l2": held.l2}
    found |= {name: _number(name, value) for name, value in numbers.items() if name in found}
    given: dict[str, Any] = {name: value for name, value in numbers.items() if name not in found}
    if lr is not None:
        given["lr"] = lr
    optimiser = dataclasses.replace(held.optimiser, **given)
    return found | {"optimiser": optimiser.describe()}


def _number(name: str, value: float) -> float:
    check(name, value, 0.0)
    return float(value)


def rows_to_drop(given: ArrayLike | str, numbers: Index, count: int) -> Index:
    """Which training rows are meant, by position.

    Parameters
    ----------
    given : array-like of int, or str
        Numbers in the data set, or a text as in ``17,40-60``. A single number must be a training row; of a
        stretch those are meant that are.
    numbers : ndarray of int64
        The number in the data set of each training row.
    count : int
        Rows of the data set.

    Examples
    --------
    >>> rows_to_drop("7,0-3", np.array([7, 2, 5, 3]), 8).tolist()
    [0, 1, 3]
    """
    if isinstance(given, str):
        stretches = spans(given)
    else:
        array = np.atleast_1d(np.asarray(given))
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise UsageError(f"drop_rows are whole numbers of rows; got {array.dtype}")
        stretches = [(n, n) for n in array.ravel().tolist()]
    dropped = np.zeros(len(numbers), bool)
    order = np.argsort(numbers, kind="stable")
    sorted_ = numbers[order]
    for first, last in stretches:
        start, stop = np.searchsorted(sorted_, [first, last + 1])
        if start == stop:
            what = f"row {first:,} is" if first == last else f"the rows {first:,} to {last:,} are"
            near = sorted_[max(0, start - 1) : start + 1].tolist()
            why = "held out" if first < count else f"beyond the data, which have rows 0 to {count - 1:,}"
            raise UsageError(
                f"{what} not among the {len(numbers):,} rows that this run trains on, but {why}.\n"
                f"  The nearest that {'are' if len(near) > 1 else 'is'}: "
                f"{' and '.join(f'{n:,}' for n in near)}."
            )
        dropped[order[start:stop]] = True
    if dropped.all():
        raise UsageError(f"without these rows nothing is left: the run trains on {len(numbers):,} rows")
    return np.flatnonzero(dropped)
