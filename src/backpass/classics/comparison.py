"""A published figure beside ours: whether they agree by the figure's rule, and how both are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backpass.classics.catalogue import Published
from backpass.classics.measured import Ours


@dataclass(frozen=True)
class Compared:
    """A published figure with ours.

    Attributes
    ----------
    published : Published
    found : Ours

    Examples
    --------
    >>> from backpass.classics.measured import ours
    >>> figure = Published(key="a", what="test", rule="within", value=97.5, tolerance=0.5, unit="%")
    >>> one = Compared(figure, ours(97.1, 97.3))
    >>> one.agrees, one.theirs, one.ours
    (True, '97.5 %', '97.20 % (sd 0.14, n = 2)')
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

    # ---- in words

    @property
    def theirs(self) -> str:
        """The published figure: "85.7 ± 6.3 %"."""
        figure = self.published
        if figure.value is None:
            return "stated" if figure.rule == "holds" else "-"
        if figure.rule == "holds" and figure.value == 1 and not figure.unit:
            return "stated"
        sd = f" ± {figure.sd:g}" if figure.sd else ""
        return _with_unit(written(figure.value, figure) + sd, figure.unit)

    @property
    def ours(self) -> str:
        """Ours: the value, or of several seeds their mean and spread, or how many of them it is true of."""
        figure, values = self.published, self.found.values
        if figure.rule == "holds":
            true = sum(bool(v) and math.isfinite(v) for v in values)
            if len(values) > 1:
                return f"holds in {true} of {len(values)}"
            return "holds" if true else "does not hold"
        finite = [v for v in values if math.isfinite(v)]
        if not finite:
            return "never" if len(values) == 1 else f"never, in {len(values)} runs"
        if len(values) == 1:
            return _with_unit(written(values[0], figure, more=1), figure.unit)
        if len(set(values)) == 1:
            return f"{_with_unit(written(values[0], figure), figure.unit)} (each of {len(values)} runs)"
        mean = _with_unit(written(Ours(tuple(finite)).mean, figure, more=1), figure.unit)
        if len(finite) < len(values):
            return f"{mean} ({len(finite)} of {len(values)} runs)"
        if figure.rule == "range":
            ends = f"{written(min(finite), figure)} to {written(max(finite), figure)}"
            return f"{mean} ({ends}, n = {len(finite)})"
        return f"{mean} (sd {written(self.found.sd, figure, more=1)}, n = {len(finite)})"

    @property
    def apart(self) -> str:
        """The difference with its sign; empty for a statement."""
        figure = self.published
        if self.difference is None or figure.rule == "holds" or not math.isfinite(self.difference):
            return ""
        if self.difference == 0:
            return "0"
        shown = written(self.difference, figure, more=1)
        return f"+{shown}" if self.difference > 0 else shown


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text


def written(value: float, figure: Published, more: int = 0) -> str:
    """A value with the decimals of its published figure, and so many more.

    With all of them if it must be equal. Where there is nothing published, or those decimals would show
    nothing, three digits that count.

    Examples
    --------
    >>> figure = Published(key="a", what="a", rule="within", value=97.5, tolerance=1.0)
    >>> written(97.1234, figure), written(97.1234, figure, more=1), written(0.0012, figure)
    ('97.1', '97.12', '0.0012')
    >>> written(0.1 + 0.2, Published(key="a", what="a", rule="identical", value=0.3))
    '0.30000000000000004'
    """
    if not math.isfinite(value):
        return "-"
    if float(value).is_integer() and abs(value) < 1e15 and isinstance(figure.value, int | None):
        return f"{int(value):,}"
    if figure.rule == "identical":
        return repr(float(value))
    told = repr(figure.value)
    if figure.value is None or "e" in told:
        return f"{value:.3g}"
    decimals = len(told.partition(".")[2]) + more
    shown = f"{value:,.{decimals}f}"
    return shown if value == 0 or float(shown.replace(",", "")) else f"{value:.3g}"
