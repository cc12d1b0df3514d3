"""The list of classics: what `classics.toml` says, checked. To add a classic is to add an entry."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Collection, Sequence
from importlib.resources import files
from typing import Any, Literal

import msgspec

from backpass.errors import UsageError

#: The file that lists them.
LIST = "classics.toml"

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

    def __post_init__(self) -> None:
        if self.rule not in ("holds", "shown") and self.value is None:
            raise ValueError(f"{self.key}: the rule {self.rule!r} needs a published value")
        if self.rule in ("within", "sd") and self.tolerance <= 0:
            raise ValueError(f"{self.key}: the rule {self.rule!r} needs a tolerance above 0")
        if self.rule not in ("within", "sd") and self.tolerance:
            raise ValueError(f"{self.key}: the rule {self.rule!r} has no use for a tolerance")


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
        The function that runs it: "nielsen.chaos.chaos" is `chaos` in `recipes/nielsen/chaos.py`.
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

    def __post_init__(self) -> None:
        if not self.figures:
            raise ValueError(f"{self.name} has no figures")
        keys = [figure.key for figure in self.figures]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"{self.name} has more than one figure {', '.join(sorted(twice))}")
        if "." not in self.recipe:
            raise ValueError(f"{self.name}: a recipe is written file.function, got {self.recipe!r}")


@functools.lru_cache(maxsize=1)
def catalogue() -> tuple[Classic, ...]:
    """All classics, in the order in which they are listed."""
    return tuple(read((files("backpass.classics") / LIST).read_text(encoding="utf-8")))


def read(text: str, name: str = LIST) -> list[Classic]:
    """The classics of a file of the list.

    Raises
    ------
    UsageError
        An entry is torn: a field that there is not or of the wrong type, a rule without what it needs, a name
        or a mark that another has.
    """
    try:
        found = msgspec.convert(tomllib.loads(text)["classic"], type=list[Classic])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError) as error:
        raise UsageError(f"{name} cannot be read as a list of classics: {error}") from None
    taken = [key for classic in found for key in (classic.name.lower(), classic.id.lower())]
    twice = {key for key in taken if taken.count(key) > 1}
    if twice:
        raise UsageError(f"{name} has more than one classic {', '.join(sorted(twice))}")
    return found


def groups() -> dict[str, list[Classic]]:
    """The classics by the heading that they stand under."""
    found: dict[str, list[Classic]] = {}
    for classic in catalogue():
        found.setdefault(classic.group, []).append(classic)
    return found


def group_name(group: str) -> str:
    """What a group is called at the command line.

    Examples
    --------
    >>> group_name("Nielsen's book, to the last digit")
    'nielsens-book-to-the-last-digit'
    """
    return re.sub(r"[^a-z0-9]+", "-", group.lower().replace("'", "")).strip("-")


def named(names: Sequence[str]) -> list[Classic]:
    """The classics of these names, marks or groups, in the order given, each once; "all" are all of them.

    Raises
    ------
    UsageError
        There is none of that name; the message offers the nearest.

    Examples
    --------
    >>> [classic.id for classic in named(["vowel", "D1"])]
    ['D3', 'D1']
    """
    known = {"all": list(catalogue())} | {group_name(group): some for group, some in groups().items()}
    known |= {key: [c] for c in catalogue() for key in (c.name.lower(), c.id.lower())}
    found: dict[str, Classic] = {}
    for name in names:
        meant = known.get(name.strip().lower(), known.get(group_name(name)))
        if meant is None:
            raise UsageError(
                f"there is no classic {name!r}. {_nearest(name, known)}\n"
                "  backpass reproduce lists them with what each shows."
            )
        found |= {classic.name: classic for classic in meant}
    return list(found.values())


def _nearest(name: str, known: Collection[str]) -> str:
    """The nearest names, and not the whole list, which is long."""
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    close = close or [one for one in known if name.lower() in one][:3]
    return f"Did you mean {' or '.join(close)}?" if close else "No name is near to it."
