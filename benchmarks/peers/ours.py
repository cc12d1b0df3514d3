"""backpass: a native loop, as `bp.train` makes it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from backpass.exec.base import carried_inputs
from backpass.exec.choose import compile_loop
from backpass.training.batches import Batches
from peers.cases import SEED, Case, Data, Weights, has
from peers.job import Job, Timed, threads_text

#: What BACKPASS_BLAS is set to, and how the page calls it.
BLAS = {"scipy": "backpass (SciPy's BLAS)", "mkl": "backpass (MKL)"}
_MANY = 1_000_000  # epochs; steps are taken from the first of them


def libraries() -> list[str]:
    """The BLAS libraries that backpass can use here."""
    return ["scipy", *(["mkl"] if has("mkl") else [])]


@contextmanager
def blas(library: str) -> Iterator[None]:
    """Have loops compiled for this BLAS, and run with its threads."""
    before = os.environ.get("BACKPASS_BLAS")
    os.environ["BACKPASS_BLAS"] = library
    try:
        yield
    finally:
        if before is None:
            del os.environ["BACKPASS_BLAS"]
        else:
            os.environ["BACKPASS_BLAS"] = before


def ours(case: Case, data: Data, start: Weights, library: str) -> Job:
    began = time.perf_counter()
    step = case.step()
    with blas(library):
        loop, why = compile_loop(step, {"x": data.X, "t": data.T}, case.batch, 1_000_000, "compiled")
    first = time.perf_counter() - began
    if loop.name != "compiled":
        raise SystemExit(f"{case.name}: not the compiled executor: {why}")
    named = {f"{kind}{i}": w for i, pair in enumerate(start, 1) for kind, w in zip("Wb", pair, strict=True)}
    carry = {
        name: named.get(name, np.zeros(tuple(map(int, node.shape)), np.float32))
        for name, node in carried_inputs(step).items()
    }
    values = case.our_optimiser().numbers
    numbers = [values[name] for name in step.inputs_of_kind("number")]

    def run(steps: int) -> Timed:
        loop.load(carry)
        with blas(library):
            began = time.perf_counter()
            order, starts = Batches(len(data.X), case.batch, _MANY, SEED).span(0, steps)
            chunk = loop.run(order, starts, np.tile(numbers, (steps, 1)))
            seconds = time.perf_counter() - began
        assert chunk.done == steps
        ended = loop.state()
        return Timed(seconds, steps, [(ended[f"W{i}"], ended[f"b{i}"]) for i in range(1, len(case.sizes))])

    return Job(BLAS[library], threads_text(loop.threads), run, "ours", first=first)


def order_of(case: Case, data: Data, steps: int) -> np.ndarray:
    """The rows of each step that backpass will draw, for those who get them ready-made."""
    order, _ = Batches(len(data.X), case.batch, _MANY, SEED).span(0, steps)
    return order.reshape(steps, case.batch)
