"""How many threads a step is divided among: fixed by a program's sizes, since it can decide the last bit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

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
