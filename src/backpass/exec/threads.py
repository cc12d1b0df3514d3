"""How many threads BLAS uses: fixed by a program's sizes, since it can decide the last bit of a product."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from backpass.ir import Graph
from backpass.passes import work

#: Matrix products with at least this many operations in their largest are worth a second thread.
THREADED_FLOPS = 50_000_000


def threads_for(step: Graph, dims: Mapping[str, int]) -> int:
    """How many BLAS threads a step is worth: a pure function of its sizes and the machine."""
    largest = max(work(step, dims).by_node.values(), default=0)
    return 1 if largest < THREADED_FLOPS else (os.cpu_count() or 1)


@cache
def _controller() -> Any:
    import scipy.linalg.cython_blas  # noqa: F401  the library must be loaded before it is looked for
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def blas_threads(count: int) -> Any:
    """A context in which BLAS uses `count` threads."""
    return _controller().limit(limits=count, user_api="blas")
