"""Run a classic."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

from backpass.classics.catalogue import Classic
from backpass.classics.keeping import keeping
from backpass.classics.measured import Measured, Told
from backpass.classics.places import folder_of
from backpass.classics.reproduction import Reproduction

Recipe = Callable[[Classic, Told], Measured]


def recipe_of(classic: Classic) -> Recipe:
    """The function that runs a classic."""
    module, name = classic.recipe.rsplit(".", 1)
    found: Recipe = getattr(importlib.import_module(f"backpass.classics.recipes.{module}"), name)
    return found


def reproduce(
    classic: Classic, told: Told = lambda share, words: None, runs: Path | None = None
) -> Reproduction:
    """Run the recipe of a classic, and put what came out beside what was published.

    Parameters
    ----------
    classic : Classic
    told : Told
        Takes in how far it is.
    runs : Path, optional
        A folder for the runs that are made, in a folder with the name of the classic: `backpass.load` opens
        each of them, and every number of it can be asked for. They take more time then.

    Raises
    ------
    DataError
        Its data are not there; the message says where they come from.
    """
    for name in classic.data:
        folder_of(name)
    began = time.perf_counter()
    with keeping(None if runs is None else runs / classic.name):
        measured = recipe_of(classic)(classic, told)
    return Reproduction.of(classic, measured, time.perf_counter() - began)
