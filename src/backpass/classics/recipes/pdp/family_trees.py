"""The family trees of 1986: who is Victoria's mother? What six units make of 24 people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.recipes.pdp.sweeps import Floats, Task, Trained, sweep, unit_layer
from backpass.explain.answer import Figure, Table
from backpass.ir import Node
from backpass.nn import Inputs, Network, join
from backpass.ops import functions as F
from backpass.pictures.curves import Line, Panel
from backpass.pictures.images import weight_images
from backpass.training.optimisers import SGD

SEPARATOR = "|"  #: between the answers of a question
HELD, SHORT, SWEEPS, CUT = 4, 20, 1500, 0.002


@dataclass(frozen=True)
class Trees:
    """The two trees as questions and as facts of each person.

    Attributes
    ----------
    names : tuple of str
        The English people, then the Italian ones in the same order of the tree.
    task : Task
        104 questions, person and relation, each one of so many; for each person, whether they answer it.
    traits : dict of str to ndarray, shape (24,)
        Nationality, generation and branch of each person, as numbers.
    """

    names: tuple[str, ...]
    task: Task
    traits: dict[str, Floats]


@cache
def trees() -> Trees:
    """The trees, read from the files that come with backpass."""
    people, questions = _rows("people.csv"), _rows("family_trees.csv")
    names = tuple(p["english"] for p in people) + tuple(p["italian"] for p in people)
    relations = sorted({q["relation"] for q in questions})
    x, t = np.zeros((len(questions), 36)), np.zeros((len(questions), 24))
    for row, question in enumerate(questions):
        x[row, names.index(question["person1"])] = 1
        x[row, 24 + relations.index(question["relation"])] = 1
        t[row, [names.index(name) for name in question["person2_all"].split(SEPARATOR)]] = 1
    side = {"left": -1.0, "middle": 0.0, "right": 1.0}
    traits = {
        "nationality": np.repeat([1.0, -1.0], 12),
        "generation": np.tile([float(p["generation"]) for p in people], 2),
        "branch": np.tile([side[p["branch"]] for p in people], 2),
    }
    return Trees(names, Task(x, t), traits)


def _rows(name: str) -> list[dict[str, str]]:
    text = files("backpass.classics").joinpath("data", "family-trees", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def network(start: float) -> Network:
    """24 + 12 in, six units each, then 12, 6 and 24."""
    x = Inputs()
    person, relation = unit_layer(6, start)(x[:24]), unit_layer(6, start)(x[24:])
    hidden = unit_layer(12, start)(join(person, relation))
    return Network(unit_layer(24, start)(unit_layer(6, start)(hidden)))


def tolerant(a: Node, t: Node) -> Node:
    """Half the squared error, counted from 0.8 for yes and from 0.2 for no; none beyond."""
    low = F.where(a < 0.8, a - 0.8, 0.0)
    high = F.where(a > 0.2, a - 0.2, 0.0)
    error = F.where(t > 0.5, low, high)
    return 0.5 * error * error


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A range to start from, and the rates of the first 20 sweeps and of the rest."""

    start: float
    rates: tuple[float, float]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many starts of each."""

    starts: int
    printed: Settings
    working: Settings


@dataclass(frozen=True)
class Taught:
    """A net, and how many questions it answers."""

    run: Trained
    learned: int
    held: int
    losses: Floats


def taught(settings: Settings, seed: int, name: str) -> Taught:
    """Train once; four questions, drawn by the seed, are held out."""
    whole = trees().task
    held = np.sort(np.random.Generator(np.random.Philox(seed)).permutation(len(whole.x))[:HELD])
    rest = np.setdiff1d(np.arange(len(whole.x)), held)
    task = Task(whole.x[rest], whole.t[rest])
    runs: list[Trained] = []
    for momentum, rate, presentations in zip(
        (0.5, 0.9), settings.rates, (SHORT, SWEEPS - SHORT), strict=True
    ):
        eta = rate * len(rest)
        # What is cut from a weight goes through the velocity, which adds it up 1 / (1 − momentum) times.
        rule = SGD(eta, momentum, decay=CUT * (1 - momentum) / eta)
        found = sweep(
            network(settings.start), task, rate=rate, momentum=momentum, seed=seed,
            presentations=presentations,
            name=f"{name} seed {seed} momentum {momentum:g}", together=True, optimiser=rule, loss=tolerant,
            start=runs[-1].run if runs else None,
        )  # fmt: skip
        runs.append(found)
    run = runs[-1]
    right = ((np.asarray(run.run.predict_raw(whole.x)) > 0.5) == whole.yes).all(axis=1)
    return Taught(
        run, int(right[rest].sum()), int(right[held].sum()), np.concatenate([r.losses[:, 0] for r in runs])
    )


def family_trees(classic: Classic, told: Told) -> Measured:
    """Teach the trees as printed, and by the variant that works.

    Figures: for "printed" and "working", ``… learned`` and ``… held`` (answers right in every output, of 100
    and of 4); of the nets of the variant ``best nationality``, ``best generation``, ``best branch`` (the
    largest \\|correlation\\| of the weights of one of the six units with it), and ``nationality``,
    ``generation``, ``branch`` (1: in some net that is 0.8 or more).
    """
    options = msgspec.convert(classic.options, type=Options)
    found: dict[str, list[Taught]] = {}
    for k, (name, settings) in enumerate({"printed": options.printed, "working": options.working}.items()):
        found[name] = []
        for seed in range(options.starts):
            told((k + seed / options.starts) / 2, f"{name}, seed {seed + 1} of {options.starts}")
            found[name].append(taught(settings, seed, name))
    told(1.0, "done")
    figures = {}
    for name, nets in found.items():
        figures[f"{name} learned"] = ours(*(net.learned for net in nets))
        figures[f"{name} held"] = ours(*(net.held for net in nets))
    told_apart = [correlations(net) for net in found["working"]]
    for trait in trees().traits:
        figures[f"best {trait}"] = ours(*(np.abs(c[trait]).max() for c in told_apart))
        figures[trait] = ours(max(figures[f"best {trait}"].values) >= 0.8)
    best = int(np.argmax([(net.held, net.learned) @ np.array([100, 1]) for net in found["working"]]))
    rows = [
        (f"{name}, seed {seed}", net.learned, net.held, round(float(net.losses[-1]), 3))
        for name, nets in found.items()
        for seed, net in enumerate(nets)
    ]
    head = ("start", "learned, of 100", "held out, of 4", "summed loss in the end")
    table = Table("each start", head, tuple(rows), shown=2 * options.starts)
    return Measured(
        figures,
        panels=_panels(found),
        blocks=(_units(found["working"][best], told_apart[best]), table),
    )


def correlations(net: Taught) -> dict[str, Floats]:
    """Of the weights from the people to each of the six units with each trait, shape (6,)."""
    into = net.run.run.weights["W1"]
    return {
        trait: np.array([np.corrcoef(into[:, unit], values)[0, 1] for unit in range(6)])
        for trait, values in trees().traits.items()
    }


def _panels(found: dict[str, list[Taught]]) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            {"printed": "as printed", "working": "larger start and rates"}[name],
            "sweep",
            "summed loss of the 100 questions",
            [Line("", range(1, SWEEPS + 1, 10), net.losses[::10].tolist(), "seed") for net in nets],
            log=True,
        )
        for name, nets in found.items()
    )


def _units(net: Taught, told_apart: dict[str, Floats]) -> Figure:
    """The weights from the people to the six units, the English above the Italian, as in the letter."""
    into = np.asarray(net.run.run.weights["W1"], dtype=np.float64)
    largest = float(np.abs(into).max())
    names = [f"unit {unit + 1}: {_likest(told_apart, unit)}" for unit in range(6)]
    tips = [_strongest(into[:, unit]) for unit in range(6)]
    people = trees().names
    svg = weight_images(
        "What the six units see in people",
        np.repeat(
            np.repeat(np.transpose(into / largest).reshape(6, 2, 12), 10, axis=1), 10, axis=2
        ),  # larger squares
        [f"unit {unit + 1}" for unit in range(6)],
        tips,
        largest=largest,
        notes=["above: " + ", ".join(people[:12]), "below: " + ", ".join(people[12:]), *names],
    )
    return Figure("the six units by person", svg, "; ".join(names))


def _likest(told_apart: dict[str, Floats], unit: int) -> str:
    """The trait that a unit goes with most."""
    trait = max(told_apart, key=lambda name: abs(told_apart[name][unit]))
    return f"{trait} {told_apart[trait][unit]:+.2f}".replace("-", "−")


def _strongest(weights: Sequence[float] | Floats) -> str:
    order = np.argsort(-np.abs(weights))[:4]
    return ", ".join(f"{trees().names[k]} {weights[k]:+.1f}" for k in order).replace("-", "−")
