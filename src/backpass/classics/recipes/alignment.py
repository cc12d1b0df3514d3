"""Feedback alignment: random weights on the way back, and the weights that come to align with them.

The two first experiments of Lillicrap, Cownden, Tweed & Akerman (2014, 2016): a linear net that learns a
linear map, by the methods of `backpass.rivals`, and the digits of MNIST.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.classics.recipes.mnist import digits
from backpass.nn import Dense, Network
from backpass.nn.initialisers import Uniform
from backpass.pictures.curves import Line, Panel
from backpass.rivals.methods import METHODS
from backpass.rivals.methods.feedback_alignment import FeedbackAlignment
from backpass.rivals.problem import Problem, compiled
from backpass.rivals.programs import Programs
from backpass.rivals.quality import angle_of_rows, angles
from backpass.rivals.task import Task

#: The rules, and how the lines of a picture tell them apart.
_PARTS = {"backprop": "train", "feedback-alignment": "validation", "node-perturbation": "test"}
_SHORT = {
    "backprop": "backprop",
    "feedback-alignment": "feedback",
    "node-perturbation": "node noise",
    "delta-rule": "output layer",
}
#: The error, as a share of the targets' square, at which the map counts as learned.
_LEARNED = 0.01
#: Smaller errors are not drawn.
_SEEN = 1e-4


class Linear(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The linear net.

    Attributes
    ----------
    sizes : (inputs, hidden, outputs)
    examples : int
        Steps: each has an example of its own.
    start, back : float
        Weights start uniform on ±start, those of the way back are drawn on ±back.
    rates : dict of str to list of float
        Step sizes, of which each rule takes its best.
    seeds : int
    every : int
        Steps between two looks.
    """

    sizes: tuple[int, int, int] = (30, 20, 10)
    examples: int = 2000
    start: float = 0.01
    back: float = 0.5
    rates: dict[str, list[float]]
    seeds: int = 1
    every: int = 20


@dataclass
class Followed:
    """A run: the examples seen at each look, the normalised squared error then, and the angle."""

    seen: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)

    def needed(self, error: float) -> float:
        """The examples at the first look at which the error was that small; infinity where it never was."""
        return next((float(n) for n, e in zip(self.seen, self.errors, strict=True) if e <= error), np.inf)


def linear(classic: Classic, told: Told) -> Measured:
    """Each rule at its best step size, from the same start on the same examples, a new one each step."""
    options = msgspec.convert(classic.options, type=Linear)
    found: dict[str, list[Followed]] = {rule: [] for rule in options.rates}
    best: dict[str, list[float]] = {rule: [] for rule in options.rates}
    left = []
    total, done = options.seeds * sum(map(len, options.rates.values())), 0
    for seed in range(options.seeds):
        problem, probe = _linear_problem(options, seed)
        left.append(_left_over(probe))
        for rule, rates in options.rates.items():
            tried = {}
            for rate in rates:
                for run in _follow(problem, probe, rule, rate, options, seed):
                    share = (done + len(run.seen) * options.every / options.examples) / total
                    told(min(share, 1.0), f"seed {seed}, {rule}, rate {rate:g}")
                tried[rate] = run
                done += 1
            rate = min(tried, key=lambda r: _last(tried[r]))
            best[rule].append(rate)
            found[rule].append(tried[rate])
    told(1.0, "done")
    figures = {f"error {rule}": Ours(tuple(_last(run) for run in runs)) for rule, runs in found.items()}
    needed = {rule: [run.needed(_LEARNED) for run in runs] for rule, runs in found.items()}
    figures |= {f"needed {rule}": Ours(tuple(many)) for rule, many in needed.items()}
    theirs = needed["backprop"]
    figures["as fast"] = ours(
        *(a <= 1.25 * b for a, b in zip(needed["feedback-alignment"], theirs, strict=True))
    )
    figures["far slower"] = ours(
        *(a > 4 * b for a, b in zip(needed["node-perturbation"], theirs, strict=True))
    )
    figures["hardly learns"] = ours(*(_last(run) > 0.5 for run in found["delta-rule"]))
    figures["least of the output layer"] = Ours(tuple(left))
    aligned = found["feedback-alignment"]
    figures["first angle"] = Ours(tuple(run.angles[0] for run in aligned))
    figures["last angle"] = Ours(tuple(run.angles[-1] for run in aligned))
    figures["falls"] = ours(*(run.angles[-1] < run.angles[0] for run in aligned))
    chosen = "; ".join(f"{rule} {', '.join(f'{r:g}' for r in rates)}" for rule, rates in best.items())
    return Measured(figures, _linear_panels(found), notes=(f"Best step sizes, by seed: {chosen}.",))


def _linear_problem(options: Linear, seed: int) -> tuple[Problem, Problem]:
    """What is learned from, an example a step, and other examples, which show how well."""
    inputs, hidden, outputs = options.sizes
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0xA116])))
    teacher = rng.uniform(-1.0, 1.0, (inputs, outputs))
    start = Uniform(-options.start, options.start)
    network = Network([Dense(hidden, init=start, use_bias=False), Dense(outputs, init=start, use_bias=False)])

    def task(rows: int, batch: int) -> Problem:
        x = rng.standard_normal((rows, inputs))
        words = "a linear map of 30 inputs to 10 outputs"
        return Problem(Task("linear", words, network, "squared_error", x, x @ teacher, batch, 0.0, seed=seed))

    return task(options.examples, 1), task(500, 500)


def _left_over(probe: Problem) -> float:
    """The least error that the output layer can come to while the hidden layer stays as it starts."""
    hidden = probe.task.x @ probe.start.named["W1"]
    best = np.linalg.lstsq(hidden, probe.task.t, rcond=None)[0]
    return float(((hidden @ best - probe.task.t) ** 2).sum() / (probe.task.t**2).sum())


def _follow(
    problem: Problem, probe: Problem, rule: str, rate: float, options: Linear, seed: int
) -> Iterator[Followed]:
    """A run as it goes. One that diverges ends, with an error of infinity."""
    run, method = Followed(), METHODS[rule](problem, rate, seed)
    none = float((probe.task.t**2).sum(axis=1).mean()) / 2  # the cost of a net that says nothing
    if isinstance(method, FeedbackAlignment):
        method.backwards = {
            name: method.rng.uniform(-options.back, options.back, shape.shape)
            for name, shape in method.backwards.items()
        }
    for step in range(options.examples + 1):
        if step % options.every == 0:
            run.seen.append(step)
            error = probe.cost_of_all(method.weights) / none
            run.errors.append(error if error < 10 else np.inf)
            if np.isinf(run.errors[-1]):
                return
            if isinstance(method, FeedbackAlignment):
                angle = angles(probe, method.weights, method.backwards, probe.all_rows)
                run.angles.append(angle["δ1"])
            yield run
        with np.errstate(all="ignore"):  # too large a rate is found out at the next look
            method.step()


def _last(run: Followed) -> float:
    return run.errors[-1]


def _linear_panels(found: dict[str, list[Followed]]) -> tuple[Panel, ...]:
    """The error of each rule with the first seed, down to where nobody would see it; all angles."""
    lines = []
    for rule, runs in found.items():
        errors = [error if error > _SEEN else None for error in runs[0].errors]
        lines.append(Line(_SHORT[rule], runs[0].seen, errors, _PARTS.get(rule, "seed")))
    aligned = found["feedback-alignment"]
    fan = [Line("", run.seen, run.angles, "seed") for run in aligned[1:]]
    first = Line("feedback alignment", aligned[0].seen, aligned[0].angles, "validation")
    return (
        Panel("squared error, as a share of the targets'", "examples", "error", lines, log=True),
        Panel("δ1 of feedback alignment and of backpropagation", "examples", "angle, degrees", [*fan, first]),
    )


# ---- the digits


class Digits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The digits: 784-hidden-10, logistic units, half the squared error.

    Attributes
    ----------
    hidden, epochs, batch, seed : int
    rates : dict of str to float
        The step size of each rule, for the mean gradient of a batch.
    decay : float
        That share of each weight is taken as gradient too.
    start, back : float
        Weights start uniform on ±start, those of the way back are drawn on ±back.
    rows : int, optional
        So many of the 60,000 digits.
    """

    epochs: int
    batch: int
    rates: dict[str, float]
    hidden: int = 1000
    decay: float = 1e-6
    start: float = 0.05
    back: float = 0.5
    rows: int | None = None
    seed: int = 0


def learn_digits(classic: Classic, told: Told) -> Measured:
    """Backpropagation and feedback alignment, from one start, in one order of rows."""
    options = msgspec.convert(classic.options, type=Digits)
    runs = {}
    for k, rule in enumerate(options.rates):
        for run in _learned(options, rule):
            share = (k + run.done / options.epochs) / len(options.rates)
            told(min(share, 1.0), f"{rule}, epoch {min(int(run.done) + 1, options.epochs)}")
        runs[rule] = run
    told(1.0, "done")
    figures = {f"{rule} error": ours(run.errors[-1]) for rule, run in runs.items()}
    mine = runs["feedback-alignment"]
    angle = mine.angles
    figures["as good"] = ours(mine.errors[-1] <= runs["backprop"].errors[-1])
    figures |= {"first angle": ours(angle[0]), "last angle": ours(angle[-1])}
    figures["aligns"] = ours(max(angle[1:]) < 90)
    epochs = range(1, options.epochs + 1)
    styles = zip(runs.items(), ("train", "validation"), strict=True)
    lines = [Line(METHODS[rule].title, epochs, run.errors, part) for (rule, run), part in styles]
    panels = (
        Panel("test digits", "epoch", "errors, %", lines, log=True),
        Panel(
            "δ1 and backpropagation's", "epoch", "angle, degrees",
            [Line("feedback alignment", range(options.epochs + 1), angle, "validation")], log=False,
        ),
    )  # fmt: skip
    return Measured(figures, panels)


@dataclass
class _Run:
    """How far it is, in epochs; test errors in % after each epoch; angles before and after each."""

    done: float = 0.0
    errors: list[float] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)


def _learned(options: Digits, rule: str) -> Iterator[_Run]:
    """A run of a rule as it goes, in float32."""
    (x, y), (x_test, y_test) = digits("all", options.rows), digits("test")
    t, t_test = np.eye(10, dtype=np.float32)[y], np.eye(10, dtype=np.float32)[y_test]
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([options.seed, 0xD161])))
    start = Uniform(-options.start, options.start)
    net = Network([Dense(options.hidden, "sigmoid", init=start), Dense(10, "sigmoid", init=start)])
    weights = dict(net.initial(784, options.seed, "f32"))
    back = {"B2": rng.uniform(-options.back, options.back, (options.hidden, 10)).astype(np.float32)}
    programs = Programs(net, "squared_error", 784, "f32")
    fed = back if rule == "feedback-alignment" else {}
    gradient = compiled(programs.feedback if fed else programs.backprop)
    deltas = compiled(programs.feedback_deltas)
    predict = compiled(net.forward(784, "f32"))
    run, rate = _Run(), np.float32(options.rates[rule])
    decay = np.float32(options.decay)

    def look() -> None:
        if fed:
            probe = {"x": x_test[:1000], "t": t_test[:1000], **weights}
            run.angles.append(
                angle_of_rows(deltas(probe | back)["δ1"], deltas(probe | {"B2": weights["W2"]})["δ1"])
            )

    look()
    for epoch in range(options.epochs):
        order = rng.permutation(len(x))
        for step, begin in enumerate(range(0, len(x) - options.batch + 1, options.batch)):
            rows = order[begin : begin + options.batch]
            found = gradient({"x": x[rows], "t": t[rows], **weights, **fed})
            for name, weight in weights.items():
                decayed = decay * weight if name[0] == "W" else 0.0
                weight -= rate * (found[f"d{name}"] + decayed)
            if step % 50 == 0:
                run.done = epoch + begin / len(x)
                yield run
        look()
        a = predict({"x": x_test, **weights})[net.prediction]
        run.errors.append(100.0 * float(np.mean(a.argmax(axis=1) != y_test)))
    run.done = float(options.epochs)
    yield run
