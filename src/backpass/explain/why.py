"""``why``: why a weight moved in one step. By part of the update, by example, and by earlier examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backpass.explain.answer import Answer, Block, Check, Entry, Equations, Figure, Ledger, Note
from backpass.explain.examples import READ, described, labels_of, verb_of
from backpass.explain.step.slope import Slope, slope
from backpass.explain.updates.equations import equations
from backpass.explain.updates.ledger import carried_back
from backpass.explain.updates.shares import by_own_pass, mixed_after, second_route
from backpass.explain.updates.terms import Term, update_terms
from backpass.explain.updates.update import UpdateOf, parse_target
from backpass.pictures.images import row_images
from backpass.record.replay import Moment

_CHECKED = 256  # examples that take the second route
_PICTURES = 8  # of rows that are images


@dataclass(frozen=True)
class Part:
    """One part of an update: the fresh gradient, the carried momentum, a penalty, decay, clipping."""

    name: str
    value: float


@dataclass(frozen=True)
class Share:
    """What one example of the batch contributed to the update.

    Attributes
    ----------
    row : int
        The row's number in the data set.
    value : float
    label, read_as : str
        What the example is, and what the network took it for: classes, or a quantity. Empty for several.
    """

    row: int
    value: float
    label: str = ""
    read_as: str = ""


@dataclass(frozen=True)
class Earlier:
    """What one example of an earlier step contributed, through the momentum carried since."""

    step: int
    row: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Why(Answer):
    """Why a weight moved.

    Attributes
    ----------
    before, after, update : float
        The weight before and after the step, and the difference, as the run's kernel calculated them.
    parts : tuple of Part
        They and `rounding` add up to `update`.
    examples : tuple of Share
        They add up to the part "fresh gradient"; largest first. Where `mixed` says so, each is what a
        backward pass gives that is seeded with this example's loss only.
    verb : str
        "read as", or of quantities "answered".
    mixed : str
        The value between the weight and the cost that reads the whole batch at once (batch normalisation), if
        there is one. The rows of the gradient's product are then no shares of examples; they are `rows`.
    rows : tuple of Share
        See `mixed`; they add up to the part "fresh gradient", too. Empty where nothing mixes the examples.
    earlier : tuple of Earlier
        With `earlier_other` and `earlier_rest` they add up to the part "carried momentum"; largest first.
    earlier_other, earlier_rest : float
        What penalties, decay and clipping of those steps contributed; what comes from still earlier steps.
    rounding, bound : float
        What the parts leave over, and the most that floating point can leave over.
    scale : float
        What one unit of the fresh gradient moves the weight by: −η, for Adam −η / (c_m (√(s / c_s) + ε)).
    second_route, second_route_bound : float
        The largest difference between these shares and the same ones from a pass in f64 of each example for
        itself, and the most that is allowed.
    lines : tuple of str
        How the numbers hang together, in the notation of the program.
    cost_along : Slope
        The cost of the batch against this one weight, and its tangent.
    pictures : str
        The examples that pull the most, where rows are images, as SVG.
    """

    before: float
    after: float
    update: float
    parts: tuple[Part, ...]
    examples: tuple[Share, ...]
    rounding: float
    bound: float
    second_route: float
    second_route_bound: float
    verb: str = READ
    mixed: str = ""
    rows: tuple[Share, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    earlier_other: float = 0.0
    earlier_rest: float = 0.0
    scale: float = 0.0
    lines: tuple[str, ...] = ()
    cost_along: Slope
    pictures: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        found = (
            Check("balance", self.rounding, self.bound, "the parts and the update"),
            Check(
                "second route", self.second_route, self.second_route_bound,
                "each example's share and its own pass in f64",
            ),
        )  # fmt: skip
        if not self.mixed:
            return found
        gap = self.fresh - math.fsum(s.value for s in self.examples)
        return (*found, Check("by example", gap, self.second_route_bound, "the examples and the rows"))

    @property
    def fresh(self) -> float:
        """The part that the fresh gradient is."""
        return next(p.value for p in self.parts if p.name == "fresh gradient")

    def blocks(self) -> list[Block]:
        parts = (*self.parts, Part("rounding", self.rounding))
        found: list[Block] = [
            Equations(self.lines),
            Note(f"A gradient of 1 moves this weight by {self.scale:.4g}."),
            Ledger(
                "by part of the update", tuple(Entry(p.name, p.value) for p in parts), self.update, "update"
            ),
        ]
        pulling = [s for s in self.examples if s.value]
        if pulling:
            of = f"{len(pulling)} of the {len(self.examples)} rows of the batch pull at it"
            found.append(self._by(f"by example: {of}", pulling))
        if self.mixed:
            found.append(
                Note(
                    f"{self.mixed} mixes the examples of the batch: an example's part is that of a pass "
                    "of its own, through what the others are. The rows of the gradient's product are others."
                )
            )
            found.append(self._by("by row of the gradient's product", [s for s in self.rows if s.value]))
        if self.pictures:
            words = ", ".join(f"row {s.row:,}" for s in pulling[:_PICTURES])
            found.append(Figure("the rows that pull the most", self.pictures, words))
        if any(e.value for e in self.earlier):
            found.append(self._carried())
        return [*found, self.cost_along.figure(self.target)]

    def _by(self, title: str, shares: Sequence[Share]) -> Ledger:
        entries = tuple(
            Entry(f"row {s.row:,}", s.value, f"{s.label} {self.verb} {s.read_as}" if s.label else "")
            for s in shares
        )
        return Ledger(title, entries, self.fresh, "fresh gradient", "other rows")

    def _carried(self) -> Ledger:
        entries = [Entry(f"step {e.step:,}, row {e.row:,}", e.value) for e in self.earlier if e.value]
        others = (
            ("penalties, decay and clipping of those steps", self.earlier_other),
            ("from still earlier steps", self.earlier_rest),
        )
        entries += [Entry(name, value) for name, value in others if value]
        total = next(p.value for p in self.parts if p.name == "carried momentum")
        title = (
            f"the carried momentum, by {'row of the product' if self.mixed else 'example'} of earlier steps"
        )
        return Ledger(title, tuple(entries), total, "carried momentum", "other parts")


def why(moment: Moment, target: str, row_numbers: NDArray[np.int64] | None = None) -> Why:
    """Why a weight moved in one step: by part of the update, and by example.

    Parameters
    ----------
    moment : Moment
        The visited step.
    target : str
        One entry of a parameter: ``"W2[3,1]"`` or ``"b1[4]"``.
    row_numbers : ndarray of int64, optional
        The number in the data set of each training row.

    Returns
    -------
    Why

    Raises
    ------
    UsageError
        There is no such weight, or its gradient is not a sum over examples.
    """
    graph, record = moment.graph, moment.replay.record
    name, entry = parse_target(graph, target)
    target = f"{name}[{','.join(map(str, entry))}]"
    numbered = np.arange(record.settings.data.rows) if row_numbers is None else row_numbers
    batch = record.batches.span(moment.step - 1, moment.step)[0]
    gradient = graph[f"d{name}"]
    terms = update_terms(graph, name)

    # The run's own kernel takes the step again; what its products read is still there afterwards.
    used: set[str] = set()
    step = UpdateOf(moment, name, entry, used)
    before, after = float(moment.before[name][entry]), float(step.after[name][entry])
    update = after - before
    found, shares, carried = step.taken_apart(terms)
    parts = [Part(kind, value) for kind, value in found.items()]

    rounding = update - math.fsum(p.value for p in parts)
    scale_of = sum(t.factor(step.values, entry) for t in terms if t.value is gradient and t.clipped is None)
    mixing, rows = mixed_after(graph, name), shares
    if mixing is not None:
        shares = scale_of * by_own_pass(graph, name, entry, moment.feeds)
    count = len(batch) + len(parts) - 1
    others = sum(abs(p.value) for p in parts if p.name != "fresh gradient")
    gross = float(max(np.sum(np.abs(shares)), np.sum(np.abs(rows)))) + others
    eps = float(np.finfo(step.after[name].dtype).eps)
    scale = abs(before) + gross
    earlier, other, rest = _earlier(moment, name, entry, carried, numbered)

    largest = np.argsort(-np.abs(shares), kind="stable")
    checked = [int(b) for b in largest[:_CHECKED]]
    again = scale_of * second_route(graph, name, entry, moment.feeds, checked)
    gap = float(np.max(np.abs(again - shares[checked]), initial=0.0))

    labels, verb = _labels(moment), verb_of(record)

    def named(values: NDArray[np.float64], order: NDArray[np.int64]) -> tuple[Share, ...]:
        return tuple(Share(int(numbered[batch[b]]), float(values[b]), *labels[b]) for b in order)

    examples = named(shares, largest)
    return Why(
        question="why",
        target=target,
        step=moment.step,
        claim=_claim(target, moment.step, before, after, parts, examples, verb),
        before=before,
        after=after,
        update=update,
        parts=tuple(parts),
        examples=examples,
        rounding=rounding,
        bound=4 * (count + 1) * eps * scale,
        second_route=gap,
        second_route_bound=256 * eps * scale,
        verb=verb,
        mixed="" if mixing is None else mixing.name or mixing.op.name,
        rows=() if mixing is None else named(rows, np.argsort(-np.abs(rows), kind="stable")),
        earlier=earlier,
        earlier_other=other,
        earlier_rest=rest,
        scale=scale_of,
        lines=equations(step),
        evidence=tuple(sorted(used)),
        cost_along=slope(moment, name, entry, after),
        pictures=_pictures(moment, largest, examples),
    )


def _pictures(moment: Moment, largest: NDArray[np.int64], examples: Sequence[Share]) -> str:
    """The rows that pull the most, where rows are images."""
    shape = moment.replay.record.settings.data.image_shape
    if not shape:
        return ""
    some = [k for k, share in enumerate(examples) if share.value][:_PICTURES]
    if not some:
        return ""
    images = moment["x"][largest[some]].astype(np.float64).reshape(len(some), *shape)
    verb = verb_of(moment.replay.record)
    names = [
        f"row {examples[k].row:,}\n{examples[k].value:+.2g}\n{_reading(examples[k], verb)}" for k in some
    ]
    return row_images("The rows that pull the most", images, [n.strip() for n in names])


def _earlier(
    moment: Moment,
    name: str,
    entry: tuple[int, ...],
    carried: Sequence[tuple[float, Term]],
    numbered: NDArray[np.int64],
) -> tuple[tuple[Earlier, ...], float, float]:
    """The carried momentum by example of earlier steps; what else those steps added; what is older still."""
    found: list[Earlier] = []
    beside = rest = 0.0
    for outer, carry in carried:
        back = carried_back(moment.replay, name, entry, moment.step, str(carry.value.name), outer)
        beside, rest = beside + back.beside, rest + back.rest
        found += [
            Earlier(int(step), int(numbered[row]), float(share))
            for step, row, share in zip(back.steps, back.rows, back.shares, strict=True)
        ]
    found.sort(key=lambda e: -abs(e.value))
    return tuple(found), beside, rest


def _labels(moment: Moment) -> list[tuple[str, str]]:
    """What each example of the batch is, and what the network took it for."""
    record = moment.replay.record
    return list(
        zip(labels_of(record, moment["t"]), labels_of(record, moment[record.prediction]), strict=True)
    )


def _claim(
    target: str,
    step: int,
    before: float,
    after: float,
    parts: Sequence[Part],
    examples: Sequence[Share],
    verb: str,
) -> str:
    moved = "did not move" if after == before else f"moved by {after - before:+.4g}"
    words = f"{target} {moved} in step {step:,}, from {before:.6g} to {after:.6g}."
    largest = max(parts, key=lambda p: abs(p.value))
    if len(parts) > 1 and largest.value:
        words += f" The largest part is the {largest.name}, {largest.value:+.4g}."
    gross = sum(abs(s.value) for s in examples)
    if not gross:
        return words + " No example of the batch pulls at it: its gradient is zero."
    top: list[Share] = []
    for share in examples[:3]:
        top.append(share)
        if sum(abs(s.value) for s in top) >= 0.5 * gross:
            break
    part = sum(abs(s.value) for s in top) / gross
    alike = (
        verb == READ and len({(s.label, s.read_as) for s in top}) == 1 and len(top) > 1 and top[0].label != ""
    )
    rows = [str(s.row) if alike else f"{s.row}{_reading(s, verb)}" for s in top]
    named = " and ".join([", ".join(rows[:-1]), rows[-1]] if len(rows) > 1 else rows)
    if alike:
        named += f", {'both' if len(top) == 2 else 'all'} {_kind(top[0])},"
    subject = f"Row {named} accounts" if len(top) == 1 else f"Rows {named} account"
    return f"{words} {subject} for {part:.0%} of the fresh gradient."


def _kind(share: Share) -> str:
    """What several examples are: 7s read as 1s."""
    same = share.label == share.read_as
    plural = "s" if share.label.isdecimal() else ""
    read = f"{share.read_as}{plural}"
    return f"{share.label}{plural} read as {'such' if same else read}"


def _reading(share: Share, verb: str = READ) -> str:
    """In brackets, what an example is and what it was taken for."""
    known = described(share.label, share.read_as, verb)
    return f" ({known})" if known else ""
