"""A classic as it came out here, as an answer; and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backpass.classics.catalogue import Classic
from backpass.classics.comparison import Compared
from backpass.classics.measured import Measured
from backpass.explain.answer import Answer, Block, Figure, Heading, Note, Table
from backpass.pictures.curves import Panel, line_chart

#: How sure a published figure is, in words.
SURE = {
    "primary": "the text itself was read",
    "secondary": "quoted in another text",
    "memory": "from memory, unverified",
}
#: Panels that a picture has side by side.
_ACROSS = 2
#: How many figures a claim names at most.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Reproduction(Answer):
    """A classic as it came out here.

    Attributes
    ----------
    classic : Classic
    compared : tuple of Compared
    measured : Measured
    seconds : float
        What it took.
    """

    classic: Classic
    compared: tuple[Compared, ...]
    measured: Measured
    seconds: float

    @classmethod
    def of(cls, classic: Classic, measured: Measured, seconds: float) -> Reproduction:
        """Put what came out beside what was published."""
        compared = tuple(Compared(figure, measured.figures[figure.key]) for figure in classic.figures)
        return cls(
            question="reproduce", target=classic.name, step=None, claim=claim(classic, compared),
            classic=classic, compared=compared, measured=measured, seconds=seconds,
        )  # fmt: skip

    @property
    def agrees(self) -> bool:
        """No figure differs that was not known to."""
        return not any(c.failed for c in self.compared)

    @property
    def verdict(self) -> str:
        """Of the whole: "identical", "agrees", "agrees in part", "differs" or "shown"."""
        return overall(self.compared)

    def blocks(self) -> list[Block]:
        rows = tuple((c.published.what, c.theirs, c.ours, c.apart, c.verdict) for c in self.compared)
        head = ("figure", "published", "ours", "difference", "verdict")
        found: list[Block] = [Table("", head, rows, shown=40)]
        found += [Note(why) for why in known(self.compared)]
        found += pictures(self.classic.title, self.measured.panels)
        found += self.measured.blocks
        found += [Note(note) for note in self.measured.notes]
        found.append(Heading("What was done", self.classic.setup))
        found += [Note(self.classic.note)] if self.classic.note else []
        found.append(Note(f"Published: {self.classic.source} ({SURE[self.classic.sure]})."))
        found.append(Note(f"It took {_duration(self.seconds)}."))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data, for JSON."""
        return {
            "question": self.question,
            "name": self.classic.name,
            "id": self.classic.id,
            "title": self.classic.title,
            "claim": self.claim,
            "verdict": self.verdict,
            "agrees": self.agrees,
            "figures": [figure(c) for c in self.compared],
            "notes": list(self.measured.notes),
            "curves": [
                {
                    "name": panel.name,
                    "x": panel.x_name,
                    "y": panel.y_name,
                    "lines": [
                        {"name": line.name, "part": line.part, "x": list(line.x), "y": list(line.y)}
                        for line in panel.lines
                    ],
                }
                for panel in self.measured.panels
            ],
            "setup": self.classic.setup,
            "source": self.classic.source,
            "sure": self.classic.sure,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Reproductions(Answer):
    """Several classics, one after another, under one claim.

    Attributes
    ----------
    each : tuple of Reproduction
    missing : tuple of str
        Why others that were asked for did not run.
    """

    each: tuple[Reproduction, ...]
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, each: Sequence[Reproduction], missing: Sequence[str] = ()) -> Reproductions:
        """These, with a sentence on all of them."""
        names = " ".join(one.classic.name for one in each)
        failed = [one.classic.name for one in each if not one.agrees]
        said = f"{len(each)} of the classics {'was' if len(each) == 1 else 'were'} run. "
        if failed:
            said += f"Not reproduced: {', '.join(failed)}."
        elif each:
            said += "No figure differs that was not known to."
        return cls(
            question="reproduce", target=names if len(each) < 4 else "", step=None, claim=said.strip(),
            each=tuple(each), missing=tuple(missing),
        )  # fmt: skip

    def blocks(self) -> list[Block]:
        rows = tuple((one.classic.id, one.classic.title, one.verdict) for one in self.each)
        found: list[Block] = [Table("", ("", "classic", "verdict"), rows, shown=len(rows))]
        found += [Note(f"Not run: {why}") for why in self.missing]
        for one in self.each:
            found.append(Heading(f"{one.classic.title} ({one.classic.id})", one.claim))
            found += one.blocks()
        return found

    def to_dict(self) -> dict[str, Any]:
        """The answers as plain data, for JSON."""
        return {
            "question": self.question,
            "agrees": all(one.agrees for one in self.each),
            "classics": [one.to_dict() for one in self.each],
            "missing": list(self.missing),
        }


def overall(compared: Sequence[Compared]) -> str:
    """The verdict on all figures together; one that was not known to differ decides."""
    claimed = [c for c in compared if c.agrees is not None]
    if not claimed:
        return "shown"
    if any(c.failed for c in claimed):
        return "differs"
    if not all(c.agrees for c in claimed):
        return "agrees in part" if any(c.agrees for c in claimed) else "differs, as known"
    return "identical" if all(c.published.rule == "identical" for c in compared) else "agrees"


def known(compared: Sequence[Compared]) -> list[str]:
    """Why figures differ that were known to, each reason once with the figures that it is of."""
    found: dict[str, list[str]] = {}
    for one in compared:
        if one.agrees is False and one.published.known:
            found.setdefault(one.published.known, []).append(one.published.what)
    return [f"{_capital('; '.join(what))}: {why}" for why, what in found.items()]


def claim(classic: Classic, compared: Sequence[Compared]) -> str:
    """What came out, in a sentence or two."""
    claimed = [c for c in compared if c.agrees is not None]
    good, bad = [c for c in claimed if c.agrees], [c for c in claimed if not c.agrees]
    lead = {
        "identical": "identical",
        "agrees": "reproduced",
        "agrees in part": "reproduced in part",
        "differs, as known": "not reproduced as printed, as is known",
        "differs": "not reproduced",
        "shown": "both are shown, and nothing is claimed",
    }[overall(compared)]
    title = f"{classic.title}:"
    if classic.title.endswith(("?", ".")):
        title, lead = classic.title, _capital(lead)
    if not bad:
        shown = good or list(compared)
        if len(shown) > _NAMED:
            return f"{title} {lead}. {len(shown)} of {len(shown)} figures agree; {_told(shown[0])}."
        return f"{title} {lead}. {_capital('; '.join(map(_told, shown)))}."
    told = "; ".join(_told(c) for c in bad[:_NAMED]) + (
        f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    )
    counted = f"{len(good)} of {len(claimed)} figures {'agrees' if len(good) == 1 else 'agree'}"
    return f"{title} {lead}. {_capital(counted)}; what differs: {told}."


def _told(one: Compared) -> str:
    """A figure in a claim."""
    if one.published.rule == "holds":
        return f"{one.published.what}: {one.ours}"
    if one.published.value is None:
        return f"{one.published.what}: {one.ours} here"
    return f"{one.published.what}: {one.ours} here, {one.theirs} published"


def figure(one: Compared) -> dict[str, Any]:
    """A figure and ours as plain data."""
    told = one.published
    return {
        "key": told.key,
        "what": told.what,
        "rule": told.rule,
        "published": told.value,
        "sd": told.sd,
        "tolerance": told.tolerance,
        "unit": told.unit,
        "ours": list(one.found.values),
        "difference": one.difference,
        "verdict": one.verdict,
        "known": told.known,
    }


def pictures(title: str, panels: Sequence[Panel]) -> list[Figure]:
    """The curves, two panels side by side in a picture."""
    found = []
    for start in range(0, len(panels), _ACROSS):
        some = panels[start : start + _ACROSS]
        shown = "; ".join(f"{panel.name}, {panel.y_name} against {panel.x_name}" for panel in some)
        parts = {line.part for panel in some for line in panel.lines}
        over = " over the published curve" if "published" in parts else ""
        found.append(Figure(title, line_chart(title, some), f"a picture of {shown}{over}"))
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} seconds" if seconds < 90 else f"{seconds / 60:.1f} minutes"
