"""JAX: one jitted step, called for each step; and all steps in one jitted call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp

from peers.cases import BETA1, BETA2, EPS, Array, Case, Data, Weights, f32
from peers.job import Job, Timed

State = Any  # weights, and for Adam their running means and the number of steps


def jax_jobs(case: Case, data: Data, start: Weights, order: Array) -> list[Job]:
    step = _step(case)
    one = partial(_one_by_one, jax.jit(step, donate_argnums=0))
    scan = partial(_scan, jax.jit(lambda state, X, T, order: jax.lax.scan(
        lambda state, rows: step(state, X, T, rows), state, order
    )))  # fmt: skip
    return [
        _job("JAX step by step", "jit", one, case, data, start, order),
        _job("JAX scan", "jit", scan, case, data, start, order, any_steps=False),
    ]


def _job(
    product: str,
    variant: str,
    train: Callable[[State, Any, Any, Array], State],
    case: Case,
    data: Data,
    start: Weights,
    order: Array,
    any_steps: bool = True,
) -> Job:
    X, T, order = jnp.asarray(data.X), jnp.asarray(data.T), order.astype(np.int32)

    def run(steps: int) -> Timed:
        state = jax.block_until_ready(_initial(case, start))
        began = time.perf_counter()
        state = jax.block_until_ready(train(state, X, T, order[:steps]))
        seconds = time.perf_counter() - began
        weights = state[0] if case.optimiser == "Adam" else state
        return Timed(seconds, steps, [(np.asarray(W), np.asarray(b)) for W, b in weights])

    steps = len(order) if not any_steps else 1
    first = run(steps).seconds - run(steps).seconds
    return Job(product, variant, run, any_steps=any_steps, first=first)


def _one_by_one(step: Any, state: State, X: Any, T: Any, order: Array) -> State:
    for rows in order:
        state, _ = step(state, X, T, rows)
    return state


def _scan(train: Any, state: State, X: Any, T: Any, order: Array) -> State:
    state, _ = train(state, X, T, order)
    return state


def _initial(case: Case, start: Weights) -> State:
    weights = [(jnp.array(W), jnp.array(b)) for W, b in start]
    if case.optimiser == "SGD":
        return weights
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return weights, zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros((), f32)


def _step(case: Case) -> Callable[..., tuple[State, Any]]:
    slope = jax.value_and_grad(partial(_cost, case))

    def sgd(weights: State, X: Any, T: Any, rows: Any) -> tuple[State, Any]:
        C, g = slope(weights, X[rows], T[rows])
        return jax.tree.map(lambda w, d: w - f32(case.lr) * d, weights, g), C

    def adam(state: State, X: Any, T: Any, rows: Any) -> tuple[State, Any]:
        weights, mean, squares, steps = state
        C, g = slope(weights, X[rows], T[rows])
        steps = steps + 1
        mean = jax.tree.map(lambda m, d: f32(BETA1) * m + f32(1 - BETA1) * d, mean, g)
        squares = jax.tree.map(lambda s, d: f32(BETA2) * s + f32(1 - BETA2) * d * d, squares, g)
        rate, root = case.lr / (1 - f32(BETA1) ** steps), jnp.sqrt(1 - f32(BETA2) ** steps)
        weights = jax.tree.map(
            lambda w, m, s: w - rate * m / (jnp.sqrt(s) / root + f32(EPS)), weights, mean, squares
        )
        return (weights, mean, squares, steps), C

    return sgd if case.optimiser == "SGD" else adam


def _cost(case: Case, weights: Any, x: Any, t: Any) -> Any:
    for W, b in weights[:-1]:
        x = jax.nn.relu(x @ W + b)
    W, b = weights[-1]
    z = x @ W + b
    if case.head == "sigmoid":
        return jnp.mean(jnp.logaddexp(0, z) - t * z)
    return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(z), axis=1))
