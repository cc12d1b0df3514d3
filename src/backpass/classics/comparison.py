"""A published result beside ours, as an answer: table, verdict, picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backpass.classics.catalogue import Classic, Published
from backpass.classics.measured import Measured, Ours
from backpass.explain.answer import Answer, Block, Figure, Note, Table
from backpass.pictures.curves import line_chart

_SURE = {
    "primary": "the text itself was read",
    "secondary": "quoted in another text",
    "memory": "from memory, unverified",
}


@dataclass(frozen=True)
class Compared:
    """A published figure with ours.

    Attributes
    ----------
    published : Published
    found : Ours
    """

    published: Published
    found: Ours

    @property
    def difference(self) -> float | None:
        """Ours (its mean) less the published figure, where there is one."""
        return None if self.published.value is None else self.found.mean - self.published.value

    @property
    def agrees(self) -> bool | None:
        """Whether ours agrees by the rule of the figure; None where nothing is claimed."""
        rule, values = self.published.rule, self.found.values
        if rule == "shown":
            return None
        if not all(math.isfinite(v) for v in values):
            return False
        if rule == "holds":
            return all(bool(v) for v in values)
        theirs = self.published.value
        assert theirs is not None, f"{self.published.key}: {rule} needs a published value"
        if rule == "identical":
            return all(v == theirs for v in values)
        if rule == "range":
            return min(values) <= theirs <= max(values)
        if rule == "at least":
            return self.found.mean >= theirs
        if rule == "at most":
            return self.found.mean <= theirs
        room = self.published.tolerance * (self.published.sd if rule == "sd" else 1.0)
        return abs(self.found.mean - theirs) <= room

    @property
    def verdict(self) -> str:
        """In a word or two."""
        agrees, rule = self.agrees, self.published.rule
        if agrees is None:
            return "shown"
        if agrees:
            return {"identical": "identical", "holds": "holds"}.get(rule, "agrees")
        return "differs, as known" if self.published.known else "differs"

    @property
    def failed(self) -> bool:
        """It does not agree, and that was not known."""
        return self.agrees is False and not self.published.known


@dataclass(frozen=True, kw_only=True)
class Reproduction(Answer):
    """A classic as it came out here.

    Attributes
    ----------
    classic : Classic
    compared : tuple of Compared
    measured : Measured
    seconds : float
        What it took.
    """

    classic: Classic
    compared: tuple[Compared, ...]
    measured: Measured
    seconds: float

    @property
    def agrees(self) -> bool:
        """No figure differs that was not known to."""
        return not any(c.failed for c in self.compared)

    def blocks(self) -> list[Block]:
        raise NotImplementedError
