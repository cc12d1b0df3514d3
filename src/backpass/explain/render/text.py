"""Answers in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from backpass.explain.answer import Answer, Check, Entry, Equations, Figure, Heading, Ledger, Note, Table
from backpass.explain.render.words import blocks, cell, share, signed, verdict

_WIDTH = 98


def text(answer: Answer) -> str:
    """The answer as lines of at most about 98 characters.

    Examples
    --------
    >>> print(text(Answer(question="value", target="C", step=1, claim="C is 0.5.")))
    C is 0.5.
    """
    lines = textwrap.wrap(answer.claim, _WIDTH, break_long_words=False, break_on_hyphens=False)
    before: type | None = None
    for block in blocks(answer):
        if not (isinstance(block, (Check, Note)) and before is type(block)):
            lines.append("")
        lines += _WAYS[type(block)](block)
        before = type(block)
    return "\n".join(line.rstrip() for line in lines)


def _equations(block: Equations) -> list[str]:
    return [f"  {line}" for line in block.lines]


def _ledger(block: Ledger) -> list[str]:
    rows = [*block.first, *([block.left] if block.left else [])]
    width = max(len(e.name) for e in [*rows, Entry(block.total_name, 0.0)])
    notes = any(e.note for e in rows)
    several = len(block.entries) > 1
    lines = [block.title]
    for e in rows:
        part = share(block.share(e)) if several and e is not block.left and e in block.first else ""
        note = f"   {e.note}" if notes and e.note else ""
        lines.append(f"  {e.name:<{width}}  {signed(e.value)}  {part:>6}{note}")
    lines.append(f"  {'-' * (width + 15)}")
    lines.append(f"  {block.total_name:<{width}}  {signed(block.total)}")
    return lines


def _table(block: Table) -> list[str]:
    rows = [tuple(map(cell, row)) for row in block.rows[: block.shown]]
    widths = [max(len(row[i]) for row in [block.head, *rows]) for i in range(len(block.head))]
    words = [all(isinstance(row[i], str) for row in block.rows) for i in range(len(block.head))]

    def line(row: tuple[str, ...]) -> str:
        return "  " + "  ".join(
            f"{c:<{w}}" if left else f"{c:>{w}}" for c, w, left in zip(row, widths, words, strict=True)
        )

    lines = [*([block.title] if block.title else []), line(block.head), *map(line, rows)]
    if len(block.rows) > block.shown:
        lines.append(f"  ... and {len(block.rows) - block.shown:,} more")
    return lines


def _figure(block: Figure) -> list[str]:
    return textwrap.wrap(f"{block.title}: {block.words}", _WIDTH)


def _heading(block: Heading) -> list[str]:
    return [f"== {block.title} ==", *textwrap.wrap(block.text, _WIDTH, break_on_hyphens=False)]


def _note(block: Note) -> list[str]:
    return textwrap.wrap(block.text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _check(block: Check) -> list[str]:
    return textwrap.wrap(verdict(block), _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


_WAYS: dict[type, Callable[[Any], list[str]]] = {
    Equations: _equations,
    Ledger: _ledger,
    Table: _table,
    Figure: _figure,
    Heading: _heading,
    Note: _note,
    Check: _check,
}
