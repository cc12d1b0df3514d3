"""`blame`: what made a weight what it is, by example, step, class or epoch of the whole run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.data import mapped
from backpass.errors import UsageError, nearest
from backpass.explain.answer import Answer, Block, Check, Entry, Figure, Ledger, Note
from backpass.explain.examples import article, described, labels_of, pictures, verb_of
from backpass.explain.updates import ledger
from backpass.explain.updates.plan import Plan, plan
from backpass.explain.updates.shares import check_uncoupled
from backpass.explain.updates.tally import BY, Tally
from backpass.explain.updates.update import parse_target
from backpass.explain.words import percent, signed
from backpass.record.replay import Replay

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Progress: TypeAlias = Callable[[int, int], None]

_TOP = 10  # of which the claim says how much they make up
_PICTURES = 8


@dataclass(frozen=True)
class Blamed:
    """What one row, step, class or epoch did to the weight.

    Attributes
    ----------
    number : int
        The row's number in the data set, the step or epoch counted from 1, or the class's place in the list.
    net : float
        The sum of its shares.
    gross : float
        Σ|share|: what it pushed and pulled in all.
    label : str
        The class of a row, or the name of a class; empty where there is none.
    """

    number: int
    net: float
    gross: float
    label: str = ""


@dataclass(frozen=True)
class Part:
    """One part of the ledger: gradients, penalty, decay, clipping."""

    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Blame(Answer):
    """What made a weight what it is.

    Attributes
    ----------
    by : str
        "example", "row", "class", "step" or "epoch".
    first, last : int
        The steps of the ledger, counted from 1.
    before, after : float
        The weight before the first of them, and after the last.
    parts : tuple of Part
        They and `rounding` add up to ``after - before``.
    blamed : tuple of Blamed
        They add up to the part "gradients"; largest first.
    notes : tuple of str
        How the numbers came about.
    rounding, bound : float
        What the parts leave over, and the most that floating point can leave over in so many steps.
    worst, worst_bound : float
        The same of the single step that comes nearest to its bound, or is furthest beyond it.
    second_route, second_route_bound : float
        The largest difference between shares of some steps and each example's own pass in f64.
    gap : float
        The largest difference between the replay and the run's checkpoints: 0.0 where all bits are equal.
    compared : int
        Checkpoints that it was compared with.
    curve : tuple of (int, float, float)
        Of some steps: how many were done, the weight, and what the gradients had added up to by then.
    rows_shown : str
        The most blamed rows, where rows are images, as SVG.
    """

    by: str
    first: int
    last: int
    before: float
    after: float
    parts: tuple[Part, ...]
    blamed: tuple[Blamed, ...]
    notes: tuple[str, ...]
    rounding: float
    bound: float
    worst: float
    worst_bound: float
    second_route: float
    second_route_bound: float
    gap: float
    compared: int
    curve: tuple[tuple[int, float, float], ...]
    rows_shown: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        found = [
            Check("balance", self.rounding, self.bound, "all parts and what the weight moved by"),
            Check("worst step", self.worst, self.worst_bound, "the parts of a single step and its update"),
            Check("replay", self.gap, 0.0, "the weights computed again and those that the run kept"),
        ]
        if self.second_route_bound:
            words = "shares and each example's own pass in f64"
            found.append(Check("second route", self.second_route, self.second_route_bound, words))
        return tuple(found)

    def blocks(self) -> list[Block]:
        moved = self.after - self.before
        parts = tuple(Entry(p.name, p.value) for p in (*self.parts, Part("rounding", self.rounding)))
        found: list[Block] = [Ledger("by part", parts, moved, "moved by")]
        entries = tuple(
            Entry(self._called(b), b.net, b.label if self.by != "class" else "") for b in self.blamed
        )
        if entries:
            word = BY[self.by]
            others = "other classes" if word == "class" else f"other {word}s"
            found.append(Ledger(f"by {self.by}", entries, self.parts[0].value, "gradients", others))
        if self.rows_shown:
            words = ", ".join(self._called(b) for b in self.blamed[:_PICTURES])
            found.append(Figure("the most blamed rows", self.rows_shown, words))
        return [*found, self._figure(), *map(Note, self.notes)]

    def _called(self, blamed: Blamed) -> str:
        return f"class {blamed.label}" if self.by == "class" else f"{BY[self.by]} {blamed.number:,}"

    def _figure(self) -> Figure:
        from backpass.pictures.curves import Line, Panel, line_chart

        steps = [float(step) for step, _, _ in self.curve]
        weight, added = [w for _, w, _ in self.curve], [a for _, _, a in self.curve]
        weights = Line("weight", steps, weight)
        gradients = Line("gradients, added up", steps, added, "validation")
        panels = (
            Panel(self.target, "step", self.target, [weights], log=False),
            Panel("what gradients added", "step", "added up", [gradients], log=False),
        )
        low, high = min(weight), max(weight)
        words = f"{self.target} lay between {low:.4g} and {high:.4g}"
        return Figure(f"{self.target} over the run", line_chart(f"{self.target} over the run", panels), words)


def blame(
    replay: Replay,
    numbers: Indices,
    target: str,
    by: str = "example",
    start: int | None = None,
    stop: int | None = None,
    progress: Progress | None = None,
) -> Blame:
    """The ledger of a weight: what it moved by from its first value to its last, as a balanced sum.

    Every step is computed once more, by the run's own kernel, and compared with the run's checkpoints bit for
    bit. What an example did goes on acting through momentum and Adam's mean; that is counted in closed form.

    Parameters
    ----------
    replay : Replay
    numbers : ndarray of int64
        The number in the data set of each training row.
    target : str
        One entry of a parameter: ``"W2[3,1]"``.
    by : {"example", "class", "step", "epoch", "row"}
        "row" are the rows of the gradient's product: examples where these are not coupled, and what is left
        to look at where they are (batch normalisation).
    start, stop : int, optional
        The first and the last step, counted from 1. All that made the run's result, if left out: up to the
        best step where early stopping kept it, else to the last.
    progress : callable, optional
        Called with the steps done, and all of them.

    Returns
    -------
    Blame

    Raises
    ------
    UsageError
        There is no such weight or step; its update is no sum of parts; or it has no shares by example.
    """
    graph = replay.record.step
    name, entry = parse_target(graph, target)
    target = f"{name}[{','.join(map(str, entry))}]"
    first, last = _steps(replay, start, stop)
    made = _plan(replay, name, entry, by)
    tally = Tally(replay, made, by, first - 1, last)
    for stretch, replayed in ledger.stretches(replay, made, first - 1, last):
        tally.add(stretch, replayed)
        if progress is not None:
            progress(last - stretch.start, last - first + 1)
    begin = replay.state(first - 1)
    carried = sum(felt * float(begin[slot][entry]) for slot, felt in tally.felt.items())
    parts = [Part("gradients", tally.gradients)]
    parts += [Part(kind, value) for kind, value in tally.parts.items()]
    parts += [Part(f"carried into step {first:,}", carried)] if carried else []
    blamed = _blamed(replay, numbers, tally, by)
    moved = tally.after - tally.before
    return Blame(
        question="blame",
        target=target,
        step=None,
        claim=_claim(target, by, first, last, tally, parts, blamed, verb_of(replay.record)),
        evidence=tuple(sorted(tally.evidence)),
        by=by,
        first=first,
        last=last,
        before=tally.before,
        after=tally.after,
        parts=tuple(parts),
        blamed=blamed,
        notes=tuple(_notes(replay, made, last, tally)),
        rounding=moved - math.fsum(p.value for p in parts),
        bound=tally.bound,
        worst=tally.worst[1],
        worst_bound=tally.worst[2],
        second_route=tally.route[0],
        second_route_bound=tally.route[1],
        gap=tally.gap,
        compared=tally.compared,
        curve=tally.curve(),
        rows_shown=_pictures(replay, tally, blamed) if by in ("example", "row") else "",
    )


def _steps(replay: Replay, start: int | None, stop: int | None) -> tuple[int, int]:
    """The first and the last step, counted from 1."""
    outcome = replay.record.outcome
    first = 1 if start is None else start
    last = replay.record.result_step if stop is None else stop
    whole = all(isinstance(k, (int, np.integer)) and not isinstance(k, bool) for k in (first, last))
    if not whole or not 1 <= first <= last <= outcome.steps:
        raise UsageError(
            f"there are no steps {first!r} to {last!r}: this run has steps 1 to {outcome.steps:,}"
            if outcome.steps
            else "this run has no completed step"
        )
    return int(first), int(last)


def _plan(replay: Replay, name: str, entry: tuple[int, ...], by: str) -> Plan:
    """How the update is made up, if it can be told by what is asked for."""
    graph, settings = replay.record.step, replay.record.settings
    if by not in BY:
        raise UsageError(f"blame is by {', '.join(BY)}, not by {by!r}. {nearest(str(by), BY)}")
    if by == "class" and settings.data.task != "classification":
        raise UsageError(f"the targets of this run are no classes ({settings.data.task}): ask by example")
    by_row = BY[by] in ("row", "class")
    if by in ("example", "class"):
        try:
            check_uncoupled(graph, name)
        except UsageError as problem:
            raise UsageError(
                f"{problem}\n  By step and by epoch the ledger holds all the same; by row it shows the rows "
                "of the product for what they are."
            ) from None
    return plan(graph, name, entry, by_row)


def _blamed(replay: Replay, numbers: Indices, tally: Tally, by: str) -> tuple[Blamed, ...]:
    """The groups that did anything, largest first."""
    order = np.argsort(-np.abs(tally.net), kind="stable")
    order = order[tally.gross[order] > 0]
    data = replay.record.settings.data
    names = [str(c) for c in data.classes] if data.task == "classification" else []
    labels = [""] * len(order)
    if by == "class":
        called, labels = order, [names[k] for k in order]
    elif BY[by] == "row":
        called = numbers[order]
        labels = labels_of(replay.record, mapped.take(replay.data["t"], order))
    else:
        called = order + 1 + (tally.start if by == "step" else 0)
    columns = called.tolist(), tally.net[order].tolist(), tally.gross[order].tolist(), labels
    return tuple(map(Blamed, *columns))


def _pictures(replay: Replay, tally: Tally, blamed: tuple[Blamed, ...]) -> str:
    order = np.argsort(-np.abs(tally.net), kind="stable")[: min(_PICTURES, len(blamed))]
    names = [
        f"row {b.number:,}\n{b.net:+.2g}\n{b.label and article(b.label)}".strip()
        for b in blamed[: len(order)]
    ]
    title = "The most blamed rows"
    return pictures(replay.record, title, replay.data["x"], order.tolist(), names)


def _claim(
    target: str,
    by: str,
    first: int,
    last: int,
    tally: Tally,
    parts: list[Part],
    blamed: tuple[Blamed, ...],
    verb: str,
) -> str:
    count = last - first + 1
    over = f"{count:,} step{'s' * (count > 1)}" + ("" if first == 1 else f", {first:,} to {last:,}")
    moved = "stayed at" if tally.before == tally.after else f"went from {tally.before:.4g} to"
    words = f"{target} {moved} {tally.after:.4g} in {over}."
    others = [f"{p.name} {signed(p.value)}" for p in parts[1:] if p.value]
    words += f" Gradients moved it by {signed(parts[0].value)}"
    words += f", {', '.join(others)}." if others else "."
    whole = sum(abs(b.net) for b in blamed)
    if not whole:
        return words + " No example ever pulled at it: its gradient was zero throughout."
    leader, top = blamed[0], blamed[:_TOP]
    way = "up" if leader.net > 0 else "down"
    if by == "class":
        return f"{words} Class {leader.label} took it {way} by {abs(leader.net):.4g}, more than any other."
    word = BY[by]
    known = described(leader.label, leader.label, verb)
    called = f"{word.capitalize()} {leader.number:,}" + (f" ({known})" if known else "")
    words += f" {called} took it {way} by {abs(leader.net):.4g}, more than any other {word}."
    if len(blamed) <= _TOP:
        return words
    part = sum(abs(b.net) for b in top) / whole
    of = f"The {_TOP} most blamed of {len(blamed):,} {word}s"
    return f"{words} {of} make up {percent(part)} of what all did."


def _notes(replay: Replay, made: Plan, last: int, tally: Tally) -> list[str]:
    found = []
    if last == replay.record.outcome.best_step:
        found.append(f"The run's result is its best state, that after step {last:,}; the ledger ends there.")
    if made.slots:
        found.append(
            f"What an example did goes on acting through {', '.join(made.slots)}; all later steps count."
        )
    if any(term.divisors for terms in made.terms.values() for term in terms):
        found.append(
            "The divisor of each step (the root of a mean square) is taken as it was: it too would have been "
            "another without an example."
        )
    if tally.again:
        found.append(
            f"At {tally.again} of {tally.compared} checkpoints the replay was not equal to the run bit for "
            "bit, so those steps were taken again one by one."
        )
    return found
