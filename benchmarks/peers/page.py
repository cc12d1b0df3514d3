"""The results as a page of tables, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

import backpass as bp
from backpass.exec.machine import cpu_name
from peers.accuracy import Learned
from peers.cases import has, version
from peers.fresh import Memory, Start
from peers.job import Job, ratios
from peers.measure import Plan, Result

COMPILE_TARGET, START_TARGET, PRODUCTS_TARGET = 1.5, 0.2, 1.3

HEAD = """\
# Performance

<!-- Written by benchmarks/peers.py: do not edit by hand. -->

How long a training step takes in backpass, and in other libraries, for nets of seven sizes: from four hidden
units to two layers of 800. All numbers are of one run of

    pip install -e '.[bench]'
    python benchmarks/peers.py
"""

HOW = """\
## How this was measured

One process runs all competitors of a net in turn. In each round every one of them trains for its number of
steps, from the same weights, in an order that rotates, with a pause between two. A ratio is taken within a
round; the tables have the median of the rounds and, in brackets or beside it, the least and the most. Each
competitor runs in the variant that is fastest here (threads, optimiser): short trials drop what is clearly
slower, and the best median of the rest is shown.

All are in float32, with ReLU hidden units and softmax with cross-entropy; the net with one output has a
sigmoid with binary cross-entropy. SGD without momentum has the learning rate 0.1, Adam 0.001. Rows are
shuffled: each gathers the rows of a batch in every step, within the measured time. Rows that do not fill a
batch are left out. All but scikit-learn start from the same weights and take the same rows in the same order.
Their costs must then agree to one part in a thousand after 100 steps (or after those of one call, where that
is fewer), else the benchmark stops without a page.

What each of them does:

- **backpass**: a native loop, as `bp.train` makes it. It also draws the order of the rows, checks it, keeps
  the cost of each step and stops where that is not finite. The BLAS is the one that comes with SciPy, or MKL
  where the package `mkl` is installed. The number of threads follows from the sizes.
- **NumPy by hand**: forward, backward and update in place, in arrays that are allocated once; one array holds
  all parameters. One or two BLAS threads.
- **scikit-learn**: `MLPClassifier.fit`, without penalty, tolerance and early stopping; its own weights and
  its own shuffling. One or two BLAS threads.
- **PyTorch eager**: `nn.Sequential`, the cost as one function of `nn.functional`, `optim.SGD` or
  `optim.Adam`; one or two threads, plain or fused optimiser.
- **torch.compile**: the same with the gathering, the net and the cost compiled, forward and backward, with
  the threads and the optimiser of the quickest eager variant in its trials. The optimiser is not compiled.
- **JAX step by step**: one jitted function of a step, its state donated, called from Python for each step.
- **JAX scan**: all steps in one jitted call, as many as backpass takes, one after another without
  unrolling. JAX uses threads of its own.

"Products alone" are the matrix products of one step (forward, gradients, deltas) and nothing else, into
arrays that are there already, in the same rounds. The best of NumPy's BLAS, SciPy's BLAS and `torch.mm`, with
one and two threads, is what a step is compared with.

Starts are of fresh processes, from the first import to the end of the first step, after the rows of data
were made. The times with an empty cache are of one process, the others medians of three. Memory is the
process's peak less what it was when the data were in memory, so that it includes all that is imported.

Small nets are where a library's own work for a step weighs most; with large layers all of them spend their
time in the same matrix products.
"""


@dataclass
class Results:
    plan: Plan
    wanted_accuracy: float
    load: str = field(default_factory=lambda: load_average())
    cases: list[Result] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    learned: list[Learned] = field(default_factory=list)


def load_average() -> str:
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except (AttributeError, OSError):
        return "unknown"


def page(results: Results) -> str:
    parts = [HEAD.rstrip(), "", *_machine(results), "", *_summary(results.cases), ""]
    if results.learned:
        parts += [*_accuracy(results), ""]
    if results.starts:
        parts += [*_starts(results.starts), ""]
    if results.memory:
        parts += [*_memory(results.memory), ""]
    parts += [*_products(results.cases), "## Each net", ""]
    for result in results.cases:
        parts += [*_case(result), ""]
    return "\n".join([*parts, HOW])


def as_json(results: Results) -> str:
    def job(job: Job) -> dict[str, Any]:
        kept = ("product", "variant", "kind", "steps", "first", "us")
        return {name: getattr(job, name) for name in kept}

    found = {
        "backpass": bp.__version__,
        "date": date.today().isoformat(),
        "machine": _machine(results),
        "load": results.load,
        "cases": [
            {
                "row": r.case.row,
                "name": r.case.name,
                "target": r.case.target._asdict(),
                "jobs": [job(j) for j in (*r.ours, *r.peers, *r.products)],
                "apart": r.apart,
                "left_out": r.left_out,
            }
            for r in results.cases
        ],
        "starts": [asdict(s) for s in results.starts],
        "memory": [asdict(m) for m in results.memory],
        "learned": [asdict(one) for one in results.learned],
    }
    return json.dumps(found, indent=1)


# ---- parts of the page


def _machine(results: Results) -> list[str]:
    own = {"numpy": "NumPy", "scipy": "SciPy", "llvmlite": "llvmlite"}
    measured = {"mkl": "MKL", "scikit-learn": "scikit-learn", "torch": "PyTorch", "jax": "JAX"}
    versions = ", ".join(f"{name} {version(p)}" for p, name in (own | measured).items() if has(p))
    absent = [name for p, name in measured.items() if not has(p)]
    reasons = sorted({why for r in results.cases for why in r.left_out})
    data = sorted({r.data for r in results.cases if r.case.sizes[0] == 784})
    lines = [
        f"- Machine: {cpu_name()}, {os.cpu_count()} cores, {platform.system()}.",
        f"- Day: {date.today().isoformat()}. Load average of the minute before: {results.load} "
        "(0 is a quiet machine).",
        f"- Versions: Python {platform.python_version()}, backpass {bp.__version__}, {versions}.",
        f"- BLAS: of SciPy {_blas_of('scipy')}, of NumPy {_blas_of('numpy')}.",
        f"- Rounds: {results.plan.rounds}.",
    ]
    if data:
        lines.append(f"- Data of 784 columns: {', '.join(data)}; of fewer columns: random numbers.")
    lines += [f"- Not installed, so not measured: {', '.join(absent)}."] if absent else []
    return lines + [f"- {why[0].upper()}{why[1:]}." for why in reasons]


def _blas_of(package: str) -> str:
    """The BLAS that lies in a package's folder. The file's name says little: NumPy's has "scipy" in it."""
    for info in threadpool_info():
        if info["user_api"] == "blas" and package in str(Path(info["filepath"]).parent):
            return f"{info['internal_api']} {info['version']}"
    return "of the system"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _span(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _us(us: float) -> str:
    return f"{us:,.0f}" if us >= 1000 else f"{us:.3g}"


def _verdict(good: bool) -> str:
    return "reached" if good else "not reached"


def _against(result: Result, mine: Job, target: float | None) -> list[str]:
    """What `mine` takes, the best peer's time ÷ it, and whether that is as much as it should be."""
    found = ratios(result.best, mine)
    goal = ["-", "-"] if target is None else [f"{target:g}", _verdict(statistics.median(found) >= target)]
    return [_us(mine.median), _span(found), *goal]


def _summary(cases: list[Result]) -> list[str]:
    lines = [
        "## The best peer's time ÷ ours",
        "",
        "A net is written as its layers / rows of a batch. Times are microseconds a step. More than 1:",
        "backpass is faster than the fastest of all others.",
    ]
    if not cases:
        return []
    for k, job in enumerate(cases[0].ours):
        rows = []
        for r in cases:
            target = r.case.target.mkl if k else r.case.target.scipy
            cells = _against(r, r.ours[k], target)
            rows.append([str(r.case.row), r.case.name, r.best.product, _us(r.best.median), *cells])
        head = ["row", "net", "best peer", "its µs", "our µs", "ratio (range)", "target", ""]
        lines += ["", f"With {job.product}:", "", *_table(head, rows)]
    return lines


def _case(result: Result) -> list[str]:
    steps = result.ours[0].steps
    rows = []
    for job in (*result.ours, *result.peers):
        against = ["1" if job is mine else _span(ratios(job, mine)) for mine in result.ours]
        spread = f"{_us(min(job.us))} to {_us(max(job.us))}"
        rows.append([job.product, job.variant, _us(job.median), spread, *against, f"{job.steps:,}"])
    head = [
        "",
        "",
        "µs a step",
        "least to most",
        *(f"÷ {job.product}" for job in result.ours),
        "steps a call",
    ]
    same = f"Costs agreed to {result.apart:.0e} after {min(result.same_steps, steps)} steps."
    firsts = [f"{j.product} {j.first:.1f} s" for j in (*result.ours, *result.peers) if j.first > 0.05]
    if firsts:
        same += f" To build and compile, before the first step: {', '.join(firsts)}."
    return [f"### {result.case.row}: {result.case.name}", "", *_table(head, rows), "", same]


def _products(cases: list[Result]) -> list[str]:
    rows = []
    for r in cases:
        if not r.products:
            continue
        alone = min(r.products, key=lambda job: job.median)
        for mine in r.ours:
            found = ratios(mine, alone)
            good = _verdict(statistics.median(found) <= PRODUCTS_TARGET)
            name = alone.product.removeprefix("products, ")
            cells = [_us(mine.median), f"{name}, {alone.variant}", _us(alone.median), _span(found), good]
            rows.append([r.case.name, f"{mine.product}, {mine.variant}", *cells])
    if not rows:
        return []
    head = ["net", "", "µs a step", "products alone, the best", "their µs", "step ÷ products", ""]
    return [
        "## Beside the matrix products alone",
        "",
        f"The target is {PRODUCTS_TARGET}: what is not a product should take little.",
        "",
        *_table(head, rows),
        "",
    ]


def _starts(starts: list[Start]) -> list[str]:
    rows = [
        [
            s.case,
            f"{s.imports:.2f}",
            f"{s.compiling:.2f}",
            _verdict(s.compiling <= COMPILE_TARGET),
            f"{s.cached:.2f}",
            f"{s.reference:.2f}",
            f"{s.later:+.2f}",
            _verdict(s.later <= START_TARGET),
        ]
        for s in starts
    ]
    head = ["net", "cold: imports", "cold: compiling", f"target {COMPILE_TARGET}"]
    head += ["cached start", "reference start", "difference", f"target {START_TARGET}"]
    return [
        "## Seconds until the first step",
        "",
        "In a fresh process. Cold: nothing is in the cache. Start: from the first import until one step is",
        "done, with the kernel in the cache, and with the reference executor, which compiles nothing.",
        "",
        *_table(head, rows),
    ]


def _memory(found: list[Memory]) -> list[str]:
    rows = [[m.case, f"{m.data:.0f}", f"{m.cached:.0f}", f"{m.compiling:.0f}"] for m in found]
    head = ["net", "data", "peak above, kernel in the cache", "peak above, compiling"]
    return ["## Memory", "", "Megabytes, of a fresh process.", "", *_table(head, rows)]


def _accuracy(results: Results) -> list[str]:
    rows = []
    for one in results.learned:
        times = f"{min(one.seconds):.2f} to {max(one.seconds):.2f}"
        epochs = ", ".join(map(str, one.epochs)) + ("" if one.reached else " (not reached)")
        rows.append([one.product, f"{one.median:.2f}", times, epochs])
    return [
        f"## Seconds to {results.wanted_accuracy:.0%} of MNIST's test rows",
        "",
        "784-100-10, batches of 32, SGD with 0.1, each library as a person would use it: `bp.train`,",
        "`MLPClassifier.partial_fit` and an eager PyTorch loop, with their usual numbers of threads. The",
        "test rows are predicted after each epoch, within the time; weights and orders are each library's",
        "own. One uncounted epoch of each comes first, so that backpass finds its kernel in the cache.",
        "",
        *_table(["", "seconds, median", "least to most", "epochs"], rows),
    ]
