"""scikit-learn's MLPClassifier: its own weights to start from, and its own shuffling."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from peers.cases import BETA1, BETA2, EPS, Case, Data
from peers.job import Job, Timed, thread_counts, threads_text


def classifier(case: Case, epochs: int = 1) -> Any:
    """The same net and optimiser, without penalty and without an early end."""
    return MLPClassifier(
        case.sizes[1:-1],
        solver=case.optimiser.lower(),
        momentum=0.0,
        nesterovs_momentum=False,
        beta_1=BETA1,
        beta_2=BETA2,
        epsilon=EPS,
        alpha=0.0,
        batch_size=case.batch,
        learning_rate_init=case.lr,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=0,
    )


def scikit_learn(case: Case, data: Data) -> Iterator[Job]:
    for threads in thread_counts():
        yield _job(case, data, threads)


def _job(case: Case, data: Data, threads: int) -> Job:
    # fit refuses labels of one class, and a few rows may have no more
    least = max(np.argmax(data.y == c) for c in np.unique(data.y)) // case.batch + 1

    def run(steps: int) -> Timed:
        part = data.first(max(steps, least) * case.batch)
        each = len(part.X) // case.batch
        net = classifier(case, epochs=max(1, round(steps / each)))
        with threadpool_limits(threads, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it was told to stop
            began = time.perf_counter()
            net.fit(part.X, part.y)
            seconds = time.perf_counter() - began
        return Timed(seconds, net.n_iter_ * each)

    return Job("scikit-learn", threads_text(threads), run, same_start=False)
