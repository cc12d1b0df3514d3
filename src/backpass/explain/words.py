"""Numbers as the answers' sentences and equations write them."""

from __future__ import annotations


def number(value: float) -> str:
    """A number inside an equation: four digits, in parentheses where it is negative.

    Examples
    --------
    >>> number(0.123456), number(-2.0)
    ('0.1235', '(-2)')
    """
    return f"({value:.4g})" if value < 0 else f"{value:.4g}"


def signed(value: float) -> str:
    """A number with its sign, in a sentence.

    Examples
    --------
    >>> signed(0.00314159), signed(-1e-9)
    ('+0.003142', '-1e-09')
    >>> signed(-0.0)
    '0'
    """
    return f"{value:+.4g}" if value else "0"


def percent(part: float) -> str:
    """A part of a whole, in a sentence: whole per cents, but neither 0 % nor 100 % of what is not.

    Examples
    --------
    >>> percent(0.256), percent(0.0003), percent(0.9999), percent(1.0)
    ('26 %', '0.03 %', '99.99 %', '100 %')
    """
    if 0 < part < 0.005 or 0.995 <= part < 1:
        edge = min(part, 1 - part)
        digits = 2 if edge >= 5e-5 else 4
        return f"{part * 100:.{digits}f} %"
    return f"{part * 100:.0f} %"
