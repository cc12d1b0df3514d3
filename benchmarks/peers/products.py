"""The matrix products of a step alone, with each BLAS at hand: what a step cannot be faster than."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from scipy.linalg.blas import sgemm
from threadpoolctl import threadpool_limits

from peers.cases import Array, Case, f32, has
from peers.job import Job, Timed, thread_counts, threads_text

Product = tuple[Array, Array, Array]  # A, B and where A B goes; A or B may be a transposed view
Call = Callable[[], object]


def products_alone(case: Case) -> Iterator[Job]:
    libraries = {"NumPy's BLAS": _numpy, "SciPy's BLAS": _scipy}
    if has("torch"):
        libraries["torch.mm"] = _torch
    products = list(_products(case))
    for name, calls in libraries.items():
        for threads in thread_counts():
            yield _job(name, threads, [calls(*product) for product in products])


def _products(case: Case) -> Iterator[Product]:
    """Forward, the gradient of each W, and the deltas of all layers but the first."""
    rng = np.random.default_rng(0)

    def array(*shape: int) -> Array:
        return rng.random(shape, dtype=f32)

    for i, (inputs, outputs) in enumerate(zip(case.sizes, case.sizes[1:], strict=False)):
        a, W, delta = array(case.batch, inputs), array(inputs, outputs), array(case.batch, outputs)
        yield a, W, array(case.batch, outputs)
        yield a.T, delta, array(inputs, outputs)
        if i:
            yield delta, W.T, array(case.batch, inputs)


def _job(library: str, threads: int, calls: list[Call]) -> Job:
    def run(steps: int) -> Timed:
        with threadpool_limits(threads, user_api="blas"), _torch_threads(threads):
            began = time.perf_counter()
            for _ in range(steps):
                for call in calls:
                    call()
            return Timed(time.perf_counter() - began, steps)

    return Job(f"products, {library}", threads_text(threads), run, "products", same_start=False)


def _numpy(A: Array, B: Array, C: Array) -> Call:
    return lambda: np.dot(A, B, out=C)


def _scipy(A: Array, B: Array, C: Array) -> Call:
    """Cᵀ = Bᵀ Aᵀ: row-major arrays are the transposed ones in Fortran's order, so that nothing is copied."""
    b, trans_b = (B.T, False) if B.flags.c_contiguous else (B, True)
    a, trans_a = (A.T, False) if A.flags.c_contiguous else (A, True)
    result = C.T
    assert np.shares_memory(sgemm(1, b, a, 0, result, trans_b, trans_a, overwrite_c=True), C)
    assert np.allclose(C, A @ B, rtol=1e-3)
    return lambda: sgemm(1, b, a, 0, result, trans_b, trans_a, overwrite_c=True)


def _torch(A: Array, B: Array, C: Array) -> Call:
    import torch

    a, b, c = torch.from_numpy(A), torch.from_numpy(B), torch.from_numpy(C)
    return lambda: torch.mm(a, b, out=c)


def _torch_threads(threads: int) -> AbstractContextManager[None]:
    if not has("torch"):
        return nullcontext()
    from peers.pytorch import torch_threads

    return torch_threads(threads)
