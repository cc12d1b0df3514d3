"""Michael Nielsen's curves of learning, number by number: the overfitting of chapter 3 and its neighbours.

His programs print a net's costs and right answers after each epoch, and he published these numbers. Where
they fixed both seeds, the same start and the same orders of rows give the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from importlib.resources import files
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.classics.recipes.mnist import digits
from backpass.classics.recipes.nielsen.process import MONITORED, Curves, Plan, Process, Start, learn
from backpass.pictures.curves import Line, Panel

#: Costs that differ by no more than this are the same: sums of up to 50,000 losses in another order.
SAME = 1e-10

_NAMES = {
    "held_cost": "cost, {held} digits",
    "held_right": "right answers, {held} digits",
    "train_cost": "cost, training digits",
    "train_right": "right answers, training digits",
}


class Net(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A net of a program.

    Attributes
    ----------
    rate : float
        η.
    starts : tuple of {"default", "large"}
        The starts that the program draws for it; the last one counts.
    name : str
        What tells it from the others.
    """

    rate: float
    starts: tuple[Start, ...] = ("default",)
    name: str = ""


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of his programs, which trains a net, or several one after another.

    Attributes
    ----------
    published : str
        The file of his numbers.
    nets : tuple of Net
    epochs : int
        Of each net; fewer than he published are compared with the first of his.
    decay : float
        λ.
    rows : int
        Training digits.
    held : {"test", "validation"}
        What else is monitored.
    seed, batch : int
    sizes : tuple of int
        Inputs and the units of each layer.
    executor : str
    """

    published: str
    nets: tuple[Net, ...]
    epochs: int
    decay: float = 0.0
    rows: int = 50_000
    held: Literal["test", "validation"] = "test"
    seed: int = 12345678
    batch: int = 10
    sizes: tuple[int, ...] = (784, 30, 10)
    executor: Literal["compiled", "reference"] = "compiled"


def published(name: str, epochs: int | None = None) -> list[Curves]:
    """His numbers, the curves of each net; `epochs`: the first so many.

    Examples
    --------
    >>> [curves] = published("overfitting.json")
    >>> curves.held_right[[0, 399]].tolist(), float(curves.train_cost[0])
    ([5887, 8223], 1.8433647860328504)
    """
    file = files("backpass.classics") / "data" / "nielsen-figures" / name
    found = json.loads(file.read_text(encoding="utf-8"))
    nets: list[Any] = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(nets[0][-1], list):  # a single net
        nets = [nets]
    return [
        Curves(**{key: np.array(c[:epochs]) for key, c in zip(MONITORED, net, strict=True) if c})
        for net in nets
    ]


def curves(classic: Classic, told: Told) -> Measured:
    """Run one of his programs and compare each number."""
    return run_program(msgspec.convert(classic.options, type=Program), told)


def run_program(program: Program, told: Told) -> Measured:
    """Train the nets of a program, one after another in one process."""
    theirs = published(program.published, program.epochs)
    found = list(trained(program, theirs, told))
    figures: dict[str, Ours] = {}
    panels: list[Panel] = []
    notes: list[str] = []
    for net, mine, his in zip(program.nets, found, theirs, strict=True):
        figures |= {f"{net.name}: {k}" if net.name else k: v for k, v in figures_of(mine, his).items()}
        panels += panels_of(mine, his, program.held, net.name)
        notes.append(_note(mine, his, net.name))
    return Measured(figures, tuple(panels), notes=tuple(notes))


def trained(program: Program, wanted: Sequence[Curves], told: Told) -> Iterator[Curves]:
    """The curves of each net; `wanted` has what is to be monitored."""
    told(0.0, "reading the digits")
    rows, held = digits("train", program.rows), digits(program.held)
    process = Process(program.seed, program.rows)
    count = len(program.nets)
    for k, (net, his) in enumerate(zip(program.nets, wanted, strict=True)):
        start = [process.net(program.sizes, start) for start in net.starts][-1]
        orders = process.orders(program.epochs)
        plan = Plan(net.rate, program.decay, program.batch, program.executor)
        yield learn(
            start,
            rows,
            held,
            orders,
            plan,
            list(given(his)),
            _part(told, k, count, net.name),
            net.name or "run",
        )[0]


def _part(told: Told, k: int, count: int, name: str) -> Told:
    """Tell how far net `k` of `count` is, as a part of the whole."""
    return lambda share, words: told((k + share) / count, f"{name}, {words}" if name else words)


def given(some: Curves) -> dict[str, Any]:
    """The curves that there are, by name."""
    return {f.name: getattr(some, f.name) for f in fields(some) if getattr(some, f.name) is not None}


def same(mine: Curves, his: Curves, costs: bool = True) -> NDArray[np.bool_]:
    """Whether an epoch is his, for each epoch: its counts are equal, and its costs within `SAME`."""
    found = np.ones(len(next(iter(given(his).values()))), bool)
    for name, curve in given(his).items():
        gap = np.abs(getattr(mine, name) - curve)
        if name.endswith("right"):
            found &= gap == 0
        elif costs:
            found &= gap <= SAME
    return found


def figures_of(mine: Curves, his: Curves) -> dict[str, Ours]:
    """What can be said of the curves of a net, in numbers. Epochs are counted from 0, as he does."""
    equal, found = same(mine, his), {}
    found["identical epochs"] = ours(int(equal.sum()))
    found["equal counts"] = ours(int(same(mine, his, costs=False).sum()))
    costs = [name for name in given(his) if name.endswith("cost")]
    if costs:
        gaps = [np.max(np.abs(getattr(mine, name) - getattr(his, name))) for name in costs]
        found["largest cost difference"] = ours(max(gaps))
    for name, curve in given(mine).items():
        what = name.replace("_", " ")
        found[f"last {what}"] = ours(curve[-1])
        best = int(np.argmax(curve) if name.endswith("right") else np.argmin(curve))
        found[f"best {what}"], found[f"epoch of best {what}"] = ours(curve[best]), ours(best)
    return found


def panels_of(mine: Curves, his: Curves, held: str, name: str = "") -> list[Panel]:
    """Ours over his, a panel for each thing he monitored."""
    panels = []
    for key, curve in given(his).items():
        epochs = list(range(len(curve)))
        lines = [
            Line("ours", epochs, [float(v) for v in getattr(mine, key)], "ours"),
            Line("Nielsen", epochs, [float(v) for v in curve], "published"),
        ]
        what = _NAMES[key].format(held=held)
        measure = "right" if key.endswith("right") else "cost"
        panels.append(Panel(f"{name}: {what}" if name else what, "epoch", measure, lines, log=False))
    return panels


def _note(mine: Curves, his: Curves, name: str) -> str:
    """How many epochs are his, in a sentence."""
    equal, figures = same(mine, his), figures_of(mine, his)
    kinds = {key.split("_")[1] for key in given(his)}
    what = {"right": "the counts", "cost": "the costs"}
    words = " and ".join(what[kind] for kind in sorted(kinds, reverse=True))
    found = f"{name}: " if name else ""
    found += f"{int(equal.sum()):,} of {len(equal):,} epochs have {words} that Nielsen published"
    if "largest cost difference" in figures:
        found += f"; costs differ by at most {figures['largest cost difference'].mean:.2g}"
    if not equal.all():
        found += f". The first epoch that differs is number {int(np.argmin(equal))}, counted from 0"
    return f"{found}."
