"""What every rendering of an answer says in the same way."""

from __future__ import annotations

import math

from backpass.explain.answer import Answer, Block, Cell, Check


def blocks(answer: Answer) -> list[Block]:
    """All that follows the claim: the blocks, and then the checks."""
    return [*answer.blocks(), *answer.checks, *answer.besides]


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
    """A cell of a table: whole numbers as they are, others to five digits.

    Examples
    --------
    >>> cell(1234), cell(0.000123456), cell("relu"), cell(float("nan"))
    ('1,234', '0.00012346', 'relu', '-')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if math.isnan(value) else f"{value:.5g}"


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
    return (
        f"{check.name} {said}: {check.words or 'the two sides'} differ by {check.value:+.2e}; "
        f"rounding can make up to {check.bound:.2e}"
    )
