"""`Answer`: what a question gives. Terminal, notebook and page render it; none of them computes a number."""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass
from typing import Any

_SHOWN = 10  # rows of a table in print; the data hold all of them
_WIDTH = 98


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
        For classes: what the example is, and what the network took it for. Empty for quantities.
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


@dataclass(frozen=True)
class Answer:
    """Why a weight moved.

    Attributes
    ----------
    question, target, step
        What was asked.
    claim : str
        The answer in words.
    before, after, update : float
        The weight before and after the step, and the difference, as the run's kernel calculated them.
    parts : tuple of Part
        They and `rounding` add up to `update`.
    examples : tuple of Share
        They add up to the part "fresh gradient"; largest first.
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
    equations : tuple of str
        How the numbers hang together, in the notation of the program.
    evidence : tuple of str
        The values of the program that were read.
    """

    question: str
    target: str
    step: int
    claim: str
    before: float
    after: float
    update: float
    parts: tuple[Part, ...]
    examples: tuple[Share, ...]
    rounding: float
    bound: float
    second_route: float
    second_route_bound: float
    earlier: tuple[Earlier, ...] = ()
    earlier_other: float = 0.0
    earlier_rest: float = 0.0
    scale: float = 0.0
    equations: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether the parts add up to the update, and a second route agrees on the shares."""
        return abs(self.rounding) <= self.bound and self.second_route <= self.second_route_bound

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data, for JSON."""
        return dataclasses.asdict(self) | {"balanced": self.balanced}

    def text(self) -> str:
        """The answer for a terminal."""
        lines = [*textwrap.wrap(self.claim, _WIDTH), ""]
        lines += [f"  {equation}" for equation in self.equations]
        lines += ["", f"by part of the update: a gradient of 1 moves it by {self.scale:.4g}"]
        lines += _table([(p.name, p.value) for p in self.parts] + [("rounding", self.rounding)], self.update)
        pulling = [s for s in self.examples if s.value]
        if pulling:
            gross = sum(abs(s.value) for s in pulling)
            of = f"{len(pulling)} of the {len(self.examples)} rows of the batch pull at it"
            lines += ["", f"by example: {of}"]
            for s in pulling[:_SHOWN]:
                what = f"   {s.label} read as {s.read_as}" if s.label else ""
                lines.append(f"  row {s.row:>7,}  {s.value:+.6e}  {abs(s.value) / gross:6.1%}{what}")
            lines += _rest([s.value for s in pulling])
        moved = [e for e in self.earlier if e.value]
        if moved:
            lines += ["", "the carried momentum, by example of earlier steps"]
            for e in moved[:_SHOWN]:
                lines.append(f"  step {e.step:>7,}  row {e.row:>7,}  {e.value:+.6e}")
            lines += _rest([e.value for e in moved])
            if self.earlier_other:
                lines.append(f"  penalties, decay and clipping of those steps  {self.earlier_other:+.6e}")
            lines.append(f"  from still earlier steps  {self.earlier_rest:+.6e}")
        verdict = "adds up" if abs(self.rounding) <= self.bound else "DOES NOT ADD UP"
        second = "agrees" if self.second_route <= self.second_route_bound else "DISAGREES"
        lines += [
            "",
            f"{verdict}: rounding {self.rounding:+.2e}, at most {self.bound:.2e} is possible",
            f"{second}: each example's pass in f64 differs by {self.second_route:.2e}, "
            f"at most {self.second_route_bound:.2e} is allowed",
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def _rest(values: list[float]) -> list[str]:
    """A line for what a table leaves out."""
    left = values[_SHOWN:]
    return [f"  {len(left):,} others  {sum(left):+.6e}"] if left else []


def _table(rows: list[tuple[str, float]], total: float) -> list[str]:
    width = max(len(name) for name, _ in [*rows, ("update", 0.0)])
    lines = [f"  {name:<{width}}  {value:+.6e}" for name, value in rows]
    return [*lines, f"  {'-' * (width + 15)}", f"  {'update':<{width}}  {total:+.6e}"]
