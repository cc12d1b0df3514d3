"""``influence``: which training rows moved the loss on an input, over the whole run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backpass.data import mapped
from backpass.exec.base import Array
from backpass.explain.answer import Answer, Block, Check, Entry, Figure, Ledger, Note, Table
from backpass.explain.examples import described, labels_of, pictures, read_as, verb_of
from backpass.explain.tracing.follow import Progress, Traced, follow
from backpass.explain.tracing.removal import Removal, verified
from backpass.pictures.curves import Line, Panel, line_chart
from backpass.record.replay import Replay

_KEPT = 50  # rows of each side in an answer
_PICTURES = 8  # of each side
_POINTS = 300  # of the curve


@dataclass(frozen=True)
class Example:
    """A training row, and what it moved the loss on the input by; negative where it lowered it.

    `label` and `read_as`: what the row is, and what the net reads it as after the run; of several outputs
    that are no classes, nothing.
    """

    row: int
    value: float
    label: str = ""
    read_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Influence(Answer):
    """Which training rows moved the loss on an input.

    Attributes
    ----------
    inputs : int
        How many rows were asked about; the loss is their mean.
    label, read_as : str
        For one input: what it is, and what the net reads it as after the run.
    verb : str
        "read as", or of quantities "answered".
    before, after : float
        The loss on the input before the first step, and after the last.
    steps : int
    proponents, opponents : tuple of Example
        The rows that lowered the loss most, and those that raised it most; up to 50 of each.
    lowered, raised : float
        Sums over all rows that lowered it, and over all that raised it.
    lowering, raising : int
        How many these are.
    parts : tuple of Entry
        What else moved it: penalties, decay, clipping.
    curvature : float
        What is not of first order in the steps. ``lowered + raised + parts + curvature + rounding`` is
        ``after − before``.
    rounding, bound : float
        What rows and parts leave over of Σ ∇ℓ·ΔW, and the most that floating point can leave over.
    curve : tuple of (int, float)
        The loss on the input after so many steps.
    pictures : tuple of (str, str)
        Titles, and the rows as SVG, where rows are images.
    removal : Removal or None
        What really happens without the rows that lowered it most, where that was asked for.
    """

    inputs: int
    label: str
    read_as: str
    verb: str
    before: float
    after: float
    steps: int
    proponents: tuple[Example, ...]
    opponents: tuple[Example, ...]
    lowered: float
    raised: float
    lowering: int
    raising: int
    parts: tuple[Entry, ...]
    curvature: float
    rounding: float
    bound: float
    curve: tuple[tuple[int, float], ...]
    pictures: tuple[tuple[str, str], ...] = ()
    removal: Removal | None = None

    @property
    def change(self) -> float:
        """What the loss changed by."""
        return self.after - self.before

    @property
    def checks(self) -> tuple[Check, ...]:
        words = "rows and other parts, and the gradient of the loss times the weights' real moves"
        return (Check("balance", self.rounding, self.bound, words),)

    def blocks(self) -> list[Block]:
        rest = self.curvature + self.rounding
        found: list[Block] = [
            Ledger(
                "what moved it",
                (
                    Entry(f"{self.lowering:,} rows that lowered it", self.lowered),
                    Entry(f"{self.raising:,} rows that raised it", self.raised),
                    *self.parts,
                    Entry("curvature and rounding", rest, "not of first order in the steps"),
                ),
                self.change,
                "change of the loss",
            ),
            _table("rows that lowered it most (proponents)", self.proponents, self.verb),
            _table("rows that raised it most (opponents)", self.opponents, self.verb),
        ]
        for title, svg in self.pictures:
            side = self.proponents if title.endswith("lowered it most") else self.opponents
            found.append(Figure(title, svg, ", ".join(f"row {e.row:,}" for e in side[:_PICTURES])))
        found.append(self._along())
        if self.removal is not None:
            found += _removal_blocks(self.removal)
        found.append(
            Note(
                "A row's part is the sum over its steps of ∇ℓ·(what its gradient moved the weights by, then "
                "and through the velocity later), with the divisors of the optimiser as they were. It says "
                "what the row did on the way that was taken; what happens without it is another question, "
                "because others then take its place."
            )
        )
        return found

    def _along(self) -> Figure:
        steps, losses = [float(s) for s, _ in self.curve], [v for _, v in self.curve]
        panel = Panel("the loss on the input", "step", "loss", [Line("loss", steps, losses)])
        words = f"{self.before:.4g} to {self.after:.4g}, between {min(losses):.4g} and {max(losses):.4g}"
        return Figure(
            "the loss on the input along the run", line_chart("The loss on the input", [panel]), words
        )


def influence(
    replay: Replay,
    numbers: NDArray[np.int64],
    x: Array,
    t: Array,
    *,
    target: str = "the input",
    verify: int = 0,
    progress: Progress | None = None,
) -> Influence:
    """Which training rows moved the loss on an input along the run as it was, every step of it.

    To first order a step moves the loss by ∇ℓ·ΔW, and ΔW is a sum over examples: see
    `backpass.explain.tracing.follow`. The parts add up to the change of the loss; what is of higher order is
    shown as a part of its own.

    Parameters
    ----------
    replay : Replay
    numbers : ndarray of int64
        The number in the data set of each training row.
    x : ndarray, shape (m, features)
        The input, prepared as it enters the network; of several rows the mean loss is meant.
    t : ndarray, shape (m, outputs)
        Its target.
    target : str
        What the input is called in the answer: ``"test/3"``.
    verify : int
        Train again without so many of the rows that lowered the loss most; 0 for not.
    progress : callable, optional
        Called with the steps done, and all of them.

    Returns
    -------
    Influence

    Raises
    ------
    UsageError
        The batch is coupled (batch normalisation), so an example has no share of its own; or so many rows
        cannot be left out.
    ShapeError
        x or t do not fit the network.
    """
    record = replay.record
    found = follow(replay, x, t, progress=progress)
    t = np.asarray(t)
    sides = _sides(replay, numbers, found)
    low, high = found.influence < 0, found.influence > 0
    one = len(t) == 1
    label = labels_of(record, t)[0] if one else ""
    read = read_as(record, np.asarray(x, replay.data["x"].dtype))[0] if one else ""
    verb = verb_of(record)
    lowered, raised = (float(np.sum(found.influence[side])) for side in (low, high))
    removal = None
    if verify:
        removal = verified(
            replay, numbers, found.influence, x, t, verify, loss=float(found.losses[-1])
        )  # fmt: skip
    points = np.unique(np.linspace(0, len(found.losses) - 1, _POINTS).astype(int))
    return Influence(
        question="influence",
        target=target,
        step=None,
        claim=_claim(target, described(label, read, verb), verb, found, sides, (lowered, raised)),
        evidence=("loss", *(f"d{name}" for name in record.step.inputs_of_kind("parameter"))),
        inputs=len(t),
        label=label,
        read_as=read,
        verb=verb,
        before=float(found.losses[0]),
        after=float(found.losses[-1]),
        steps=len(found.losses) - 1,
        proponents=sides[0],
        opponents=sides[1],
        lowered=lowered,
        raised=raised,
        lowering=int(low.sum()),
        raising=int(high.sum()),
        parts=tuple(Entry(name, value) for name, value in found.parts.items()),
        curvature=found.curvature,
        rounding=found.rounding,
        bound=found.bound,
        curve=tuple((int(k), float(found.losses[k])) for k in points),
        pictures=_pictures(replay, numbers, sides),
        removal=removal,
    )


def _sides(
    replay: Replay, numbers: NDArray[np.int64], found: Traced
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Proponents and opponents, strongest first."""
    order = np.argsort(found.influence, kind="stable")
    sides: list[tuple[Example, ...]] = []
    for places in (order[:_KEPT], order[::-1][:_KEPT]):
        sign = -1 if not sides else 1
        rows = places[found.influence[places] * sign > 0]
        x, t = (mapped.take(replay.data[name], rows) for name in ("x", "t"))
        labels = labels_of(replay.record, t)
        reads = read_as(replay.record, x) if len(rows) else []
        sides.append(
            tuple(
                Example(int(numbers[r]), float(found.influence[r]), label, read)
                for r, label, read in zip(rows, labels, reads, strict=True)
            )
        )
    return sides[0], sides[1]


def _pictures(
    replay: Replay, numbers: NDArray[np.int64], sides: tuple[tuple[Example, ...], ...]
) -> tuple[tuple[str, str], ...]:
    place = {int(number): k for k, number in enumerate(numbers)}
    found = []
    for side, what in zip(sides, ("lowered", "raised"), strict=True):
        title, some = f"the rows that {what} it most", side[:_PICTURES]
        names = [
            f"row {e.row:,}\n{e.value:+.2g}\n{described(e.label, e.read_as, verb_of(replay.record))}".strip()
            for e in some
        ]
        svg = pictures(replay.record, title, replay.data["x"], [place[e.row] for e in some], names)
        found += [(title, svg)] if svg else []
    return tuple(found)


def _table(title: str, side: tuple[Example, ...], verb: str) -> Table:
    if any(e.label for e in side):
        rows: tuple[tuple[str | float | int, ...], ...] = tuple(
            (f"row {e.row:,}", e.label, e.read_as, e.value) for e in side
        )
        return Table(title, ("row", "is", verb, "moved the loss by"), rows, shown=10)
    plain = tuple((f"row {e.row:,}", e.value) for e in side)
    return Table(title, ("row", "moved the loss by"), plain, shown=10)


def _removal_blocks(removal: Removal) -> list[Block]:
    count, changes = len(removal.rows), [c - removal.loss for c in removal.controls]
    rows: list[tuple[str | float | int, ...]] = [
        ("by their influence", removal.loss + removal.predicted, removal.predicted),
        ("trained again without them", removal.without, removal.actual),
        *(
            (f"trained again without {count:,} others", c, d)
            for c, d in zip(removal.controls, changes, strict=True)
        ),
    ]
    title = f"without the {count:,} rows that lowered it most (the loss is {removal.loss:.4g} with them)"
    return [
        Table(title, ("", "loss on the input", "change"), tuple(rows)),
        Note(
            "Influence adds up what happened with the rows there, so it is no forecast of training without "
            "them. Training again starts from the same weights and takes the same steps, the rows missing "
            "from their batches; the others were drawn at random."
        ),
    ]


def _claim(
    target: str,
    what: str,
    verb: str,
    found: Traced,
    sides: tuple[tuple[Example, ...], tuple[Example, ...]],
    sums: tuple[float, float],
) -> str:
    steps, losses = len(found.losses) - 1, found.losses
    words = (
        f"The loss on {target}{what and f' ({what})'} went from {losses[0]:.4g} to {losses[-1]:.4g} in "
        f"{steps:,} step{'s' * (steps != 1)}. The training rows lowered it by {math.fabs(sums[0]):.4g} and "
        f"raised it by {sums[1]:.4g}."
    )
    for side, way in zip(sides, ("lowered", "raised"), strict=True):
        if side:
            first = side[0]
            known = described(first.label, first.read_as, verb)
            words += f" Row {first.row:,}{known and f' ({known})'} {way} it most, by {abs(first.value):.3g}."
    return words
