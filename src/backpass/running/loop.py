"""The training loop: many steps in chunks short enough for progress and Ctrl-C.

It changes only the record. What is watched besides (validation) is computed from other programs, so that
looking never changes a run. What a look decides, to end the run or to lower the learning rate, is written
into the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from backpass.errors import NonFinite, UsageError
from backpass.exec.base import Array, Loop
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Graph, Node
from backpass.record.looking import Looks
from backpass.record.looking import feeds_of as feeds_of  # where it was; others read it from here
from backpass.record.record import Record
from backpass.record.settings import Status
from backpass.running.judge import Judge
from backpass.training.stopping import EarlyStopping, divergence_note

_CHUNK_SECONDS = 0.05
_EPOCH_ROWS = 1000  # of the history; with more epochs, every second, third, ... has a row


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes
    ----------
    step, steps, epoch, epochs : int
        Completed, and in all.
    cost : float
        Mean cost of the steps since the last Progress.
    seconds : float
    validation : dict of str to float, or None
        At the end of an epoch, the metrics on the validation rows.
    values : mapping of str to array
        The parameters and whatever else is carried, after this step. They cannot be written to.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    cost: float
    seconds: float
    validation: dict[str, float] | None = None
    values: Mapping[str, Array] = field(default_factory=dict, repr=False)


class Callbacks:
    """What a person wants to be called: functions, or objects with `on_step` or `on_epoch`.

    A plain function is called after each epoch. Each is called with a `Progress`, and ends the run by
    returning ``"stop"``.

    Parameters
    ----------
    given : iterable of callables or objects

    Examples
    --------
    >>> Callbacks([print]).by_epoch, Callbacks([print]).by_step
    (True, False)
    """

    def __init__(self, given: Iterable[Any] = ()) -> None:
        self._step, self._epoch = [], []
        for callback in [given] if callable(given) or hasattr(given, "on_epoch") else given:
            on_step, on_epoch = (getattr(callback, name, None) for name in ("on_step", "on_epoch"))
            if on_step is None and on_epoch is None:
                if not callable(callback):
                    raise UsageError(
                        "a callback is a function of a Progress, or an object with on_epoch(progress) or "
                        f"on_step(progress); got {callback!r}"
                    )
                on_epoch = callback
            self._step += [on_step] if on_step is not None else []
            self._epoch += [on_epoch] if on_epoch is not None else []
        self.by_step, self.by_epoch = bool(self._step), bool(self._epoch)

    def stop(self, progress: Progress, epoch_ends: bool) -> bool:
        """Call them all; whether one of them ends the run."""
        called = self._step + (self._epoch if epoch_ends else [])
        answers = [callback(progress) for callback in called]  # all of them, before any of them counts
        wrong = [a for a in answers if a is not None and not (isinstance(a, str) and a == "stop")]
        if wrong:
            raise UsageError(
                f"a callback returns nothing, or 'stop' to end the run; one returned {wrong[0]!r}"
            )
        return "stop" in answers


def train_steps(
    record: Record,
    loop: Loop,
    data: Mapping[str, Array],
    *,
    validate: Callable[[Mapping[str, Array]], dict[str, float]] | None = None,
    wrote: Callable[[int], None] | None = None,
    stop: EarlyStopping | None = None,
    time_limit: float | None = None,
    callbacks: Callbacks | None = None,
) -> Iterator[Progress]:
    """Run a record to its last step, from the one that it has come to.

    Parameters
    ----------
    record : Record
        With the state after ``record.outcome.steps`` steps as a checkpoint: the starting values as
        checkpoint 0, or what an earlier part of the run left behind. It is filled as the run goes.
    loop : Loop
        Of ``record.step`` over `data`.
    data : mapping of str to array
    validate : callable, optional
        From the carried and fixed values to metrics, called after each epoch.
    wrote : callable, optional
        Called with the number of completed steps after each chunk, when `record` has grown.
    stop : EarlyStopping, optional
    time_limit : float, optional
        Seconds from now on, after which the run ends with the chunk that it is in.
    callbacks : Callbacks, optional

    Yields
    ------
    Progress
        After each chunk.

    Raises
    ------
    NonFinite
        The cost or a carried value became NaN or infinite; the record holds everything before that step.
    UsageError
        A metric is asked for that there is not.
    """
    batches, steps, spacing = record.batches, record.batches.steps, record.spacing
    callbacks, judge, looks = callbacks or Callbacks(), Judge(record, stop), Looks(record, data)
    first = done = record.outcome.steps
    chunk, before_now = 32, record.outcome.seconds
    state = before = record.checkpoints[done]  # now, and before the last chunk
    status: Status = "interrupted"  # whatever ends the loop early
    try:
        judge.check(validate)
        every = -(-batches.epochs // _EPOCH_ROWS)
        ends = {batches.first_step(e): e for e in range(every, batches.epochs, every)}
        ends |= {steps: batches.epochs}
        started = time.perf_counter()
        record.load(loop, state)
        ending = judge.remember()
        if done in ends and not any(row["step"] == done for row in record.outcome.epochs):
            seen = validate(state | record.fixed) if validate is not None else {}
            record.outcome.epochs.append(_epoch_row(record, ends[done], seen))
            ending = judge.see(record.outcome.epochs[-1], done, state) if judge.wanted else None
        if ending is not None and done < steps:  # it was to end here, and was killed
            status, record.outcome.message = ending
            return
        looks.go_on()
        while done < steps:
            looks.at(done, state)
            until = min(done + chunk, steps, spacing.next(done) or steps, looks.next or steps)
            if validate is not None or judge.wanted:
                until = min(until, next(end for end in ends if end > done))
            if callbacks.by_epoch:
                until = min(until, batches.first_step(batches.epoch_of(done) + 1))
            if callbacks.by_step:
                until = done + 1
            begun = time.perf_counter()
            result = record.run(loop, done, until)
            took = time.perf_counter() - begun
            good, after, problem = result.done, record.state(loop), None
            if good < until - done:
                problem = _first_bad(record, data, after, done + good)
            elif not _finite(after):
                good, after, problem = _find_bad_step(record, loop, data, state, done, until)
            record.costs.append(result.watched[:good])
            first, before, done, state = done, state, done + good, after
            record.outcome.steps = done
            record.outcome.seconds = before_now + time.perf_counter() - started
            if problem is not None:
                status, record.outcome.message = "diverged", str(problem)
                raise problem
            if done == spacing.next(done - 1):
                record.keep(done, state)
                record.thin(done)
            metrics = validate(state | record.fixed) if validate is not None and done in ends else None
            rows = [_epoch_row(record, e, metrics or {}) for end, e in ends.items() if first < end <= done]
            record.outcome.epochs += rows
            ending = judge.see(rows[-1], done, state) if rows and judge.wanted else None
            if wrote is not None:
                wrote(done)
            chunk = max(1, min(int(good * _CHUNK_SECONDS / max(took, 1e-6)) + 1, 4 * chunk))
            epoch = batches.epochs if done == steps else batches.epoch_of(done)
            cost, seconds = float(np.mean(result.watched)), record.outcome.seconds
            progress = Progress(done, steps, epoch, batches.epochs, cost, seconds, metrics, _read_only(state))
            if (callbacks.by_step or callbacks.by_epoch) and callbacks.stop(
                progress, done == steps or done == batches.first_step(epoch)
            ):
                ending = ending or ("stopped early", f"a callback ended the run after step {done:,}")
            yield progress
            late = time_limit is not None and time.perf_counter() - started >= time_limit
            if ending is None and late:
                ending = (
                    "time limit",
                    f"the time limit of {time_limit:g} s ended the run after step {done:,}",
                )
            if ending is not None and done < steps:
                status, record.outcome.message = ending
                break
        else:
            status = "finished"
    finally:
        # An interrupt can come between any two lines above: keep what belongs together.
        record.outcome.status, record.outcome.steps = status, done
        record.costs = [record.all_costs()[:done]]
        record.keep(done, state)
        looks.end(loop, first, before, done)
        note = divergence_note(record.costs[0], batches.first_step(1))
        record.outcome.notes += [note] if note else []


def _read_only(state: Mapping[str, Array]) -> Mapping[str, Array]:
    views = {name: array.view() for name, array in state.items()}
    for view in views.values():
        view.flags.writeable = False
    return MappingProxyType(views)


def _epoch_row(record: Record, epoch: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """What the history keeps of an epoch (counted from 1)."""
    start, stop = record.batches.first_step(epoch - 1), record.batches.first_step(epoch)
    found, end = [], record.outcome.steps
    for block in reversed(record.costs):
        begin = end - len(block)
        found.append(block[max(0, start - begin) : max(0, stop - begin)])
        end = begin
        if end <= start:
            break
    row = {"epoch": float(epoch), "step": float(stop), "cost": float(np.mean(np.concatenate(found)))}
    return row | {f"validation_{name}": value for name, value in metrics.items()}


def _finite(carry: Mapping[str, Array]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in carry.values())


def _find_bad_step(
    record: Record, loop: Loop, data: Mapping[str, Array], state: dict[str, Array], start: int, stop: int
) -> tuple[int, dict[str, Array], NonFinite]:
    """Run a chunk again, step by step, up to the one after which a carried value is not finite."""
    record.load(loop, state)
    for s in range(start, stop):
        record.run(loop, s, s + 1)
        after = record.state(loop)
        if not _finite(after):
            record.load(loop, state)
            return s - start, state, _first_bad(record, data, state, s, after)
        state = after
    raise AssertionError("a carried value was not finite, but no step made it so")


def _first_bad(
    record: Record,
    data: Mapping[str, Array],
    carry: Mapping[str, Array],
    step: int,
    after: Mapping[str, Array] | None = None,
) -> NonFinite:
    """The error that names the first value of the step that is not finite, in program order."""
    graph = record.step
    values = ReferenceFunction(graph).values(feeds_of(record, data, carry, step))
    bad = next((n for n in graph.nodes if not np.isfinite(values[n]).all()), None)
    called = {n: name for name, n in graph.outputs.items()}
    if bad is not None:
        name = called.get(bad) or _inside(graph, bad)
        ranges = ", ".join(
            f"{_inside(graph, x)} in [{np.min(values[x]):.3g}, {np.max(values[x]):.3g}]" for x in bad.inputs
        )
        because = f"\n  it was computed from {ranges}" if ranges else ""
    else:  # the kernel's rounding overflowed where the reference's did not
        name = next((k for k, v in (after or {}).items() if not np.isfinite(v).all()), "C")
        because = ""
    names = record.step.inputs_of_kind("number")
    used = zip(names, record.numbers(step, step + 1)[0], strict=True)
    numbers = ", ".join(f"{k} = {v:g}" for k, v in used)
    return NonFinite(
        f"training diverged at step {step + 1:,} of {record.batches.steps:,}: {name} is not finite"
        f"{because}\n"
        f"  The weights of step {step:,}, the last good ones, are kept. {numbers}\n"
        f"  Try a smaller learning rate, or scale the data to about [-1, 1].",
        step=step + 1,
        tensor=name,
    )


def _inside(graph: Graph, node: Node) -> str:
    """The name of a value, or of the line that it is part of."""
    while node.name is None and graph.users[node]:
        node = graph.users[node][0]
    return node.name or node.op.name
