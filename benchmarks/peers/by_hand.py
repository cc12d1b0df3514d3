"""NumPy, written by hand: in place, without temporaries in the large arrays.

All parameters lie in one array, and all gradients in another, so that an update is a few calls. The learning
rate of SGD is folded into the error of the output, which is small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from peers.cases import BETA1, BETA2, EPS, Array, Case, Data, Weights, f32
from peers.job import Job, Timed, thread_counts, threads_text


def by_hand(case: Case, data: Data, start: Weights, order: Array) -> Iterator[Job]:
    for threads in thread_counts():
        yield _job(case, data, start, order, threads)


def _job(case: Case, data: Data, start: Weights, order: Array, threads: int) -> Job:
    net = _Net(case, start)

    def run(steps: int) -> Timed:
        net.reset(start)
        update = {"SGD": net.sgd, "Adam": net.adam}[case.optimiser]()
        with threadpool_limits(threads, user_api="blas"):
            began = time.perf_counter()
            for rows in order[:steps]:
                np.take(data.X, rows, 0, out=net.activations[0], mode="clip")
                np.take(data.T, rows, 0, out=net.t, mode="clip")
                net.forward()
                net.backward()
                update()
            seconds = time.perf_counter() - began
        return Timed(seconds, steps, [(W.copy(), b.copy()) for W, b in net.layers])

    return Job("NumPy by hand", threads_text(threads), run)


class _Net:
    """A net with its gradients and all that a step needs, allocated once."""

    def __init__(self, case: Case, start: Weights) -> None:
        size = sum(W.size + b.size for W, b in start)
        self.parameters, self.gradients = np.empty(size, f32), np.empty(size, f32)
        self.layers, self.slopes = _views(self.parameters, start), _views(self.gradients, start)
        self.activations = [np.empty((case.batch, n), f32) for n in case.sizes]
        self.deltas = [np.empty_like(a) for a in self.activations]
        self.masks = [np.empty(a.shape, bool) for a in self.activations]
        self.t = np.empty_like(self.activations[-1])
        self.case, self.cost = case, 0.0
        self.scale = f32((case.lr if case.optimiser == "SGD" else 1.0) / case.batch)

    def reset(self, start: Weights) -> None:
        for (W, b), (W0, b0) in zip(self.layers, start, strict=True):
            W[:], b[:] = W0, b0

    def forward(self) -> None:
        last = len(self.layers) - 1
        for i, (W, b) in enumerate(self.layers):
            z = self.activations[i + 1]
            np.dot(self.activations[i], W, out=z)
            np.add(z, b, out=z)
            if i < last:
                np.maximum(z, 0, out=z)
        head = self._sigmoid if self.case.head == "sigmoid" else self._softmax
        head(self.activations[-1], self.deltas[-1])

    def _softmax(self, z: Array, a: Array) -> None:
        np.subtract(z, z.max(1, keepdims=True), out=z)
        np.exp(z, out=a)
        total = a.sum(1, keepdims=True)
        self.cost = (np.log(total).sum() - np.vdot(self.t, z)) / len(z)
        np.divide(a, total, out=a)

    def _sigmoid(self, z: Array, a: Array) -> None:
        self.cost = (np.logaddexp(0, z).sum() - np.vdot(self.t, z)) / len(z)
        np.negative(z, out=a)
        np.exp(a, out=a)
        np.add(a, 1, out=a)
        np.reciprocal(a, out=a)

    def backward(self) -> None:
        delta = self.deltas[-1]  # holds the output
        np.subtract(delta, self.t, out=delta)
        np.multiply(delta, self.scale, out=delta)
        for i in reversed(range(len(self.layers))):
            a, delta, (dW, db) = self.activations[i], self.deltas[i + 1], self.slopes[i]
            np.dot(a.T, delta, out=dW)
            np.add.reduce(delta, axis=0, out=db)
            if i:
                np.dot(delta, self.layers[i][0].T, out=self.deltas[i])
                np.greater(a, 0, out=self.masks[i])
                np.multiply(self.deltas[i], self.masks[i], out=self.deltas[i])

    def sgd(self) -> Callable[[], None]:
        def update() -> None:
            np.subtract(self.parameters, self.gradients, out=self.parameters)

        return update

    def adam(self) -> Callable[[], None]:
        mean, squares, work = np.zeros((3, self.parameters.size), f32)
        lr, g, steps = self.case.lr, self.gradients, 0

        def update() -> None:
            nonlocal steps
            steps += 1
            np.multiply(mean, f32(BETA1), out=mean)
            np.multiply(g, f32(1 - BETA1), out=work)
            np.add(mean, work, out=mean)
            np.multiply(squares, f32(BETA2), out=squares)
            np.multiply(g, g, out=g)
            np.multiply(g, f32(1 - BETA2), out=g)
            np.add(squares, g, out=squares)
            # η m̂ / (√ŝ + ε), with the two corrections in the numbers instead of the arrays
            root = (1 - BETA2**steps) ** 0.5
            np.sqrt(squares, out=work)
            np.add(work, f32(EPS * root), out=work)
            np.divide(mean, work, out=work)
            np.multiply(work, f32(lr * root / (1 - BETA1**steps)), out=work)
            np.subtract(self.parameters, work, out=self.parameters)

        return update


def _views(flat: Array, like: Weights) -> Weights:
    """W and b of each layer, in one array."""
    views, at = [], 0
    for W, b in like:
        weights, bias = flat[at : at + W.size], flat[at + W.size : at + W.size + b.size]
        views.append((weights.reshape(W.shape), bias))
        at += W.size + b.size
    return views
