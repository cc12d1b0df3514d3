"""Seconds until a net knows 97 % of MNIST's test rows, checked after each epoch."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from peers.cases import CASES, SEED, Case, Data, Weights, has, logits, mnist
from peers.job import say
from peers.scikit import classifier

EPOCHS = 30
Check = Callable[[Weights], bool]  # after an epoch: whether it is enough


@dataclass
class Learned:
    product: str
    seconds: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    reached: bool = True

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class _Watch:
    """The check after an epoch, the same for all, which counts and stops the clock."""

    def __init__(self, test: Data, wanted: float) -> None:
        self.test, self.wanted = test, wanted
        self.epochs, self.seconds, self.reached = 0, 0.0, False
        self.began = time.perf_counter()

    def enough(self, weights: Weights) -> bool:
        self.epochs += 1
        found = np.mean(logits(weights, self.test.X).argmax(1) == self.test.y)
        self.seconds, self.reached = time.perf_counter() - self.began, bool(found >= self.wanted)
        return self.reached or self.epochs == EPOCHS


def learn(wanted: float, repeats: int) -> list[Learned]:
    """Each library as a person would use it, in turn; nothing without MNIST."""
    train, test = mnist("train"), mnist("test")
    if train is None or test is None:
        return []
    case = next(c for c in CASES if c.row == 5 and c.optimiser == "SGD")
    ways = {"backpass": _backpass, "scikit-learn": _scikit_learn}
    if has("torch"):
        ways["PyTorch eager"] = _pytorch
    for way in ways.values():  # an epoch that is not counted: compiled kernels, threads, imports
        way(case, train, _Watch(test, 0.0).enough, SEED)
    found = {product: Learned(product) for product in ways}
    for turn in range(repeats):
        for product, way in ways.items():
            watch = _Watch(test, wanted)
            way(case, train, watch.enough, SEED + turn)
            found[product].seconds.append(watch.seconds)
            found[product].epochs.append(watch.epochs)
            found[product].reached &= watch.reached
            say(f"  {product}: {watch.epochs} epochs in {watch.seconds:.1f} s")
    return list(found.values())


def _backpass(case: Case, data: Data, enough: Check, seed: int) -> None:
    import backpass as bp

    layers = range(1, len(case.sizes))

    def after_epoch(progress: bp.training.loop.Progress) -> str | None:
        values = progress.values
        return "stop" if enough([(values[f"W{i}"], values[f"b{i}"]) for i in layers]) else None

    bp.train(
        case.network(),
        (data.X, data.y),
        optimizer=case.our_optimiser(),
        batch=case.batch,
        epochs=EPOCHS,
        seed=seed,
        callbacks=[after_epoch],
    )


def _scikit_learn(case: Case, data: Data, enough: Check, seed: int) -> None:
    net = classifier(case).set_params(random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an epoch at a time has not converged
        while True:
            net.partial_fit(data.X, data.y, classes=np.unique(data.y))
            if enough(list(zip(net.coefs_, net.intercepts_, strict=True))):
                return


def _pytorch(case: Case, data: Data, enough: Check, seed: int) -> None:
    import torch

    from peers import pytorch

    torch.manual_seed(seed)
    with pytorch.torch_threads(pytorch.USUAL_THREADS):
        model = pytorch.new_model(case)
        loss, optimiser = pytorch.loss_of(case, data, model), pytorch.optimiser_of(case, model, fused=False)
        while True:
            pytorch.train(loss, optimiser, torch.randperm(len(data.X)).reshape(-1, case.batch))
            if enough(pytorch.weights_of(model)):
                return
