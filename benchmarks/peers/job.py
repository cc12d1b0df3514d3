"""One competitor, and the rounds in which all of them run."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from peers.cases import Weights

_PAUSE = 0.1  # seconds in which the threads of the one before go to rest
_TRIAL_SECONDS, _KEEP = 0.03, 1.25


class Timed(NamedTuple):
    seconds: float
    steps: int
    weights: Weights = ()  #: where it ended


@dataclass
class Job:
    """One competitor in one variant."""

    product: str
    variant: str
    run: Callable[[int], Timed]  #: so many steps from the start; only the steps are timed
    kind: Literal["ours", "peer", "products"] = "peer"
    same_start: bool = True  #: begins at our weights, so that it must end where we do
    any_steps: bool = True  #: another number of steps needs no compiling
    first: float = 0.0  #: seconds to build and compile
    steps: int = 0  #: of a call
    us: list[float] = field(default_factory=list)  #: microseconds a step, by round

    @property
    def name(self) -> str:
        return f"{self.product} ({self.variant})"

    @property
    def median(self) -> float:
        return statistics.median(self.us)


def threads_text(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def thread_counts() -> list[int]:
    return sorted({1, min(2, os.cpu_count() or 1)})


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def us_per_step(timed: Timed) -> float:
    return timed.seconds / timed.steps * 1e6


def steps_in(job: Job, seconds: float, most: int = 2_000_000) -> int:
    """How many steps the job takes in so many seconds, to two digits."""
    job.run(2)  # whatever the first call has to make
    steps = 16
    while (timed := job.run(steps)).seconds < min(seconds, 0.02) and steps < most:
        steps *= 4
    found = seconds / us_per_step(timed) * 1e6
    return int(max(2, min(most, float(f"{found:.2g}"))))


def worth_measuring(variants: Iterable[Job]) -> list[Job]:
    """The variants that may be the fastest of a product, the most promising first.

    Judged by the worst of three short trials: two threads can be slow where other programs want the
    processor.
    """
    trials = []
    for job in variants:
        steps = steps_in(job, _TRIAL_SECONDS)
        us = max(us_per_step(job.run(steps)) for _ in range(3))
        trials.append((us, job))
        say(f"    {job.name}: {us:.1f} µs a step in a trial")
    trials.sort(key=lambda trial: trial[0])
    return [job for us, job in trials if us <= _KEEP * trials[0][0]]


def interleave(jobs: list[Job], rounds: int) -> None:
    """Run each job once in each round, in an order that rotates."""
    for turn in range(rounds):
        for k in range(len(jobs)):
            job = jobs[(k + turn) % len(jobs)]
            time.sleep(_PAUSE)
            job.us.append(us_per_step(job.run(job.steps)))
        last = ", ".join(f"{job.product} {job.us[-1]:.1f}" for job in jobs)
        say(f"    round {turn + 1} of {rounds}, µs a step: {last}")


def best_of_each(jobs: list[Job]) -> list[Job]:
    """The fastest variant of each product, in the order of the products."""
    best: dict[str, Job] = {}
    for job in jobs:
        known = best.get(job.product)
        if known is None or job.median < known.median:
            best[job.product] = job
    return list(best.values())


def ratios(over: Job, under: Job) -> list[float]:
    """What `over` takes for what `under` takes, in each round."""
    return [a / b for a, b in zip(over.us, under.us, strict=True)]
