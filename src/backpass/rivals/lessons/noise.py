"""What noise does: test error against noise on the inputs and on the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.exec.threads import blas_threads
from backpass.explain.answer import Answer, Block, Figure, Heading, Note, Table
from backpass.nn import Dense, Network
from backpass.pictures.curves import Line, Panel, line_chart
from backpass.rivals.lessons import Told, quiet
from backpass.rivals.lessons.descent import Descent
from backpass.rivals.tasks import task_named
from backpass.scoring.baselines import baselines
from backpass.training.evaluate import classes_of

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_HIDDEN, _BATCH, _RATE, _PASSES = 64, 32, 1.0, 150
_L2 = 0.003
_VALIDATED = 0.2  # the share of the training rows that tell when to stop
_TO_END, _STOPPED, _L2_NAME = "backprop to the end", "stopped early", "with l2"
_LINEAR, _NEAREST = "logistic regression", "nearest neighbour"
MODELS = (_TO_END, _STOPPED, _L2_NAME, _LINEAR, _NEAREST)


@dataclass(frozen=True)
class Noisy:
    """What came out at one level of noise, with each seed.

    Attributes
    ----------
    kind : {"labels", "inputs"}
    level : float
        The share of training rows whose label is wrong, or of pixels that are drawn anew.
    errors : dict of str to tuple of float
        For each model the share of test rows that it gets wrong, a number for each seed.
    trained : dict of str to tuple of float
        The same of the training rows, against the labels that they were given.
    believed : dict of str to tuple of float
        Of the training rows with a wrong label, the share whose wrong label the model gives back; without
        such rows there are no numbers.
    """

    kind: str
    level: float
    errors: dict[str, tuple[float, ...]]
    trained: dict[str, tuple[float, ...]]
    believed: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Noise(Answer):
    """Test error against noise.

    Attributes
    ----------
    words : str
        The net and the rows.
    seeds : tuple of int
    noisy : tuple of Noisy
        Labels first, each kind from no noise to the most.
    passes : int
        Of each training.
    """

    words: str
    seeds: tuple[int, ...]
    noisy: tuple[Noisy, ...]
    passes: int

    def of(self, kind: str) -> list[Noisy]:
        return [n for n in self.noisy if n.kind == kind]

    def mean(self, kind: str, model: str) -> list[float]:
        """The mean test error over the seeds, at each level."""
        return [float(np.mean(n.errors[model])) for n in self.of(kind)]

    def blocks(self) -> list[Block]:
        few = "a row's label is replaced by another one, drawn at random; test labels are right"
        pixels = "a pixel is replaced by the same pixel of another row, in training rows and test rows alike"
        return [
            Heading("Noise on the labels", f"With the probability that is named, {few}."),
            self._table("labels"),
            self._figure("labels"),
            Heading("Learned by heart"),
            self._believed(),
            Note(
                "A net of enough weights that is trained for long learns wrong labels by heart, one by one, "
                "and the rows around them with them. It learns what most rows share first: who stops when "
                "rows that are kept aside are predicted no better, or keeps the weights small, keeps most of "
                "what is right. The nearest neighbour has every wrong label by heart, without any training: "
                "it is learning by heart that makes a model sensitive, not backpropagation as such."
            ),
            Heading("Noise on the inputs", f"With the probability that is named, {pixels}."),
            self._table("inputs"),
            self._figure("inputs"),
            Note(
                "This noise takes away from what there is to see, in each row anew, so no model can undo "
                "it; how far the models are apart is what the training has to answer for."
            ),
            Note(
                f"{self.words}. All models see the same rows; a fifth of the training rows, as noisy as the "
                f"others, is kept aside to say when to stop. The net is trained for {self.passes} passes by "
                f"plain gradient descent (rate {_RATE:g}, batches of {_BATCH}); l2 is {_L2:g}. Means over "
                f"{len(self.seeds)} seeds, each with its own start, test rows and noise."
            ),
        ]

    def _table(self, kind: str) -> Table:
        rows = tuple(
            (f"{100 * n.level:.0f} %", *(_spread(n.errors[model]) for model in MODELS)) for n in self.of(kind)
        )
        title = f"test rows wrong, %: mean and range of {len(self.seeds)} seeds; noise on the {kind}"
        return Table(title, ("noise", *MODELS), rows)

    def _believed(self) -> Table:
        head = ("noise", "to the end: fits", "believes", "stopped early: fits", "believes")
        rows = tuple(
            (
                f"{100 * n.level:.0f} %",
                *(
                    _percents(values)
                    for model in (_TO_END, _STOPPED)
                    for values in ([1 - e for e in n.trained[model]], n.believed[model])
                ),
            )
            for n in self.of("labels")
        )
        title = (
            "given labels that the net gives back: of all training rows (fits), of the wrong ones (believes)"
        )
        return Table(title, head, rows)

    def _figure(self, kind: str) -> Figure:
        panels = [
            self._panel(kind, "backpropagation", (_TO_END, _STOPPED, _L2_NAME)),
            self._panel(kind, "beside simple models", (_TO_END, _LINEAR, _NEAREST)),
        ]
        levels = [100 * n.level for n in self.of(kind)]
        words = "; ".join(
            f"{model} {100 * self.mean(kind, model)[0]:.1f} % of test rows wrong without noise and "
            f"{100 * self.mean(kind, model)[-1]:.1f} % at {levels[-1]:.0f} %"
            for model in MODELS
        )
        title = f"Test error against noise on the {kind}; faint: backprop to the end, each seed"
        return Figure(title, line_chart(title, panels), words)

    def _panel(self, kind: str, name: str, models: Sequence[str]) -> Panel:
        found = self.of(kind)
        levels = [100 * n.level for n in found]
        lines = [
            Line("", levels, [n.errors[_TO_END][k] for n in found], "seed") for k in range(len(self.seeds))
        ]
        lines += [
            Line(model.removeprefix("backprop "), levels, self.mean(kind, model), part)
            for model, part in zip(models, ("train", "validation", "test"), strict=True)
        ]
        return Panel(name, f"noise on the {kind}, %", "test rows wrong", lines, share=True, log=False)


def noise(
    *,
    seed: int = 0,
    told: Told = quiet,
    levels: Sequence[float] = LEVELS,
    seeds: int = 3,
    rows: int | None = None,
    passes: int = _PASSES,
) -> Noise:
    """Test error of the digits against noise, of backpropagation and of simple models.

    Parameters
    ----------
    seed : int
        The first of the seeds.
    told : callable
    levels : sequence of float
        Shares, from the least noise to the most; the first is usually 0.
    seeds : int
        How many.
    rows : int, optional
        So many training rows only.
    passes : int
        Of each training.
    """
    used = tuple(range(seed, seed + seeds))
    jobs = [(kind, level, s) for kind in ("labels", "inputs") for level in levels for s in used]
    found: dict[tuple[str, float], list[Outcome]] = {}
    clean: dict[int, Outcome] = {}  # without noise both kinds are the same
    for k, (kind, level, s) in enumerate(jobs):
        told(k / len(jobs), f"noise on the {kind} {100 * level:.0f} %, seed {s}")
        outcome = clean.get(s) if level == 0.0 else None
        if outcome is None:
            with blas_threads(1):  # the nets are small
                outcome = _outcome(kind, level, s, rows, passes)
        if level == 0.0:
            clean[s] = outcome
        found.setdefault((kind, level), []).append(outcome)
    noisy = tuple(
        Noisy(
            kind,
            level,
            {model: tuple(o.errors[model] for o in each) for model in MODELS},
            {model: tuple(o.trained[model] for o in each) for model in (_TO_END, _STOPPED)},
            {
                model: tuple(o.believed[model] for o in each if model in o.believed)
                for model in (_TO_END, _STOPPED)
            },
        )
        for (kind, level), each in found.items()
    )
    answer = Noise(
        question="race", target="noise", step=None, claim="", noisy=noisy, seeds=used, passes=passes,
        words=f"Digits, a 64-{_HIDDEN}-10 net, f64",
    )  # fmt: skip
    return dataclasses.replace(answer, claim=_claim(answer))


def _claim(answer: Noise) -> str:
    most = answer.of("labels")[-1]
    ends = {
        (kind, model): [f"{100 * v:.1f} %" for v in answer.mean(kind, model)]
        for kind in ("labels", "inputs")
        for model in MODELS
    }
    percent = f"{100 * most.level:.0f} %"
    believed = np.mean(most.believed[_TO_END]) if most.believed[_TO_END] else 0.0
    return (
        f"With {percent} of the labels wrong, backpropagation to the end gets {ends['labels', _TO_END][-1]} "
        f"of test rows wrong ({ends['labels', _TO_END][0]} without noise): by then it has learned "
        f"{100 * believed:.0f} % of the wrong labels by heart. Stopped early it is "
        f"{ends['labels', _STOPPED][-1]}, with l2 {ends['labels', _L2_NAME][-1]}; the nearest neighbour has "
        f"{ends['labels', _NEAREST][-1]}. With {percent} of the pixels drawn anew, "
        f"backpropagation to the end gets {ends['inputs', _TO_END][-1]} wrong, the nearest neighbour "
        f"{ends['inputs', _NEAREST][-1]}."
    )


@dataclass(frozen=True)
class Outcome:
    """What came out of one seed: see `Noisy`."""

    errors: dict[str, float]
    trained: dict[str, float]
    believed: dict[str, float]


def _outcome(kind: str, level: float, seed: int, rows: int | None, passes: int) -> Outcome:
    task = task_named("digits", seed)
    assert task.test is not None
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x2015E])))
    x, right = task.x[:rows], task.t[:rows]
    tx, tt = task.test
    given = right
    if kind == "labels":
        given = wrong_labels(right, level, rng)
    else:
        x, tx = other_pixels(x, level, rng), other_pixels(tx, level, rng)
    kept = round(len(x) * _VALIDATED)
    aside, (x, given, right) = (x[:kept], given[:kept]), (x[kept:], given[kept:], right[kept:])
    network = Network([Dense(_HIDDEN, "tanh"), Dense(right.shape[1], "softmax")])
    score = ReferenceFunction(network.forward(x.shape[1], "f64"))

    def classes(weights: dict[str, Array], rows: Array) -> Array:
        return classes_of(score({**weights, "x": rows})[network.prediction])

    def descent(l2: float) -> Iterable[dict[str, Array]]:
        return Descent(
            network, task.loss, x, given, batch=_BATCH, rate=_RATE, passes=passes, seed=seed, l2=l2
        ).run()

    def missed(weights: dict[str, Array], rows: Array, labels: Array) -> float:
        return float(np.mean(classes(weights, rows) != classes_of(labels)))

    path = list(descent(0.0))
    nets = {
        _TO_END: path[-1],
        _STOPPED: min(path, key=lambda weights: missed(weights, *aside)),
        _L2_NAME: list(descent(_L2))[-1],
    }
    errors = {name: missed(weights, tx, tt) for name, weights in nets.items()}
    linear = baselines("classification", x, given, {"test": (tx, tt)}, classes=range(right.shape[1]))[
        "linear"
    ]
    errors[_LINEAR] = 1.0 - float(linear["parts"]["test"]["accuracy"])
    errors[_NEAREST] = float(np.mean(nearest_labels(x, given, tx) != classes_of(tt)))
    wrong = classes_of(given) != classes_of(right)
    trained, believed = {}, {}
    for name in (_TO_END, _STOPPED):
        agrees = classes(nets[name], x) == classes_of(given)
        trained[name] = 1.0 - float(np.mean(agrees))
        if wrong.any():
            believed[name] = float(np.mean(agrees[wrong]))
    return Outcome(errors, trained, believed)


def wrong_labels(t: Array, share: float, rng: np.random.Generator) -> Array:
    """Targets of which about this share is another class, each as likely.

    Examples
    --------
    >>> t = np.eye(3)[[0, 1, 2] * 1000]
    >>> wrong = wrong_labels(t, 0.2, np.random.default_rng(0))
    >>> round(float((wrong != t).any(axis=1).mean()), 1), int(wrong.sum())
    (0.2, 3000)
    """
    chosen, shift = rng.random(len(t)) < share, rng.integers(1, t.shape[1], len(t))
    classes = (np.argmax(t, axis=1) + chosen * shift) % t.shape[1]
    found: Array = np.eye(t.shape[1])[classes]
    return found


def other_pixels(x: Array, share: float, rng: np.random.Generator) -> Array:
    """Rows of which about this share of numbers is taken from other rows; each column keeps its kind.

    Examples
    --------
    >>> x = np.arange(3000.0).reshape(1000, 3)
    >>> noisy = other_pixels(x, 0.5, np.random.default_rng(0))
    >>> round(float((noisy != x).mean()), 1), bool((noisy % 3 == x % 3).all())
    (0.5, True)
    """
    chosen, rows = rng.random(x.shape) < share, rng.integers(0, len(x), x.shape)
    found: Array = np.where(chosen, np.take_along_axis(x, rows, axis=0), x)
    return found


def nearest_labels(x: Array, t: Array, wanted: Array) -> Array:
    """The class of the nearest row, by the distance of their numbers."""
    far = (wanted**2).sum(axis=1)[:, None] - 2 * wanted @ x.T + (x**2).sum(axis=1)
    found: Array = classes_of(t[np.argmin(far, axis=1)])
    return found


def _spread(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} ({100 * min(values):.1f}-{100 * max(values):.1f})"


def _percents(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} %" if len(values) else "-"
