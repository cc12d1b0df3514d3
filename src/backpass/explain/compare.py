"""``diff``: what two runs were told, and the first step and value in which they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from backpass.errors import DataError, RecordError
from backpass.explain.answer import Answer, Block, Equations, Note, Table
from backpass.explain.differences import Row, differences, lines_apart
from backpass.record.parting import Parting, part
from backpass.record.record import Record
from backpass.record.replay import Moment, Replay, Wait
from backpass.record.rows import Rows


class Compared(Protocol):
    """A run, as far as it is needed here."""

    @property
    def record(self) -> Record: ...
    @property
    def replay(self) -> Replay: ...
    @property
    def rows(self) -> Rows: ...
    @property
    def path(self) -> Path | None: ...


@dataclass(frozen=True, kw_only=True)
class Difference(Answer):
    """Where two runs part, and what they were told.

    Attributes
    ----------
    step : int or None
        The first step, counted from 1, after which a carried value differs; None where there is none, or
        where it could not be found.
    tensor : str
        The first carried value, in the order of the program, that differs after it.
    settings : tuple of (name, value of the one, value of the other)
        Settings, data and machine, as far as they differ.
    same : tuple of str
        The names of the settings that do not.
    program : tuple of str
        The lines of the programs that differ.
    gaps : tuple of (name, float)
        After `step`, the largest difference in each carried value.
    reason : str
        Why they part there.
    comparable : bool
        Whether both carry the same values, so that they can be compared step by step.
    equal, apart : int or None
        See `backpass.record.parting.Parting`.
    marks : int
        At how many marks the records were compared.
    ends : tuple of rows
        How each ended: steps, status, cost, metrics.
    """

    tensor: str = ""
    settings: tuple[Row, ...] = ()
    same: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    gaps: tuple[tuple[str, float], ...] = ()
    reason: str = ""
    comparable: bool = True
    equal: int | None = None
    apart: int | None = None
    marks: int = 0
    ends: tuple[tuple[str, str, str], ...] = ()

    def blocks(self) -> list[Block]:
        found: list[Block] = []
        if self.settings:
            found.append(Table("What they were told", ("", "A", "B"), self.settings, shown=40))
        if self.same:
            found.append(Note(f"The same: {', '.join(self.same)}."))
        if self.program:
            found.append(Note(f"Their programs differ in {len(self.program):,} lines (- A, + B):"))
            found.append(Equations(self.program[:30]))
        if self.gaps:
            title = f"Largest differences after step {self.step:,}"
            found.append(Table(title, ("value", "difference"), self.gaps))
        found.append(Table("How they ended", ("", "A", "B"), self.ends))
        if self.comparable:
            said = f"Compared at {self.marks:,} marks of both records, and by the cost of each step."
            found.append(Note(said))
        return found


def compare(a: Compared, b: Compared, told: Callable[[Wait], None] | None = None) -> Difference:
    """Compare two runs: settings side by side, and the first step and value that differ.

    Parameters
    ----------
    a, b : Run
    told : callable, optional
        Called on long ways; see `Replay.told`.

    Returns
    -------
    Difference
    """
    one, other = a.record, b.record
    rows, same = differences(one.settings, other.settings)
    program = lines_apart(one.step.text(), other.step.text())
    names = _name(a, "A"), _name(b, "B")
    common: dict[str, Any] = {
        "question": "diff",
        "target": f"{names[0]} and {names[1]}",
        "settings": rows,
        "same": same,
        "program": program,
        "ends": _ends(one, other),
    }
    if _carried(one) != _carried(other):
        claim = (
            "The runs have networks or optimisers that carry different values, so they cannot be compared "
            f"step by step: {_carry_words(one, other)}."
        )
        return Difference(**common, step=None, claim=claim, comparable=False)

    def replays() -> tuple[Replay, Replay]:
        a.replay.told = b.replay.told = told
        return a.replay, b.replay

    found = part(one, other, replays)
    common |= {"equal": found.equal, "apart": found.apart, "marks": found.compared}
    if found.apart is None:
        return Difference(**common, step=None, claim=_equal_words(one, other))
    if not found.found:
        return Difference(**common, step=None, claim=_between(found), reason=found.why_not)
    return _at(a, b, found.apart, common, program)


def _at(
    a: Compared, b: Compared, step: int, common: Mapping[str, Any], program: tuple[str, ...]
) -> Difference:
    """What parts them in the step after which they first differ."""
    if step == 0:
        gaps = _gaps(a.record.checkpoints[0], b.record.checkpoints[0], a.record)
        return Difference(
            **common, step=0, tensor=gaps[0][0], gaps=gaps, reason="the start",
            claim=f"The runs start from different values: {gaps[0][0]} is the first of them.",
        )  # fmt: skip
    try:
        one, other = Moment(a.replay, step), Moment(b.replay, step)
        after = one.after, other.after
    except (RecordError, DataError) as error:
        where = Parting(common["equal"], step, common["marks"], False, str(error))
        return Difference(**common, step=None, claim=_between(where), reason=str(error))
    gaps = _gaps(*after, a.record)
    reason = _reason(a, b, one, other, program)
    tensor = gaps[0][0]
    before = f"are bit-equal up to step {step - 1:,}" if step > 1 else "start from the same values"
    claim = (
        f"The runs {before} and part in step {step:,}, because {reason}. {tensor} is the first value that "
        f"differs after it, by up to {gaps[0][1]:.3g}."
    )
    return Difference(
        **common, step=step, tensor=tensor, gaps=gaps, claim=claim, reason=reason, evidence=(tensor,)
    )


def _reason(a: Compared, b: Compared, one: Moment, other: Moment, program: tuple[str, ...]) -> str:
    """Why one step makes different values out of equal ones."""
    feeds = one.feeds, other.feeds
    numbers = a.rows.numbers[one.rows], b.rows.numbers[other.rows]
    if not np.array_equal(*numbers):
        only = [sorted(set(numbers[i].tolist()) - set(numbers[1 - i].tolist()))[:8] for i in (0, 1)]
        told = [f"only {n} has {_listed(rows)}" for n, rows in zip("AB", only, strict=True) if rows]
        return "the batches have other rows: " + (", ".join(told) or "the same ones in another order")
    for name in a.record.step.inputs_of_kind("number"):
        if name in feeds[1] and float(feeds[0][name]) != float(feeds[1][name]):
            return f"{name} is {float(feeds[0][name]):.6g} in A and {float(feeds[1][name]):.6g} in B"
    if program:
        return "their programs differ"
    for name in feeds[0]:
        if feeds[0][name].tobytes() != feeds[1][name].tobytes():
            data = " (rows of the same numbers, with other contents)" if name in ("x", "t", "w") else ""
            return f"{name} differs{data}"
    machine = a.record.settings, b.record.settings
    told = [
        f"{what} {x} and {y}"
        for what, x, y in (
            ("the executors,", machine[0].executor, machine[1].executor),
            ("what computes products,", machine[0].machine.blas, machine[1].machine.blas),
            ("the threads,", machine[0].machine.threads, machine[1].machine.threads),
            ("the processors,", machine[0].machine.cpu, machine[1].machine.cpu),
        )
        if x != y
    ]
    return "of rounding: the inputs are the same" + (f", but not {', '.join(told)}" if told else "")


def _listed(rows: list[int]) -> str:
    return f"row{'s' * (len(rows) > 1)} {', '.join(f'{n:,}' for n in rows)}"


def _gaps(
    one: Mapping[str, np.ndarray[Any, Any]], other: Mapping[str, np.ndarray[Any, Any]], record: Record
) -> tuple[tuple[str, float], ...]:
    """The carried values that differ, in the order of the program, and by how much at most."""
    place = {old: record.step.nodes.index(record.step.outputs[new]) for new, old in record.step.carry.items()}
    found = []
    for name in sorted(one, key=lambda n: place[n]):
        if one[name].tobytes() != other[name].tobytes():
            gap = np.abs(one[name].astype(np.float64) - other[name].astype(np.float64))
            found.append((name, float(np.max(gap, initial=0.0))))
    return tuple(found)


def _carried(record: Record) -> dict[str, str]:
    return {name: str(record.step.inputs[name].type) for name in sorted(record.carried)}


def _carry_words(a: Record, b: Record) -> str:
    """Which values only one has, or has in another size."""
    one, other = _carried(a), _carried(b)
    both = [f"{n} is {one[n]} in A and {other[n]} in B" for n in one if n in other and one[n] != other[n]]
    only = [
        f"only {who} has {', '.join(sorted(x.keys() - y.keys())[:6])}"
        for who, x, y in (("A", one, other), ("B", other, one))
        if x.keys() - y.keys()
    ]
    return "; ".join([*both[:4], *only])


def _equal_words(a: Record, b: Record) -> str:
    one, other = a.outcome.steps, b.outcome.steps
    if one == other:
        return f"The runs are bit-equal to their end, step {one:,}."
    longer, less, more = ("B", one, other) if other > one else ("A", other, one)
    return f"The runs are bit-equal as long as both go on, {less:,} steps; {longer} goes on to step {more:,}."


def _between(found: Parting) -> str:
    low = "the start" if found.equal is None else f"step {found.equal:,}"
    high = "their end" if found.apart is None else f"step {found.apart:,}"
    why = found.why_not.rstrip(".")
    return f"The runs part between {low} and {high}. The very step cannot be found here: {why}."


def _name(run: Compared, else_: str) -> str:
    return else_ if run.path is None else str(run.path)


def _ends(a: Record, b: Record) -> tuple[tuple[str, str, str], ...]:
    """How both ended, side by side."""
    rows = [
        ("steps", f"{a.outcome.steps:,}", f"{b.outcome.steps:,}"),
        ("status", a.outcome.status, b.outcome.status),
    ]
    costs = [f"{c[-1]:.6g}" if len(c := x.all_costs()) else "-" for x in (a, b)]
    rows.append(("last cost", costs[0], costs[1]))
    for part_ in dict.fromkeys([*a.outcome.metrics, *b.outcome.metrics]):
        one, other = a.outcome.metrics.get(part_, {}), b.outcome.metrics.get(part_, {})
        for name in dict.fromkeys([*one, *other]):
            shown = [f"{x[name]:.4g}" if name in x else "-" for x in (one, other)]
            rows.append((f"{part_} {name}", shown[0], shown[1]))
    return tuple(rows)
