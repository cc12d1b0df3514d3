"""The general recipe: train a network on data, with several seeds, and measure it.

What an entry may tell it is in `options`.
A figure's key is a measure, see `backpass.classics.recipes.tracking`, with the name of the variant before it
where there are variants: ``key = "test_accuracy"``, ``key = "six.test_accuracy"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.keeping import kept
from backpass.classics.measured import Measured, Ours, Told
from backpass.classics.recipes.options import Options, variants_of
from backpass.classics.recipes.tracking import Array, Tracked, check_measure
from backpass.data import load
from backpass.errors import NonFinite, UsageError
from backpass.fit import train as fit
from backpass.ir import Node
from backpass.ops import functions as F
from backpass.pictures.curves import Line, Panel
from backpass.running.loop import Progress

Pair = tuple[Array, Array]


@dataclass(frozen=True)
class Examples:
    """Rows to train on, and those held out.

    Attributes
    ----------
    train : (X, y)
        X of shape (n, d) enters the network as it is; y are classes, whole numbers of shape (n,), or targets
        of shape (n, k).
    held : mapping of str to (X, y)
        "validation" and "test", where there are such rows.
    """

    train: tuple[Any, Any]
    held: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def examples_of(name: str) -> Examples:
    """The rows that an entry names: a bundled set, or "file.function" of the recipes."""
    if "." not in name:
        found = load(name)
        return Examples((np.asarray(found.X, dtype=np.float64) * found.scale, found.y))
    module, function = name.rsplit(".", 1)
    made = getattr(importlib.import_module(f"backpass.classics.recipes.{module}"), function)()
    assert isinstance(made, Examples)
    return made


def train(classic: Classic, told: Told) -> Measured:
    """Train each variant with each seed; see the head of this file.

    Parameters
    ----------
    classic : Classic
        Its `options` are `backpass.classics.recipes.options.Options`.
    told : Told

    Returns
    -------
    Measured
        A figure for each key of the classic, with a value for each seed; a panel for each of its curves, with
        a faint line for each seed.
    """
    variants = variants_of(classic)
    wanted: dict[str, list[str]] = {name: [] for name in variants}
    for key in (figure.key for figure in classic.figures):
        variant, _, measure = key.rpartition(".")
        if variant not in variants:
            raise UsageError(f"{classic.name}: the figure {key!r} is of a variant that there is not")
        check_measure(measure)
        wanted[variant].append(measure)
    runs = [(name, options, seed) for name, options in variants.items() for seed in options.each_seed]
    examples = {name: examples_of(name) for name in {options.data for options in variants.values()}}
    tracked: dict[str, list[Tracked]] = {name: [] for name in variants}
    for done, (name, options, seed) in enumerate(runs):
        words = ", ".join(filter(None, [name, f"seed {seed}"]))

        def show(progress: Progress, done: int = done, words: str = words) -> None:
            now = min(progress.epoch + 1, progress.epochs)
            share = (done + progress.step / progress.steps) / len(runs)
            told(share, f"{words}, epoch {now:,} of {progress.epochs:,}")

        told(done / len(runs), words)
        best = {m.removeprefix("best_") for m in wanted[name] if m.startswith("best_")}
        each_epoch = tuple(dict.fromkeys([*options.curves, *sorted(best)]))
        tracked[name].append(trained(options, examples[options.data], seed, each_epoch, show, words))
    told(1.0, "done")
    figures = {}
    for name, each in tracked.items():
        ends = [run.at_end(wanted[name]) for run in each]
        for measure in wanted[name]:
            key = f"{name}.{measure}" if name else measure
            figures[key] = Ours(tuple(end[measure] for end in ends))
    return Measured(figures, panels=_panels(tracked))


def trained(
    options: Options,
    examples: Examples,
    seed: int,
    each_epoch: Sequence[str] = (),
    progress: Any = None,
    name: str = "run",
) -> Tracked:
    """One run as the options say, followed epoch by epoch."""
    X, y = examples.train
    rows = len(X) if options.rows is None else min(options.rows, len(X))
    batch = options.batch or rows
    tracked = Tracked(tuple(each_epoch), options.until)
    held: dict[str, Any] = {part: (x, _targets(t, options)) for part, (x, t) in examples.held.items()}
    watched = bool(each_epoch) or options.until is not None
    folder = kept(name)
    with suppress(NonFinite):  # where it diverges, the figures are those of its last good step
        fit(
            options.network(),
            (X[:rows], _targets(y[:rows], options)),
            loss=_forgiving(options.within) if options.within else options.loss,
            optimizer=options.rule(batch),
            batch=batch,
            epochs=options.epochs,
            seed=seed,
            order=None if options.order == "seeded" else options.order,
            dtype=options.dtype,
            l2=options.l2,
            out=folder,
            # Without a folder nobody visits its steps: no checkpoints, no monitors.
            record_mb=16.0 if folder is not None else 0.0,
            begun=tracked.begun,
            progress=progress,
            callbacks=[tracked.epoch] if watched else [],
            **held,
        )
    return tracked


def _targets(y: Any, options: Options) -> Array | Any:
    """Classes stay as they are, unless the entry says what stands for no and for yes."""
    if options.targets is None:
        return y
    low, high = options.targets
    units = options.layers[-1][0]
    code = np.asarray(y)
    if code.ndim == 1:
        code = np.eye(units)[code.astype(int)] if units > 1 else code[:, None]
    return low + (high - low) * code.astype(np.float64)


def _forgiving(within: float) -> Any:
    """Half the squared error of each output, and nothing of one that is within this of its target."""

    def forgiving(a: Node, t: Node) -> Node:
        error = a - t
        return F.where(F.abs(error) >= within, 0.5 * error * error, 0.0)

    return forgiving


def _panels(tracked: Mapping[str, Sequence[Tracked]]) -> tuple[Panel, ...]:
    """A panel for each variant and curve: every seed, and their mean up to where the first of them ended."""
    panels = []
    for variant, runs in tracked.items():
        for measure in runs[0].curves:
            curves = [run.curves[measure] for run in runs if run.curves.get(measure)]
            lines = [Line("", range(1, len(c) + 1), c, "seed") for c in curves] if len(curves) > 1 else []
            shared = min(len(c) for c in curves)
            mean = [float(np.mean([c[e] for c in curves])) for e in range(shared)]
            lines.append(
                Line("ours" if len(curves) == 1 else "ours, mean", range(1, shared + 1), mean, "ours")
            )
            words = measure.replace("_", " ")
            unit = "" if measure.endswith(("loss", "right")) else ", %"
            panels.append(Panel(f"{variant}: {words}" if variant else words, "epoch", words + unit, lines))
    return tuple(panels)
