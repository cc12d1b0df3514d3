"""The classics on other ways to learn: their rules are the methods', and they have all their figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backpass.nn import Dense, Network
from backpass.rivals.method import Estimator
from backpass.rivals.methods import METHODS
from backpass.rivals.problem import Problem
from backpass.rivals.task import Task


@pytest.mark.parametrize(
    ("rule", "name"),
    [("gradient", "backprop"), ("node", "node-perturbation"), ("weight", "weight-perturbation")],
)
def test_a_thousand_perceptrons_at_once_learn_as_one(rule: str, name: str) -> None:
    """The rules of Werfel's runs are those of the methods, draw for draw, in the limit of small noise."""
    from backpass.classics.recipes.learning_rules import RULES

    E, x = np.random.default_rng(0).standard_normal((7, 4)), np.random.default_rng(1).standard_normal((1, 7))
    network = Network([Dense(4, weights=E, use_bias=False)])
    task = Task("one", "one row", network, "squared_error", x, np.zeros((1, 4)), 1, 0.0)
    method = METHODS[name](Problem(task), 0.1, seed=3)
    assert isinstance(method, Estimator)
    twin = METHODS[name](method.problem, 0.1, seed=3)
    found = RULES[rule](E[None], x, twin.rng)
    np.testing.assert_allclose(found[0].ravel(), method.estimate(method.problem.all_rows), rtol=5e-3)


def test_the_error_of_a_perceptron_shrinks_by_its_law() -> None:
    from backpass.classics.recipes.learning_rules import mean_squared_errors, shrinks_by, times_slower

    for rule, steps in (("gradient", 10), ("node", 40), ("weight", 80)):
        errors = [e for _, e in mean_squared_errors(rule, 3, 2, runs=2000, steps=steps, seed=0)]
        law = 1 / (5 * times_slower(rule, 3, 2))
        assert shrinks_by(errors) == pytest.approx(law, rel=0.05)


def test_the_linear_net_of_lillicrap_has_all_its_figures() -> None:
    from msgspec.structs import replace

    from backpass.classics import named
    from backpass.classics.recipes.alignment import linear

    classic = named(["M20"])[0]
    rates = {
        "backprop": [0.01],
        "feedback-alignment": [0.01],
        "node-perturbation": [0.0006],
        "delta-rule": [0.01],
    }
    told: list[float] = []
    small = replace(classic, options={"rates": rates, "examples": 300})
    found = linear(small, lambda share, words: told.append(share))
    assert {f.key for f in classic.figures} <= set(found.figures)
    assert found.figures["needed feedback-alignment"].mean <= 300
    assert found.figures["falls"].mean == 1
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_step_that_is_too_large_is_told_as_no_learning() -> None:
    from msgspec.structs import replace

    from backpass.classics import named
    from backpass.classics.recipes.alignment import linear

    rates = {
        "backprop": [5.0],
        "feedback-alignment": [0.01],
        "node-perturbation": [5.0],
        "delta-rule": [0.01],
    }
    small = replace(named(["M20"])[0], options={"rates": rates, "examples": 100})
    found = linear(small, lambda share, words: None)
    assert found.figures["error backprop"].mean == np.inf
    assert found.figures["needed backprop"].mean == np.inf


@pytest.mark.slow
def test_the_digits_of_lillicrap_have_all_their_figures(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msgspec.structs import replace

    from backpass.classics import named
    from backpass.classics.recipes.alignment import learn_digits

    if not (data_folder / "mnist").is_dir():
        pytest.skip(f"there is no mnist in {data_folder}; set BACKPASS_DATA")
    monkeypatch.setenv("BACKPASS_DATA", str(data_folder))
    classic = named(["M19"])[0]
    less = {"epochs": 4, "rows": 2000, "hidden": 30, "rates": {"backprop": 1.0, "feedback-alignment": 1.0}}
    told: list[float] = []
    found = learn_digits(
        replace(classic, options=classic.options | less), lambda share, words: told.append(share)
    )
    assert {f.key for f in classic.figures} <= set(found.figures)
    assert found.figures["backprop error"].mean < 60
    assert found.figures["feedback-alignment error"].mean < 60
    assert found.figures["first angle"].mean == pytest.approx(90, abs=15)
    assert found.figures["last angle"].mean < 75
    assert told == sorted(told)
