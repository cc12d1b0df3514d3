"""Seconds a training step, beside NumPy by hand, PyTorch and JAX: one process, interleaved rounds.

    python benchmarks/peers.py              # prints, and writes docs/performance.md
    python benchmarks/peers.py --no-page    # prints only

Peers come with `pip install -e '.[bench]'`; one that is not there is left out and named. Data: the folder
"mnist" in $BACKPASS_DATA, or in shared/data beside the repository; random numbers of that size without it.

What each of them does: the same steps over the same rows in the same order from the same weights. Each
gathers the shuffled rows of a batch itself, in every step. After 500 steps all must have the same cost to
rtol 1e-3 (later, float32 rounding grows: the costs at the end are printed).

- backpass: a native loop as `bp.train` makes it. It also draws its own order of the rows, checks the order,
  keeps the cost of each step and stops where it is not finite; the others get the order ready-made.
- NumPy: written by hand for these two nets, in place, without temporaries in the large arrays; one BLAS
  thread.
- PyTorch: eager, `nn.Sequential`, `F.cross_entropy`, `optim.SGD`; the best of one and two threads, plain and
  fused optimiser. A variant over twice as slow as another in the worst of three trials of 300 steps is
  dropped, which happens to two threads where other programs want the processor. The cost is not read.
- JAX: all steps in one jitted call, `lax.scan` over steps, rows gathered inside, costs returned; its own
  threads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import backpass as bp
from backpass.data import load
from backpass.exec.choose import compile_loop
from backpass.exec.machine import blas_name, cpu_name
from backpass.training.batches import Batches
from backpass.training.step import step_graph

f32 = np.float32
Weights = list[np.ndarray]  # W1, b1, W2, b2
Timed = tuple[float, Weights]  # seconds, and where it ended
ROUNDS, SEED, PAUSE = 9, 1, 0.2
SAME = 500  #: steps after which all must agree
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


@dataclass(frozen=True)
class Case:
    hidden: int
    activation: str
    batch: int
    lr: float
    epochs: int

    def __str__(self) -> str:
        return f"784-{self.hidden}-10, {self.activation}, batch {self.batch}"


CASES = (Case(30, "sigmoid", 10, 0.5, 1), Case(100, "relu", 32, 0.1, 2))


@dataclass
class Job:
    """One competitor: `run` does so many steps from the start."""

    name: str  #: of the product
    variant: str
    run: Callable[[int], Timed]
    first: float = 0.0  #: seconds before it could take a step
    seconds: list[float] = field(default_factory=list)


# ---- the competitors


def ours(case: Case, X: np.ndarray, T: np.ndarray, start: Weights) -> Job:
    began = time.perf_counter()
    net = network(case)
    step = step_graph(net, "cross_entropy", bp.SGD(case.lr), X.shape[1], "f32")
    planned = Batches(len(X), case.batch, case.epochs, SEED).steps
    loop, why = compile_loop(step, {"x": X, "t": T}, case.batch, planned, "compiled")
    assert loop.name == "compiled", why
    names = ("W1", "b1", "W2", "b2")

    def run(steps: int) -> Timed:
        loop.load(dict(zip(names, start, strict=True)))
        t0 = time.perf_counter()
        batches = Batches(len(X), case.batch, case.epochs, SEED)
        order, starts = batches.span(0, steps)
        chunk = loop.run(order, starts, np.full((steps, 1), case.lr))
        seconds = time.perf_counter() - t0
        assert chunk.done == steps
        state = loop.state()
        return seconds, [state[name] for name in names]

    return Job("backpass", "compiled", run, time.perf_counter() - began)


def by_hand(case: Case, X: np.ndarray, T: np.ndarray, start: Weights, order: np.ndarray) -> Job:
    B, lr = case.batch, f32(case.lr / case.batch)
    x, t = np.empty((B, X.shape[1]), f32), np.empty((B, 10), f32)
    a, d1, tmp = (np.empty((B, case.hidden), f32) for _ in range(3))
    z, e = np.empty((B, 10), f32), np.empty((B, 10), f32)
    g1, g2 = np.empty_like(start[0]), np.empty_like(start[2])
    costs = np.empty(len(order))

    def train(steps: int) -> Timed:
        W1, b1, W2, b2 = (w.copy() for w in start)
        t0 = time.perf_counter()
        for s, rows in enumerate(order[:steps]):
            np.take(X, rows, 0, out=x, mode="clip")
            np.take(T, rows, 0, out=t, mode="clip")
            np.dot(x, W1, out=a)
            np.add(a, b1, out=a)
            if case.activation == "sigmoid":
                np.negative(a, out=a)
                np.exp(a, out=a)
                np.add(a, 1, out=a)
                np.reciprocal(a, out=a)
            else:
                np.maximum(a, 0, out=a)
            np.dot(a, W2, out=z)
            np.add(z, b2, out=z)
            np.subtract(z, z.max(1, keepdims=True), out=z)
            np.exp(z, out=e)
            total = e.sum(1, keepdims=True)
            costs[s] = (np.log(total).sum() - np.vdot(t, z)) / B
            np.divide(e, total, out=e)
            np.subtract(e, t, out=e)
            np.multiply(e, lr, out=e)
            np.dot(e, W2.T, out=d1)
            if case.activation == "sigmoid":
                np.subtract(1, a, out=tmp)
                np.multiply(tmp, a, out=tmp)
                np.multiply(d1, tmp, out=d1)
            else:
                np.multiply(d1, a > 0, out=d1)
            np.dot(a.T, e, out=g2)
            np.dot(x.T, d1, out=g1)
            np.subtract(W2, g2, out=W2)
            np.subtract(b2, e.sum(0), out=b2)
            np.subtract(W1, g1, out=W1)
            np.subtract(b1, d1.sum(0), out=b1)
        return time.perf_counter() - t0, [W1, b1, W2, b2]

    def run(steps: int) -> Timed:
        with threadpool_limits(1, user_api="blas"):
            return train(steps)

    return Job("NumPy by hand", "1 thread", run)


def pytorch(
    case: Case, X: np.ndarray, y: np.ndarray, start: Weights, order: np.ndarray, threads: int, fused: bool
) -> Job:
    import torch
    from torch.nn.functional import cross_entropy

    Xt, yt, orders = torch.from_numpy(X), torch.from_numpy(y), torch.from_numpy(order)
    activation = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}[case.activation]

    def run(steps: int) -> Timed:
        torch.set_num_threads(threads)
        first, last = torch.nn.Linear(X.shape[1], case.hidden), torch.nn.Linear(case.hidden, 10)
        parameters = [first.weight, first.bias, last.weight, last.bias]
        with torch.no_grad():
            for p, w in zip(parameters, start, strict=True):
                p.copy_(torch.from_numpy(np.ascontiguousarray(w.T)))
        model = torch.nn.Sequential(first, activation(), last)
        optimiser = torch.optim.SGD(parameters, lr=case.lr, fused=fused)
        t0 = time.perf_counter()
        for rows in orders[:steps]:
            loss = cross_entropy(model(Xt.index_select(0, rows)), yt.index_select(0, rows))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        seconds = time.perf_counter() - t0
        torch.set_num_threads(1)
        return seconds, [p.detach().numpy().T for p in parameters]

    return Job("PyTorch eager", f"{threads} thread{'s' * (threads > 1)}{', fused' * fused}", run)


def pytorch_variants(
    case: Case, X: np.ndarray, y: np.ndarray, start: Weights, order: np.ndarray
) -> list[Job]:
    """The variants that may be the fastest."""
    variants = [(n, fused) for n in sorted({1, min(2, os.cpu_count() or 1)}) for fused in (False, True)]
    trial = {}
    for variant in variants:
        job = pytorch(case, X, y, start, order, *variant)
        trial[variant] = max(job.run(300)[0] for _ in range(3))
    best = min(trial.values())
    for variant, seconds in trial.items():
        print(
            f"  {case}, PyTorch {variant}: {seconds / 300 * 1e6:.0f} µs a step in the trial", file=sys.stderr
        )
    return [pytorch(case, X, y, start, order, *v) for v in variants if trial[v] <= 2 * best]


def jax_scan(case: Case, X: np.ndarray, T: np.ndarray, start: Weights, order: np.ndarray) -> Job:
    import jax
    import jax.numpy as jnp

    activation = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[case.activation]

    def cost(weights, x, t):  # type: ignore[no-untyped-def]
        W1, b1, W2, b2 = weights
        z = activation(x @ W1 + b1) @ W2 + b2
        return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(z), axis=1))

    @jax.jit
    def train(weights, X, T, order):  # type: ignore[no-untyped-def]
        def step(weights, rows):  # type: ignore[no-untyped-def]
            C, gradients = jax.value_and_grad(cost)(weights, X[rows], T[rows])
            return [w - f32(case.lr) * g for w, g in zip(weights, gradients, strict=True)], C

        return jax.lax.scan(step, weights, order)

    Xj, Tj, oj = jnp.asarray(X), jnp.asarray(T), jnp.asarray(order.astype(np.int32))

    def run(steps: int) -> Timed:
        weights, rows = [jnp.asarray(w) for w in start], oj[:steps]
        jax.block_until_ready((weights, rows))
        t0 = time.perf_counter()
        weights, _ = jax.block_until_ready(train(weights, Xj, Tj, rows))
        return time.perf_counter() - t0, [np.asarray(w) for w in weights]

    first, _ = run(len(order))
    again, _ = run(len(order))
    first -= again
    return Job("JAX scan", "jit", run, first)


# ---- measuring


def network(case: Case) -> bp.Network:
    return bp.Network([bp.Dense(case.hidden, case.activation), bp.Dense(10, "softmax")])


def rows() -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """60,000 rows: a name, X in [0, 1], one-hot T and classes y."""
    folder = (
        Path(os.environ.get("BACKPASS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
        / "mnist"
    )
    if folder.is_dir():
        digits = load(folder)
        return "MNIST", digits.inputs(f32), digits.targets(f32), digits.codes()
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 60_000)
    return "random numbers", rng.random((60_000, 784), dtype=f32), np.eye(10, dtype=f32)[y], y


def cost(weights: Weights, case: Case, X: np.ndarray, T: np.ndarray) -> float:
    """The mean cost of some rows, in float64."""
    W1, b1, W2, b2 = (np.asarray(w, np.float64) for w in weights)
    z = X.astype(np.float64) @ W1 + b1
    z = (1 / (1 + np.exp(-z)) if case.activation == "sigmoid" else np.maximum(z, 0)) @ W2 + b2
    z -= z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - (T * z).sum(1)))


def measure(case: Case, rounds: int) -> tuple[list[Job], int, dict[str, float], dict[str, float]]:
    """The best job of each product, the steps of a call, and the costs after 500 and after all steps."""
    _, X, T, y = DATA
    start = list(network(case).initial(784, 0, "f32").values())
    batches = Batches(len(X), case.batch, case.epochs, SEED)
    assert len(X) % case.batch == 0
    order, _ = batches.span(0, batches.steps)
    order = order.reshape(batches.steps, case.batch)
    jobs = [ours(case, X, T, start), by_hand(case, X, T, start, order)]
    if has("torch"):
        jobs += pytorch_variants(case, X, y, start, order)
    if has("jax"):
        jobs.append(jax_scan(case, X, T, start, order))
    early, ended = ({f"{j.name}, {j.variant}": end(j, case, n) for j in jobs} for n in (SAME, batches.steps))
    reached = early["backpass, compiled"]
    for who, value in early.items():
        if abs(value - reached) > 1e-3 * reached:
            raise SystemExit(
                f"{case}: cost of {who} {value:.6f}, of backpass {reached:.6f}: not the same work"
            )
    for turn in range(rounds):
        for k in range(len(jobs)):
            job = jobs[(k + turn) % len(jobs)]
            time.sleep(PAUSE)  # the threads of the one before go to rest
            job.seconds.append(job.run(batches.steps)[0])
        last = ", ".join(f"{job.name} {job.seconds[-1]:.2f} s" for job in jobs)
        print(f"  {case}, round {turn + 1} of {rounds}: {last}", file=sys.stderr)
    best = {}
    for job in jobs:
        known = best.get(job.name)
        if known is None or statistics.median(job.seconds) < statistics.median(known.seconds):
            best[job.name] = job
    return list(best.values()), batches.steps, early, ended


def end(job: Job, case: Case, steps: int) -> float:
    """The cost after so many steps, on the first 10,000 rows."""
    _, X, T, _ = DATA
    return cost(job.run(steps)[1], case, X[:10_000], T[:10_000])


def has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def load_average() -> str:
    """How busy the machine was with other programs before the first round."""
    try:
        return f"Load average at the start: {os.getloadavg()[0]:.1f} (0 is a quiet machine)."
    except (AttributeError, OSError):
        return ""


def table(jobs: list[Job], steps: int) -> list[str]:
    lines = [
        "| | µs a step, median | least to most | times backpass | least to most |",
        "|---|---|---|---|---|",
    ]
    base = jobs[0].seconds
    for job in jobs:
        us = [s / steps * 1e6 for s in job.seconds]
        ratio = [a / b for a, b in zip(job.seconds, base, strict=True)]
        lines.append(
            f"| {job.name} ({job.variant}) | {statistics.median(us):.1f} | {min(us):.1f} to {max(us):.1f} "
            f"| {statistics.median(ratio):.2f} | {min(ratio):.2f} to {max(ratio):.2f} |"
        )
    return lines


def main() -> None:
    global DATA
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least 5; {ROUNDS} by default")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/performance.md")
    options = parser.parse_args()
    rounds = max(5, options.rounds)
    DATA = rows()
    with tempfile.TemporaryDirectory(prefix="backpass-peers-") as cache:
        os.environ["BACKPASS_CACHE"] = cache  # so that compiling is seen
        body = report(rounds)
    print("\n".join(body))
    if not options.no_page:
        PAGE.write_text("\n".join([*HEAD, *body, *TAIL]) + "\n", encoding="utf-8")
        print(f"\nwritten: docs/{PAGE.name}")


def report(rounds: int) -> list[str]:
    packages = ("numpy", "scipy", "numba", "torch", "jax")
    versions = ", ".join(f"{p} {version(p)}" if has(p) else f"{p} not installed" for p in packages)
    missing = [p for p in ("torch", "jax") if not has(p)]
    lines = [
        f"Machine: {cpu_name()}, {os.cpu_count()} cores; {date.today().isoformat()}. {load_average()}",
        f"Versions: backpass {bp.__version__}, {versions}; BLAS of backpass: {blas_name('compiled')}, "
        f"of NumPy: {blas_name('reference')}.",
        f"Data: {DATA[0]}, 60,000 rows. {rounds} interleaved rounds after two calls to warm up.",
    ]
    if missing:
        lines.append(f"Left out because they are not installed: {', '.join(missing)}.")
    for case in CASES:
        jobs, steps, early, ended = measure(case, rounds)
        lines += ["", f"### {case}, {steps:,} steps a call, float32", "", *table(jobs, steps), ""]
        apart = max(early.values()) / min(early.values()) - 1
        lines.append(
            f"Cost on 10,000 rows: after {SAME} steps the same for all to {apart:.0e}; at the end "
            f"{min(ended.values()):.5f} to {max(ended.values()):.5f}."
        )
        first = ", ".join(f"{job.name} {job.first:.1f} s" for job in jobs if job.first)
        lines.append(f"To build and compile before the first step (nothing kept from earlier): {first}.")
    return lines


DATA: tuple[str, np.ndarray, np.ndarray, np.ndarray]
HEAD = [
    "# Performance",
    "",
    "<!-- Written by benchmarks/peers.py: do not edit by hand. -->",
    "",
    "## A training step beside NumPy, PyTorch and JAX",
    "",
    "    pip install -e '.[bench]'",
    "    python benchmarks/peers.py",
    "",
]
TAIL = [
    "",
    "### How this was measured",
    "",
    "One process; in each round every competitor does all steps once, in an order that rotates, with a pause",
    "between two. A ratio is taken within a round; the tables have medians and the whole spread.",
    "",
    *(__doc__ or "").split("without it.\n\n", 1)[1].rstrip().split("\n"),
    "",
    "Small nets are where a framework's own work a step weighs most: with large layers all of them spend",
    "their time in the same matrix products.",
]


if __name__ == "__main__":
    main()
