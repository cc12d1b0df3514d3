"""PyTorch: eager, and with the forward and backward passes compiled."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from peers.cases import BETA1, BETA2, EPS, Array, Case, Data, Weights
from peers.job import Job, Timed, thread_counts, threads_text

USUAL_THREADS = torch.get_num_threads()  # before a measurement sets another number


def new_model(case: Case) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for inputs, outputs in zip(case.sizes, case.sizes[1:], strict=False):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def set_weights(model: torch.nn.Sequential, weights: Weights) -> None:
    with torch.no_grad():
        for layer, (W, b) in zip(model[::2], weights, strict=True):
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(W.T)))
            layer.bias.copy_(torch.from_numpy(b))


def weights_of(model: torch.nn.Sequential) -> Weights:
    return [(m.weight.detach().numpy().T.copy(), m.bias.detach().numpy().copy()) for m in model[::2]]


def optimiser_of(case: Case, model: torch.nn.Sequential, fused: bool) -> torch.optim.Optimizer:
    if case.optimiser == "SGD":
        return torch.optim.SGD(model.parameters(), lr=case.lr, fused=fused)
    return torch.optim.Adam(model.parameters(), lr=case.lr, betas=(BETA1, BETA2), eps=EPS, fused=fused)


def loss_of(case: Case, data: Data, model: torch.nn.Sequential) -> Callable[[torch.Tensor], torch.Tensor]:
    """From the numbers of the rows to the cost."""
    X = torch.from_numpy(data.X)
    if case.head == "sigmoid":
        t, compare = torch.from_numpy(data.T), functional.binary_cross_entropy_with_logits
    else:
        t, compare = torch.from_numpy(data.y), functional.cross_entropy

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return compare(model(X.index_select(0, rows)), t.index_select(0, rows))

    return loss


def train(loss: Callable[[torch.Tensor], torch.Tensor], optimiser: Any, orders: torch.Tensor) -> None:
    for rows in orders:
        cost = loss(rows)
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(1)


def eager(case: Case, data: Data, start: Weights, order: Array) -> Iterator[Job]:
    for threads in thread_counts():
        for fused in (False, True):
            yield _job(case, data, start, order, threads, fused)


def _job(
    case: Case,
    data: Data,
    start: Weights,
    order: Array,
    threads: int,
    fused: bool,
    compiled: bool = False,
) -> Job:
    model, orders = new_model(case), torch.from_numpy(order)
    loss = loss_of(case, data, model)
    if compiled:
        torch.compiler.reset()  # the kernels of other nets count against a limit
        loss = torch.compile(loss, dynamic=False)

    def run(steps: int) -> Timed:
        set_weights(model, start)
        with torch_threads(threads):
            optimiser = optimiser_of(case, model, fused)
            began = time.perf_counter()
            train(loss, optimiser, orders[:steps])
            seconds = time.perf_counter() - began
        return Timed(seconds, steps, weights_of(model))

    variant = f"{threads_text(threads)}{', fused optimiser' * fused}"
    return Job("torch.compile" if compiled else "PyTorch eager", variant, run)


def compiled(case: Case, data: Data, start: Weights, order: Array, like: Job) -> tuple[Job | None, str]:
    """The variant with the threads and the optimiser of an eager one, or why there is none."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no helpers that stay in the background
    threads = int(like.variant.split()[0])
    job = _job(case, data, start, order, threads, "fused" in like.variant, compiled=True)
    try:
        job.first = job.run(1).seconds
    except RuntimeError as error:
        return None, f"torch.compile is left out, it found no working C++ compiler ({type(error).__name__})"
    return job, ""
