"""Run a classic."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable

from backpass.classics.catalogue import Classic
from backpass.classics.comparison import Compared, Reproduction
from backpass.classics.measured import Measured, Told

Recipe = Callable[[Classic, Told], Measured]


def recipe_of(classic: Classic) -> Recipe:
    """The function that runs a classic."""
    module, name = classic.recipe.rsplit(".", 1)
    found: Recipe = getattr(importlib.import_module(f"backpass.classics.recipes.{module}"), name)
    return found


def reproduce(classic: Classic, told: Told = lambda share, words: None) -> Reproduction:
    """Run the recipe of a classic, and put what came out beside what was published."""
    began = time.perf_counter()
    measured = recipe_of(classic)(classic, told)
    compared = tuple(Compared(p, measured.figures[p.key]) for p in classic.figures)
    return Reproduction(
        question="reproduce", target=classic.name, step=None, claim="", classic=classic,
        compared=compared, measured=measured, seconds=time.perf_counter() - began,
    )  # fmt: skip
