"""A run that ended too early is made ready to go on from its last whole checkpoint, or an earlier step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import RecordError, UsageError
from backpass.record.looking import Looks
from backpass.record.record import Record
from backpass.record.replay import Replay
from backpass.record.settings import Outcome
from backpass.running.judge import Judge, best_step
from backpass.training.stopping import EarlyStopping

_STRETCH = 1000  # steps computed at once


def check_unfinished(record: Record, where: str) -> None:
    """Refuse a run that has come to its end."""
    outcome = record.outcome
    if outcome.status in ("running", "interrupted", "time limit"):
        return
    steps, last = f"{outcome.steps:,}", max(outcome.steps, 0)
    if outcome.status == "diverged":
        raise UsageError(
            f"{where} diverged after step {steps}: going on would end in the same step again.\n"
            f"  Leave its way before that: backpass branch {where} --at {last} --lr ..., with a smaller rate."
        )
    how = "is finished" if outcome.status == "finished" else "was ended by its own rule"
    raise UsageError(
        f"{where} {how}: it has all of its {steps} steps, and there is nothing to resume.\n"
        f"  To train on from there: backpass branch {where} --at {last} --epochs "
        f"{2 * record.settings.epochs}, the epochs of the whole."
    )


def check_held(record: Record, held: Mapping[str, Any]) -> None:
    """Refuse to go on without rows that the run was watched with."""
    outcome, data = record.outcome, record.settings.data
    had = {name for name, fraction in (("validation", data.validation), ("test", data.test)) if fraction}
    had |= (
        {"validation"} if any(k.startswith("validation_") for row in outcome.epochs for k in row) else set()
    )
    missing = sorted((had | outcome.metrics.keys()) - held.keys() - {"train"})
    if missing:
        raise RecordError(
            f"the {' and '.join(missing)} rows of this run came from memory and are not kept with it.\n"
            "  Give the data, the very same: backpass.resume(path, data=(X, y)), and for a branch "
            "backpass.load(path, data=(X, y)).branch(...)"
        )


def resumed(record: Record, replay: Replay) -> None:
    """Make a record one that `train_steps` goes on with, as if it had never been stopped.

    What did not reach the disk is computed again: costs, looks, and the best state.
    """
    outcome = record.outcome
    rule = None if record.settings.stop is None else EarlyStopping(**record.settings.stop)
    if outcome.status == "running" and outcome.steps and Judge(record, rule).remember() is not None:
        _back(record)  # it was killed as it ended: the end is done once more, with all that belongs to it
    done = outcome.steps
    record.costs = [costs_until(record, replay, done)]
    record.monitors = record.monitors.until(done)
    Looks(record, replay.data).fill(replay, done)
    keep_best(record, replay)
    outcome.status, outcome.message, outcome.metrics, outcome.notes = "running", "", {}, []


def _back(record: Record) -> None:
    """Forget the last checkpoint, and what came after the one before."""
    outcome = record.outcome
    outcome.steps = record.before(outcome.steps - 1)[0]
    for mark in [mark for mark in record.checkpoints if mark > outcome.steps]:
        del record.checkpoints[mark]
    record.hashes = {mark: hash for mark, hash in record.hashes.items() if mark <= outcome.steps}
    outcome.epochs = [row for row in outcome.epochs if row["step"] <= outcome.steps]
    outcome.events = [event for event in outcome.events if event.step <= outcome.steps]


def keep_best(record: Record, replay: Replay) -> None:
    """Have the best state so far among the checkpoints, where early stopping wants it."""
    best = best_step(record.outcome.epochs, record.settings.stop)
    record.outcome.best_step = best
    if best is not None and not record.has(best):
        record.keep(best, replay.state(best))


def costs_until(record: Record, replay: Replay, done: int) -> NDArray[np.float64]:
    """The costs of the first `done` steps; those that are lost are computed again."""
    known = record.all_costs()[:done]
    found = [known]
    for start in range(len(known), done, _STRETCH):
        found.append(replay.tapped(start, min(done, start + _STRETCH), ()).watched)
    return np.concatenate(found)


def until(record: Record, done: int) -> Outcome:
    """What was known of a run after its first `done` steps, as of a run that goes on."""
    whole = record.outcome
    return Outcome(
        steps=done,
        seconds=whole.seconds * done / max(whole.steps, 1),
        epochs=[dict(row) for row in whole.epochs if row["step"] <= done],
        events=[event for event in whole.events if event.step <= done],
    )
