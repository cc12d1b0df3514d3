"""How many threads a step is divided among: by its sizes, and fewer where others want the processor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from threading import Event, Thread
from typing import Any

from backpass.errors import UsageError
from backpass.ir import Graph
from backpass.passes import work

#: Matrix products with at least this many operations in their largest are worth a second thread of BLAS.
THREADED_FLOPS = 50_000_000
#: A step of fewer operations is over before threads have met; and how many keep one busy.
SPLIT_FLOPS, FLOPS_A_THREAD = 1_500_000, 750_000
#: A step of fewer operations is compiled for its very batch size too.
TINY_FLOPS = 20_000
_MOST = 8


def cores() -> int:
    """Processor cores that this process may use; ``BACKPASS_THREADS`` limits them."""
    limit = os.environ.get("BACKPASS_THREADS", "")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(usable, int(limit))) if limit.isdigit() else usable


def is_worth_splitting(step: Graph, dims: Mapping[str, int]) -> bool:
    """Whether a step is long enough for more than one thread."""
    return work(step, dims).flops >= SPLIT_FLOPS


def is_tiny(step: Graph, dims: Mapping[str, int]) -> bool:
    """Whether a step is so short that every instruction counts."""
    return work(step, dims).flops < TINY_FLOPS


def threads_for(step: Graph, dims: Mapping[str, int]) -> int:
    """How many threads a step is worth: a pure function of its sizes and the machine."""
    return max(1, min(cores(), _MOST, int(work(step, dims).flops // FLOPS_A_THREAD)))


def blas_threads_for(program: Graph, dims: Mapping[str, int]) -> int:
    """How many threads of BLAS a program's products are worth."""
    largest = max(work(program, dims).by_node.values(), default=0)
    return 1 if largest < THREADED_FLOPS else cores()


@cache
def _controller() -> Any:
    import numpy  # noqa: F401  its library must be loaded before it is looked for
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def blas_threads(count: int) -> Any:
    """A context in which NumPy's BLAS uses `count` threads."""
    return _controller().limit(limits=count, user_api="blas")


class Together:
    """Threads that do parts of one work and wait for each other in it: all of them begin, or none.

    Parameters
    ----------
    part : callable
        Does the part of that number.
    numbers : iterable of int

    Raises
    ------
    UsageError
        The system gives no further thread.
    """

    def __init__(self, part: Callable[[int], Any], numbers: Iterable[int]) -> None:
        self._go, self._all, self._part = Event(), False, part
        self._threads: list[Thread] = []
        try:
            for k in numbers:
                thread = Thread(target=self._run, args=(k,), daemon=True)
                thread.start()
                self._threads.append(thread)
            self._all = True
        except RuntimeError as problem:
            raise UsageError(
                f"the system gives no further thread: {problem}.\n"
                "  Set the environment variable BACKPASS_THREADS to 1."
            ) from None
        finally:
            self._go.set()

    def _run(self, number: int) -> None:
        self._go.wait()
        if self._all:
            self._part(number)

    def join(self) -> None:
        """Wait until all are done."""
        for thread in self._threads:
            thread.join()


class Pace:
    """Whether many threads or one are faster at present: other programs may want the same processor.

    Now and then a short stretch is done the other way.

    Parameters
    ----------
    least, most : int
        How many threads there may be; the same where the result depends on it.
    """

    _EVERY, _TRIAL, _MOST = 0.5, 0.008, 0.1  # seconds from trial to trial, of a trial, of any stretch
    _KEPT = 3  # times of each way, so that one that was held up decides nothing

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most, self._now = least, most, most
        self._seconds = {count: deque[float](maxlen=self._KEPT) for count in (least, most)}  # of a step
        self._since = 0.0

    def _step(self, threads: int) -> float:
        """What a step took of late: of the last times, the one in the middle."""
        kept = self._seconds[threads]
        return sorted(kept)[len(kept) // 2]

    def next(self, steps: int) -> tuple[int, int]:
        """For the next stretch: how many threads, and how many of these steps."""
        if self.most == self.least or not self._seconds[self._now]:
            return self._now, steps
        step = self._step(self._now)
        other = self.least if self._now == self.most else self.most
        if len(self._seconds[other]) == self._KEPT and self._since < self._EVERY:
            return self._now, min(steps, 1 + int(self._MOST / step))
        return other, min(steps, 1 + int(self._TRIAL / step))

    def saw(self, threads: int, steps: int, seconds: float) -> None:
        """Take in how long a stretch took."""
        self._since = 0.0 if threads != self._now else self._since + seconds
        self._seconds[threads].append(seconds / max(steps, 1))
        tried = [count for count, kept in self._seconds.items() if kept]
        self._now = min(tried, key=self._step)
