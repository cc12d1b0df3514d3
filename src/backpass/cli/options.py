"""What options of several commands share: how they are read, checked and shown in the help."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from cyclopts import Parameter, Token

from backpass.errors import UsageError

#: How the help shows an option that is on or off: without "default: False".
FLAG = Parameter(show_default=False)


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """A whole number; Python's int() of 1.5 would be 1 without a word."""
    written = tokens[0].value.replace("_", "").replace(",", "")
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", written):
        raise ValueError(f"{tokens[0].value!r} is not a whole number.")
    return int(written)


def default(text: object) -> Parameter:
    """How the help shows the default of an option whose absence must be told apart."""
    return Parameter(show_default=str(text))


#: An option that is a whole number.
WHOLE = Parameter(converter=_whole)


def check_whole(name: str, value: int | None, least: int) -> None:
    """An option that counts something."""
    if value is not None and value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value}")


def refuse_for(run: object, *groups: object) -> None:
    """A run has its own data, network and rule of learning: options that would change them are refused."""
    for group in groups:
        for field in dataclasses.fields(group) if dataclasses.is_dataclass(group) else ():
            if getattr(group, field.name) is not None:
                raise UsageError(
                    f"--{field.name.replace('_', '-')} goes with data; {run} is a run, and it has its own "
                    "already.\n  Leave the option out, or name the data instead of the run."
                )
