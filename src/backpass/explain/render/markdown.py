"""Answers as Markdown, for a ticket or a lab report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backpass.explain.answer import Answer, Check, Equations, Figure, Heading, Ledger, Note, Table
from backpass.explain.render.words import blocks, cell, ledger_rows, verdict


def markdown(answer: Answer) -> str:
    """The answer as Markdown with tables.

    Examples
    --------
    >>> print(markdown(Answer(question="value", target="C", step=3, claim="C is 0.5.")))
    **value C, step 3.** C is 0.5.
    """
    asked = " ".join(filter(None, [answer.question, answer.target]))
    when = f", step {answer.step:,}" if answer.step is not None else ""
    parts = [f"**{_plain(asked)}{when}.** {_plain(answer.claim)}"]
    parts += [_WAYS[type(block)](block) for block in blocks(answer)]
    return "\n\n".join(parts)


def _plain(text: str) -> str:
    """Text whose signs mean nothing to Markdown."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    lines = [list(map(_plain, head)), rule, *[list(map(_plain, row)) for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _equations(block: Equations) -> str:
    return "\n".join(["```", *block.lines, "```"])


def _ledger(block: Ledger) -> str:
    return f"{_plain(block.title)}\n\n{_rows(['', 'value', 'of gross', ''], ledger_rows(block))}"


def table_text(block: Table) -> str:
    """A table alone, with its title."""
    rows = [list(map(cell, row)) for row in block.rows[: block.shown]]
    more = len(block.rows) - block.shown
    rest = f"\n\n... and {more:,} more" if more > 0 else ""
    title = f"{_plain(block.title)}\n\n" if block.title else ""
    return f"{title}{_rows(block.head, rows)}{rest}"


def _figure(block: Figure) -> str:
    return f"*{_plain(block.title)}*: {_plain(block.words)}"


def _heading(block: Heading) -> str:
    return f"### {_plain(block.title)}" + (f"\n\n{_plain(block.text)}" if block.text else "")


def _note(block: Note) -> str:
    return _plain(block.text)


def _check(block: Check) -> str:
    return f"- {_plain(verdict(block))}"


_WAYS: dict[type, Callable[[Any], str]] = {
    Equations: _equations,
    Ledger: _ledger,
    Table: table_text,
    Figure: _figure,
    Heading: _heading,
    Note: _note,
    Check: _check,
}
