"""The training loop: many steps in chunks short enough for progress and Ctrl-C.

It changes only the record. What is watched besides (validation) is computed from other programs, so that
looking never changes a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from backpass.errors import NonFinite
from backpass.exec.base import Array, Loop
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Graph, Node
from backpass.training.record import Record
from backpass.training.settings import Status

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
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    cost: float
    seconds: float
    validation: dict[str, float] | None = None


def train_steps(
    record: Record,
    loop: Loop,
    data: Mapping[str, Array],
    *,
    validate: Callable[[Mapping[str, Array]], dict[str, float]] | None = None,
    wrote: Callable[[int], None] | None = None,
) -> Iterator[Progress]:
    """Run a record to its last step.

    Parameters
    ----------
    record : Record
        With the starting values as checkpoint 0. It is filled as the run goes.
    loop : Loop
        Of ``record.step`` over `data`.
    data : mapping of str to array
    validate : callable, optional
        From the carried values to metrics, called after each epoch.
    wrote : callable, optional
        Called with the number of completed steps after each chunk, when `record` has grown.

    Yields
    ------
    Progress
        After each chunk.

    Raises
    ------
    NonFinite
        The cost or a carried value became NaN or infinite; the record holds everything before that step.
    """
    batches, steps, spacing = record.batches, record.batches.steps, record.settings.spacing
    every = -(-batches.epochs // _EPOCH_ROWS)
    ends = {batches.first_step(e): e for e in range(every, batches.epochs, every)} | {steps: batches.epochs}
    done, chunk, started = 0, 32, time.perf_counter()
    state = record.checkpoints[0]
    status: Status = "interrupted"  # whatever ends the loop early
    loop.load(state)
    try:
        while done < steps:
            stop = min(done + chunk, steps, (done // spacing + 1) * spacing)
            if validate is not None:
                stop = min(stop, next(end for end in ends if end > done))
            begun = time.perf_counter()
            result = loop.run(*batches.span(done, stop), record.numbers(done, stop))
            took = time.perf_counter() - begun
            good, after, problem = result.done, loop.state(), None
            if good < stop - done:
                problem = _first_bad(record, data, after, done + good)
            elif not _finite(after):
                good, after, problem = _find_bad_step(record, loop, data, state, done, stop)
            record.costs.append(result.watched[:good])
            first, done, state = done, done + good, after
            record.outcome.steps = done
            record.outcome.seconds = time.perf_counter() - started
            if problem is not None:
                status, record.outcome.message = "diverged", str(problem)
                raise problem
            if done % spacing == 0:
                record.checkpoints[done] = state
            metrics = validate(state) if validate is not None and done in ends else None
            record.outcome.epochs += [
                _epoch_row(record, epoch, metrics or {}) for end, epoch in ends.items() if first < end <= done
            ]
            if wrote is not None:
                wrote(done)
            chunk = max(1, min(int(good * _CHUNK_SECONDS / max(took, 1e-6)) + 1, 4 * chunk))
            epoch = batches.epochs if done == steps else batches.epoch_of(done)
            cost, seconds = float(np.mean(result.watched)), record.outcome.seconds
            yield Progress(done, steps, epoch, batches.epochs, cost, seconds, metrics)
        status = "finished"
    finally:
        # An interrupt can come between any two lines above: keep what belongs together.
        record.outcome.status, record.outcome.steps = status, done
        record.costs = [record.all_costs()[:done]]
        record.checkpoints[done] = state


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
    loop.load(state)
    for s in range(start, stop):
        loop.run(*record.batches.span(s, s + 1), record.numbers(s, s + 1))
        after = loop.state()
        if not _finite(after):
            loop.load(state)
            return s - start, state, _first_bad(record, data, state, s, after)
        state = after
    raise AssertionError("a carried value was not finite, but no step made it so")


def feeds_of(
    record: Record, data: Mapping[str, Array], carry: Mapping[str, Array], step: int
) -> dict[str, Array]:
    """The inputs of one step (counted from 0), given the carried values before it."""
    order, _ = record.batches.span(step, step + 1)
    numbers = record.numbers(step, step + 1)[0]
    feeds: dict[str, Array] = {name: array[order] for name, array in data.items()}
    for (name, node), value in zip(record.step.inputs_of_kind("number").items(), numbers, strict=True):
        feeds[name] = np.asarray(value, dtype=node.array_type.numpy_dtype)
    return feeds | dict(carry)


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
    names = {n: name for name, n in graph.outputs.items()}
    if bad is not None:
        name = names.get(bad) or _inside(graph, bad)
        ranges = ", ".join(
            f"{_inside(graph, x)} in [{np.min(values[x]):.3g}, {np.max(values[x]):.3g}]" for x in bad.inputs
        )
        because = f"\n  it was computed from {ranges}" if ranges else ""
    else:  # the kernel's rounding overflowed where the reference's did not
        name = next((k for k, v in (after or {}).items() if not np.isfinite(v).all()), "C")
        because = ""
    numbers = ", ".join(f"{k} = {v:g}" for k, v in record.optimiser.numbers.items())
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
