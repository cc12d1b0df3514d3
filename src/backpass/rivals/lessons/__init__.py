"""Lessons of a race: each shows one thing that backpropagation is explained by, measured. A file each."""

from __future__ import annotations

import importlib
from typing import Protocol

from backpass.errors import UsageError, nearest
from backpass.explain.answer import Answer


class Told(Protocol):
    """Takes in how far a lesson is."""

    def __call__(self, share: float, words: str) -> None:
        """`share` from 0 to 1; `words` such as "label noise 20 %, seed 2"."""


class Lesson(Protocol):
    """A lesson, by default as `backpass race NAME` gives it."""

    def __call__(self, *, seed: int = 0, told: Told = ...) -> Answer:
        """`seed` is that of what is drawn; `told` is called often enough that a bar moves."""


def _from(module: str, function: str) -> Lesson:
    """The lesson of a module, which is imported when the lesson is given."""

    def lesson(*, seed: int = 0, told: Told = quiet) -> Answer:
        found: Lesson = getattr(importlib.import_module(f"backpass.rivals.lessons.{module}"), function)
        return found(seed=seed, told=told)

    return lesson


def quiet(share: float, words: str) -> None:
    """Tell nobody how far a lesson is."""


#: By name; each is given by ``LESSONS[name](seed=0, told=told)``.
LESSONS: dict[str, Lesson] = {
    "one-weight": _from("one_weight", "one_weight"),
    "batch": _from("batch", "batch"),
    "noise": _from("noise", "noise"),
}


def lesson_named(name: str) -> Lesson:
    """The lesson of that name.

    Raises
    ------
    UsageError
        There is none; the message offers the nearest.
    """
    if name not in LESSONS:
        raise UsageError(f"there is no lesson {name!r}. {nearest(name, LESSONS)}")
    return LESSONS[name]
