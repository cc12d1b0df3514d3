"""Where words go: a command's report to standard output, all else to standard error.

Under ``--json`` standard output belongs to the one object, and the report goes to standard error too.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backpass.errors import BackpassError

if TYPE_CHECKING:
    from rich.console import Console


#: Columns that prose takes at most; and the subjects of the report's lines.
_WIDTH, _FIELD = 100, 10


class Stopped(BackpassError):
    """A person or the system asked a command to stop; what it has is kept."""

    def __init__(self, message: str, code: int, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class Output:
    """What a command says.

    Parameters
    ----------
    json : bool
        Standard output is kept for the object.
    quiet : bool
        Say nothing but errors and notes.
    """

    def __init__(self, json: bool = False, quiet: bool = False) -> None:
        self.json, self.quiet = json, quiet

    def console(self, stderr: bool) -> Console:
        """A console that neither wraps nor paints by itself; it honours NO_COLOR."""
        from rich.console import Console

        return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def width(self, stderr: bool) -> int:
        """How many columns prose may take."""
        console = self.console(stderr)
        return min(_WIDTH, console.width) if console.is_terminal else _WIDTH

    def say(self, text: str = "", style: str | None = None) -> None:
        """A line of the report."""
        if not self.quiet:
            self._print(text, style, stderr=self.json)

    def prose(self, text: str, style: str | None = None) -> None:
        """A sentence of the report, on as many lines as it needs."""
        for line in wrapped(text, self.width(self.json)):
            self.say(line, style)

    def field(self, name: str, text: str) -> None:
        """A part of the report with its subject before it, on as many lines as it needs."""
        if not self.quiet:
            from rich.text import Text

            first, *rest = wrapped(text, self.width(self.json) - _FIELD)
            self._print(Text.assemble((f"{name:<{_FIELD}}", "bold"), first), None, stderr=self.json)
            for line in rest:
                self._print(" " * _FIELD + line, None, stderr=self.json)

    def program(self, text: str) -> None:
        """Text that others may read on: as it is, however wide the terminal."""
        stream = sys.stderr if self.json else sys.stdout
        stream.write(text if text.endswith("\n") else text + "\n")

    def note(self, text: str) -> None:
        """Something for the person beside the report."""
        first, *rest = wrapped(text, self.width(stderr=True) - 2)
        self._print("\n".join([first, *(f"  {line}" for line in rest)]), "yellow", stderr=True)

    def fail(self, text: str, prefix: str) -> None:
        """Why a command ends."""
        from rich.text import Text

        if sys.stdout is not None:
            sys.stdout.flush()
        style = "bold red" if prefix == "error" else "bold yellow"
        self._print(Text.assemble((f"{prefix}: ", style), text), None, stderr=True)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column is left-justified and the others are right-justified."""
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

        def line(row: Sequence[str]) -> str:
            cells = [f"{row[0]:<{widths[0]}}"]
            cells += [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
            return "   ".join(cells).rstrip()

        self.say(line(head), "bold")
        for row in rows:
            self.say(line(row))

    def result(self, value: Any) -> None:
        """The object of ``--json``, in one line."""
        sys.stdout.write(json.dumps(clean(value), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()

    def _print(self, text: Any, style: str | None, stderr: bool) -> None:
        self.console(stderr).print(text, style=style)


def clean(value: Any) -> Any:
    """The value as JSON has it: NumPy's numbers as Python's, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def wrapped(text: str, width: int) -> list[str]:
    """Prose on several lines; words and paths stay whole.

    Examples
    --------
    >>> wrapped("a long path: runs/digits-1/report.html", 20)
    ['a long path:', 'runs/digits-1/report.html']
    """
    import textwrap

    return textwrap.wrap(text, max(20, width), break_long_words=False, break_on_hyphens=False) or [""]


def percent(share: float) -> str:
    """A share in percent, never rounded up to all or down to nothing.

    Examples
    --------
    >>> percent(0.9775), percent(0.99999), percent(1.0)
    ('97.75 %', '99.99 %', '100.00 %')
    """
    if not math.isfinite(share):
        return "-"
    shown = round(100 * share, 2)
    if shown >= 100 and share < 1:
        shown = 99.99
    if shown <= 0 and share > 0:
        shown = 0.01
    return f"{shown:.2f} %"


def duration(seconds: float) -> str:
    """A time for people.

    Examples
    --------
    >>> duration(0.84), duration(12.3), duration(75), duration(7384)
    ('0.8 s', '12 s', '1:15', '2:03:04')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
