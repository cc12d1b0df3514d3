"""What every rendering of an answer says in the same way."""

from __future__ import annotations

import math
from dataclasses import replace

from backpass.explain.answer import Answer, Block, Cell, Check, Ledger, Note, Table

_FEW = 6  # inputs in a table whose names are told below it


def blocks(answer: Answer) -> list[Block]:
    """All that follows the claim: the blocks, with what their numbers are called, and then the checks."""
    found: list[Block] = [Note(answer.meaning)] if answer.meaning else []
    for block in answer.blocks():
        if isinstance(block, Ledger):
            called = answer.names
            entries = tuple(e if e.note else replace(e, note=called.get(e.name, "")) for e in block.entries)
            block = replace(block, entries=entries)
        found.append(block)
        if isinstance(block, Table):
            cells = dict.fromkeys(str(cell) for row in block.rows[: block.shown] for cell in row)
            inputs = [cell for cell in cells if cell in answer.names][:_FEW]
            told = ", ".join(f"{name} is {answer.names[name]}" for name in inputs)
            found += [Note(f"{told}.")] if told else []
    return [*found, *answer.checks, *answer.besides]


def signed(value: float) -> str:
    """A part of a sum: its sign and seven digits.

    Examples
    --------
    >>> signed(0.00123), signed(-12.0)
    ('+1.230000e-03', '-1.200000e+01')
    """
    return f"{value:+.6e}"


def share(part: float) -> str:
    """A part of a whole, in per cent.

    Examples
    --------
    >>> share(0.256), share(float("nan"))
    ('25.6%', '')
    """
    return "" if math.isnan(part) else f"{part:.1%}"


def cell(value: Cell) -> str:
    """A cell of a table: whole numbers as they are, others to five digits, large ones to the whole number.

    Examples
    --------
    >>> cell(1234), cell(0.000123456), cell(299384.2), cell("relu"), cell(float("nan"))
    ('1,234', '0.00012346', '299,384', 'relu', '-')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1e5 <= abs(value) < 1e9 else f"{value:.5g}"


def verdict(check: Check) -> str:
    """A check in a line.

    Examples
    --------
    >>> verdict(Check("balance", 1e-9, 1e-6, "the parts against the update"))
    'balance holds: the parts against the update differ by +1.00e-09; rounding can make up to 1.00e-06'
    >>> verdict(Check("balance", 0.1, 1e-6)).split(":")[0]
    'balance FAILS'
    """
    said = "holds" if check.holds else "FAILS"
    if check.value == 0:
        return f"{check.name} {said}: {check.words or 'the two sides'} do not differ"
    return (
        f"{check.name} {said}: {check.words or 'the two sides'} differ by {check.value:+.2e}; "
        f"rounding can make up to {check.bound:.2e}"
    )


def ledger_rows(block: Ledger) -> list[list[str]]:
    """The rows of a ledger: name, value, share of the gross, note; the others as one row, and the total.

    Examples
    --------
    >>> from backpass.explain.answer import Entry
    >>> ledger_rows(Ledger("", (Entry("a", 1.0), Entry("b", -3.0)), -2.0, "both"))[-1]
    ['both', '-2.000000e+00', '', '']
    """
    rows = [[e.name, signed(e.value), share(block.share(e)), e.note] for e in block.first]
    if block.left:
        rows.append([block.left.name, signed(block.left.value), "", ""])
    return [*rows, [block.total_name, signed(block.total), "", ""]]
