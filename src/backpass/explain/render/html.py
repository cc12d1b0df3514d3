"""Answers as HTML: for a notebook, the report, or a page of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backpass.explain.answer import Answer, Check, Equations, Figure, Heading, Ledger, Note, Table
from backpass.explain.render.words import blocks, cell, ledger_rows, verdict
from backpass.pictures.document import document
from backpass.pictures.svg import plain


def html(answer: Answer) -> str:
    """The answer as a piece of HTML; all text in it is escaped.

    Examples
    --------
    >>> html(Answer(question="value", target="C", step=1, claim="a < b"))
    '<div class="answer">\\n<p class="lead">a &lt; b</p>\\n</div>'
    """
    parts = [f'<p class="lead">{plain(answer.claim)}</p>']
    parts += [_WAYS[type(block)](block) for block in blocks(answer)]
    return '<div class="answer">\n' + "\n".join(parts) + "\n</div>"


def page(answer: Answer) -> str:
    """A whole page."""
    asked = " ".join(filter(None, [answer.question, answer.target]))
    when = f", step {answer.step:,}" if answer.step is not None else ""
    return document(asked + when, f"<h1>{plain(asked + when)}</h1>\n{html(answer)}")


def _rows(
    head: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = (), words: Sequence[bool] = ()
) -> str:
    """A table; columns of words are set to the left, as the first one is."""
    left = [' class="words"' if k < len(words) and words[k] else "" for k in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        others = (f"<td{kind}>{plain(c)}</td>" for c, kind in zip(cells[1:], left[1:], strict=True))
        return f"<tr><th>{plain(cells[0])}</th>{''.join(others)}</tr>"

    top = "".join(f"<th{kind}>{plain(h)}</th>" for h, kind in zip(head, left, strict=True))
    bottom = f"<tfoot>{line(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="wide"><table class="figures"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(map(line, rows))}</tbody>{bottom}</table></div>"
    )


def _title(text: str) -> str:
    return f"<p><b>{plain(text)}</b></p>" if text else ""


def _equations(block: Equations) -> str:
    return f'<pre class="equation">{plain(chr(10).join(block.lines))}</pre>'


def _ledger(block: Ledger) -> str:
    width = 3 + any(e.note for e in block.first)
    *rows, foot = (row[:width] for row in ledger_rows(block))
    head = ["", "value", "of gross", ""][:width]
    return _title(block.title) + _rows(head, rows, foot, [False] * 3 + [True])


def _table(block: Table) -> str:
    rows = [list(map(cell, row)) for row in block.rows[: block.shown]]
    more = len(block.rows) - block.shown
    rest = f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    words = [all(isinstance(row[i], str) for row in block.rows) for i in range(len(block.head))]
    return _title(block.title) + _rows(block.head, rows, words=words) + rest


def _figure(block: Figure) -> str:
    return f'<figure class="wide">{block.svg}</figure>'


def _heading(block: Heading) -> str:
    return f"<h3>{plain(block.title)}</h3>" + (f"<p>{plain(block.text)}</p>" if block.text else "")


def _note(block: Note) -> str:
    return f"<p>{plain(block.text)}</p>"


def _check(block: Check) -> str:
    return f'<p class="{"soft" if block.holds else "note"}">{plain(verdict(block))}</p>'


_WAYS: dict[type, Callable[[Any], str]] = {
    Equations: _equations,
    Ledger: _ledger,
    Table: _table,
    Figure: _figure,
    Heading: _heading,
    Note: _note,
    Check: _check,
}
