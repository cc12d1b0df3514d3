"""Published results, number by number. The recipe is in benchmarks/published.py, which runs all epochs."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EPOCHS = 20


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published_recipe", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["published_recipe"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(data_folder: Path) -> Path:
    for name in ("mnist", "nielsen-figures"):
        if not (data_folder / name).is_dir():
            pytest.skip(f"there is no {name} in {data_folder}; set BACKPASS_DATA")
    return data_folder


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_nielsen_overfitting(recipe: ModuleType, folder: Path, executor: str) -> None:
    theirs = recipe.published(folder, EPOCHS)
    ours, run = recipe.reproduce(folder, EPOCHS, executor)
    assert run.settings.executor == executor, run.settings.executor_why
    assert ours.test_right.tolist() == theirs.test_right.tolist()
    assert ours.train_right.tolist() == theirs.train_right.tolist()
    np.testing.assert_allclose(ours.test_cost, theirs.test_cost, rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours.train_cost, theirs.train_cost, rtol=0, atol=1e-10)


def test_the_published_numbers_are_what_we_think(recipe: ModuleType, folder: Path) -> None:
    theirs = recipe.published(folder)
    assert (theirs.test_right[0], theirs.train_right[0]) == (5887, 690)
    assert theirs.train_cost[0] == 1.8433647860328504
    assert (theirs.test_right[399], theirs.train_right[399]) == (8223, 1000)


def test_the_comparison_can_fail(recipe: ModuleType, folder: Path) -> None:
    """Another order of the rows gives other counts: the agreement is no accident."""
    theirs, orders = recipe.published(folder, 2), recipe.orders
    try:
        recipe.orders = lambda epochs: orders(epochs)[:, ::-1]
        ours, _ = recipe.reproduce(folder, 2, "reference")
    finally:
        recipe.orders = orders
    assert not ours.counts_equal(theirs).any()
    assert ours.gap(theirs) > 1e-3


def test_the_shuffle_is_that_of_python_2(recipe: ModuleType) -> None:
    """One list is shuffled on, in place; Python 3 draws its swaps in another way."""
    rows = recipe.orders(2)
    assert rows.shape == (2, 1000)
    assert all(np.array_equal(np.sort(row), np.arange(1000)) for row in rows)
    rng = random.Random(12345678)
    assert rows[0, -1] == int(rng.random() * 1000)  # the first swap settles the last place
    shuffled = list(range(1000))
    random.Random(12345678).shuffle(shuffled)
    assert rows[0].tolist() != shuffled
