"""`Answer`: what a question gives. It is data; `explain.render` shows it, and calculates nothing.

Each question has a file of its own with a subclass of `Answer`: its fields are the numbers, and `blocks` says
in which order a reader meets them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias


@dataclass(frozen=True)
class Equations:
    """Lines of the program with their numbers, in the notation of the program."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A part of a sum.

    Attributes
    ----------
    name : str
    value : float
    note : str
        What a reader should know of it.
    """

    name: str
    value: float
    note: str = ""


@dataclass(frozen=True)
class Ledger:
    """Parts that add up.

    Attributes
    ----------
    title : str
    entries : tuple of Entry
        In the order to show them.
    total : float
        What they add up to.
    total_name : str
    rest : str
        What those are called that are not shown one by one.
    shown : int
        How many are.
    """

    title: str
    entries: tuple[Entry, ...]
    total: float
    total_name: str = "sum"
    rest: str = "others"
    shown: int = 10

    @property
    def gross(self) -> float:
        """Σ|part|, of which each part has its share."""
        return math.fsum(abs(e.value) for e in self.entries)

    @property
    def first(self) -> tuple[Entry, ...]:
        """Those that are shown; a single one is not left out."""
        some = len(self.entries) if len(self.entries) == self.shown + 1 else self.shown
        return self.entries[:some]

    @property
    def left(self) -> Entry | None:
        """Those that are not shown, as one."""
        others = self.entries[len(self.first) :]
        if not others:
            return None
        return Entry(f"{len(others):,} {self.rest}", math.fsum(e.value for e in others))

    def share(self, entry: Entry) -> float:
        """The part of the gross sum that an entry is; NaN where there is nothing to be a part of."""
        gross = self.gross
        return abs(entry.value) / gross if gross else math.nan


Cell: TypeAlias = str | float | int


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column is a name. `shown` rows are printed."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: int = 20


@dataclass(frozen=True)
class Figure:
    """A picture, and in words what it shows, for where there are no pictures."""

    title: str
    svg: str
    words: str


@dataclass(frozen=True)
class Heading:
    """What a part of a long answer is about, and a sentence on it."""

    title: str
    text: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence beside the numbers."""

    text: str


@dataclass(frozen=True)
class Check:
    """A number that should be zero but for rounding, and the most that rounding can make it.

    Attributes
    ----------
    name : str
        What is checked: "balance", "second route".
    value, bound : float
        It holds where ``|value| <= bound``.
    words : str
        What was compared with what.
    """

    name: str
    value: float
    bound: float
    words: str = ""

    @property
    def holds(self) -> bool:
        return abs(self.value) <= self.bound  # not so for NaN


Block: TypeAlias = Equations | Ledger | Table | Figure | Heading | Note | Check


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a question gives.

    Attributes
    ----------
    question, target : str
        What was asked: "why", "W2[3,1]".
    step : int or None
        Of which step, counted from 1; None for a whole run.
    claim : str
        The answer in words.
    evidence : tuple of str
        The values of the program that were read.
    besides : tuple of Check
        What was checked because somebody asked, besides `checks`.
    meaning : str
        What the target stands for, where it has a name: the column, the row, the output.
    names : dict of str to str
        The same for what `blocks` list: ``{"x[3,7] * W1[7,2]": "age"}``. See `explain.naming`.
    """

    question: str
    target: str
    step: int | None
    claim: str
    evidence: tuple[str, ...] = ()
    besides: tuple[Check, ...] = ()
    meaning: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def blocks(self) -> list[Block]:
        """What to show after the claim, in order; `checks` come last by themselves."""
        return []

    @property
    def checks(self) -> tuple[Check, ...]:
        """What must hold for the answer to be believed."""
        return ()

    def with_check(self, check: Check) -> Self:
        """The same answer with one more check."""
        return dataclasses.replace(self, besides=(*self.besides, check))

    @property
    def balanced(self) -> bool:
        """Whether all checks hold: that the parts add up, that a second route agrees."""
        return all(check.holds for check in (*self.checks, *self.besides))

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data, for JSON."""
        every = (*self.checks, *self.besides)
        checks = [dataclasses.asdict(check) | {"holds": check.holds} for check in every]
        found = dataclasses.asdict(self)
        del found["besides"]
        return found | {"checks": checks, "balanced": self.balanced}

    # ---- as people read it

    def text(self) -> str:
        """The answer for a terminal."""
        from backpass.explain.render.text import text

        return text(self)

    def markdown(self) -> str:
        """The answer as Markdown; pictures are in words."""
        from backpass.explain.render.markdown import markdown

        return markdown(self)

    def latex(self) -> str:
        """The answer as LaTeX, to be put into a document that loads amsmath and booktabs."""
        from backpass.explain.render.latex import latex

        return latex(self)

    def html(self) -> str:
        """The answer as a piece of HTML, its pictures inside."""
        from backpass.explain.render.html import html

        return html(self)

    def page(self) -> str:
        """The answer as a whole HTML page: no script, nothing from elsewhere."""
        from backpass.explain.render.html import page

        return page(self)

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __str__(self) -> str:
        return self.text()
