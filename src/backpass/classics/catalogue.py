"""The list of classics: what `classics.toml` says, checked."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal

import msgspec

from backpass.errors import UsageError, nearest

Rule = Literal["identical", "within", "sd", "range", "at least", "at most", "holds", "shown"]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A published figure, and what it takes for ours to agree with it.

    Attributes
    ----------
    key : str
        What the recipe calls its own figure.
    what : str
        What it is a figure of, in words.
    rule : str
        When ours agrees. "identical": it is equal to the last digit. "within": it differs by at most
        `tolerance`. "sd": its mean differs by at most `tolerance` published standard deviations. "range":
        the published figure lies between the least and the largest of ours. "at least", "at most": it does
        not fall short of the published one, or does not exceed it. "holds": it is a statement, and true.
        "shown": both are shown and nothing is claimed.
    value : float, optional
        The published figure; none for a statement that was published without a number.
    sd : float
        The published standard deviation.
    tolerance : float
    unit : str
        "%", "epochs", "sweeps".
    known : str
        Why ours is known not to agree; such a figure is no failure, and its verdict says "differs, as known".
    """

    key: str
    what: str
    rule: Rule
    value: float | int | None = None
    sd: float = 0.0
    tolerance: float = 0.0
    unit: str = ""
    known: str = ""


class Classic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A published result.

    Attributes
    ----------
    name : str
        What it is called at the command line.
    id : str
        A short mark: "N1".
    group : str
        The heading it stands under.
    title, shows, setup : str
        What it is; in a sentence what one learns from it; the set-up, complete.
    source : str
        Where it was published: author, work, year, place.
    sure : {"primary", "secondary", "memory"}
        How sure the published figures are: read in the text itself, in another text that quotes it, or
        from memory.
    recipe : str
        The function that runs it: "nielsen.overfitting" is `overfitting` in `recipes/nielsen.py`.
    options : dict
        What the recipe is given.
    figures : tuple of Published
    minutes : float
        What it takes on two cores, about.
    data : tuple of str
        The folders of data that it needs and that do not come with backpass: "mnist".
    note : str
        What a reader should know: what was not printed and was chosen here, what cannot be reproduced as
        printed.
    """

    name: str
    id: str
    group: str
    title: str
    shows: str
    setup: str
    source: str
    sure: Literal["primary", "secondary", "memory"]
    recipe: str
    figures: tuple[Published, ...]
    options: dict[str, Any] = {}
    minutes: float = 0.1
    data: tuple[str, ...] = ()
    note: str = ""


@functools.lru_cache(maxsize=1)
def catalogue() -> tuple[Classic, ...]:
    """All classics, in the order in which they are listed."""
    found: list[Classic] = []
    folder = files("backpass.classics")
    for entry in sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name):
        listed = tomllib.loads(entry.read_text(encoding="utf-8"))
        found += msgspec.convert(listed["classic"], type=list[Classic])
    return tuple(found)


def named(names: Sequence[str]) -> list[Classic]:
    """The classics of these names or marks, in the order given.

    Raises
    ------
    UsageError
        There is none of that name; the message offers the nearest.

    Examples
    --------
    >>> [classic.id for classic in named(["nielsen-overfitting", "W2"])]
    ['N1', 'W2']
    """
    known = {key: c for c in catalogue() for key in (c.name, c.id.lower())}
    found = []
    for name in names:
        classic = known.get(name.lower())
        if classic is None:
            raise UsageError(
                f"there is no classic {name!r}. {nearest(name, [c.name for c in catalogue()])}\n"
                "  backpass reproduce lists them with what each shows."
            )
        found.append(classic)
    return found
