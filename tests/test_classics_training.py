"""The general recipe of classics: against a loop in NumPy; when it stops, variants, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from backpass.classics import Classic, Measured, Published
from backpass.classics.recipes.options import Options, variants_of
from backpass.classics.recipes.tracking import measured
from backpass.classics.recipes.training import examples_of, train
from backpass.errors import DataError, UsageError
from backpass.nn import Dense


def options(**changes: Any) -> dict[str, Any]:
    return {
        "data": "xor",
        "layers": [[4, "tanh"], [1, "sigmoid"]],
        "optimiser": {"name": "sgd", "lr": 0.5},
        "epochs": 3,
    } | changes


def trained(keys: list[str], told: Any = lambda share, words: None, **changes: Any) -> Measured:
    figures = tuple(Published(key=key, what=key, rule="shown") for key in keys)
    return train(msgspec.structs.replace(_with(**changes), figures=figures), told)


def test_the_recipe_is_the_rule_of_1986_step_by_step() -> None:
    """2-2-1, a step after each pattern in the order of the file, with momentum: against a loop in NumPy."""
    uniform = {"name": "uniform", "low": -0.5, "high": 0.5}
    told = options(
        layers=[[2, "sigmoid"], [1, "sigmoid"]], init=uniform, targets=[0.1, 0.9], order="sequential",
        epochs=7, optimiser={"name": "sgd", "lr": 0.25, "momentum": 0.9},
    )  # fmt: skip
    chosen = msgspec.convert(told, type=Options)
    start = chosen.network().initial(2, 0, "f64")
    W1, b1, W2, b2 = (np.array(start[k]) for k in ("W1", "b1", "W2", "b2"))
    X, T = examples_of("xor").train[0], np.array([[0.1], [0.9], [0.9], [0.1]])
    moved = [np.zeros_like(w) for w in (W1, b1, W2, b2)]
    for _ in range(7):
        for x, t in zip(X, T, strict=True):
            h = 1 / (1 + np.exp(-(x @ W1 + b1)))
            y = 1 / (1 + np.exp(-(h @ W2 + b2)))
            d2 = (y - t) * y * (1 - y)
            d1 = (d2 @ W2.T) * h * (1 - h)
            slopes = [np.outer(x, d1), d1, np.outer(h, d2), d2]
            moved = [0.9 * v - 0.25 * g for v, g in zip(moved, slopes, strict=True)]
            W1, b1, W2, b2 = (w + v for w, v in zip((W1, b1, W2, b2), moved, strict=True))
    y = 1 / (1 + np.exp(-(1 / (1 + np.exp(-(X @ W1 + b1))) @ W2 + b2)))
    found = trained(["train_loss"], **told)
    assert found.figures["train_loss"].mean == pytest.approx(float(np.mean((y - T) ** 2) / 2), rel=1e-12)


def test_a_batch_may_be_summed_as_in_the_early_papers() -> None:
    mean = trained(["train_loss"], batch=0, optimiser={"name": "sgd", "lr": 2.0}).figures["train_loss"]
    summed = trained(["train_loss"], batch=0, summed=True).figures["train_loss"]
    assert mean.values == summed.values


def test_inputs_may_skip_the_hidden_layer() -> None:
    network = variants_of(_with(layers=[[1, "sigmoid"], [1, "sigmoid"]], skip=True))[""].network()
    assert network.initial(2, 0, "f64")["W2"].shape == (3, 1)
    plain = variants_of(_with(layers=[[1, "sigmoid"], [1, "sigmoid"]]))[""].network()
    assert plain.initial(2, 0, "f64")["W2"].shape == (1, 1)
    assert isinstance(plain.layers[0], Dense)


def _with(**changes: Any) -> Classic:
    return Classic(
        name="a", id="A1", group="g", title="t", shows="s", setup="s", source="s", sure="primary",
        recipe="training.train", options=options(**changes),
        figures=(Published(key="k", what="w", rule="shown"),),
    )  # fmt: skip


def test_errors_within_a_bound_do_not_count() -> None:
    """Every output of a new net is within 2 of its target: nothing is learned; nothing else changes."""
    before = trained(["train_loss", "train_accuracy"], epochs=1, within=2.0)
    after = trained(["train_loss", "train_accuracy"], epochs=4, within=2.0)
    assert before.figures["train_loss"].values == after.figures["train_loss"].values
    assert trained(["train_loss"], within=1e-9).figures["train_loss"].mean == pytest.approx(
        trained(["train_loss"]).figures["train_loss"].mean
    )


def test_it_stops_when_every_pattern_is_learned_and_says_when() -> None:
    told: list[tuple[float, str]] = []
    found = trained(
        ["epochs", "solved", "train_accuracy"], lambda share, words: told.append((share, words)),
        epochs=2000, seeds=[0, 1], until={"miss": 0.4}, batch=4, optimiser={"name": "sgd", "lr": 5.0},
        curves=["train_exact"],
    )  # fmt: skip
    epochs = found.figures["epochs"].values
    assert all(1 < e < 2000 for e in epochs)
    assert epochs[0] != epochs[1]
    assert found.figures["solved"].values == found.figures["train_accuracy"].values == (100.0, 100.0)
    (panel,) = found.panels
    assert [len(line.x) for line in panel.lines] == [*epochs, min(epochs)]
    assert (told[0][0], told[-1][0]) == (0.0, 1.0)
    assert any("seed 1, epoch" in words for _, words in told)


def test_what_is_never_learned_is_not_a_number() -> None:
    found = trained(["epochs", "solved"], epochs=2, until={"loss": 1e-6})
    assert math.isnan(found.figures["epochs"].mean)
    assert found.figures["solved"].mean == 0


def test_a_run_that_stalls_ends() -> None:
    found = trained(["epochs"], until={"stall": 1.0}, epochs=50)
    assert found.figures["epochs"].mean == 4  # the first is better than nothing; then three are not


def test_variants_change_what_they_say_and_no_more() -> None:
    found = trained(
        ["two.train_loss", "four.train_loss", "two.best_train_accuracy"],
        variants={"two": {"layers": [[2, "tanh"], [1, "sigmoid"]]}, "four": {}}, seeds=2,
    )  # fmt: skip
    assert (
        found.figures["four.train_loss"].values
        == trained(["train_loss"], seeds=2).figures["train_loss"].values
    )
    assert found.figures["two.train_loss"].values != found.figures["four.train_loss"].values


@pytest.mark.parametrize(
    ("keys", "changes", "words"),
    [
        (["train_acuracy"], {}, "Did you mean 'train_accuracy'"),
        (["test_accuracy"], {}, "there are no test rows"),
        (["three.train_loss"], {"variants": {"two": {}}}, "three.train_loss"),
        (["train_loss"], {"epoch": 3}, "epoch"),
        (["train_loss"], {"variants": {"two": {"rate": 3}}}, "rate"),
        (["train_loss"], {"optimiser": {"name": "sdg", "lr": 1.0}}, "sgd"),
        (["train_loss"], {"data": "xxor"}, "xor"),
    ],
)
def test_options_that_make_no_sense_are_refused(keys: list[str], changes: dict[str, Any], words: str) -> None:
    with pytest.raises((UsageError, DataError), match=words):
        trained(keys, **changes)


def test_measures_of_one_output_and_of_several() -> None:
    a, t = np.array([[0.2], [0.6], [0.45]]), np.array([[0.1], [0.9], [0.9]])
    assert measured("right", a, t, lambda: 0.0) == 2
    assert measured("errors", a, t, lambda: 0.0) == pytest.approx(100 / 3)
    assert measured("loss", a, t, lambda: 7.0) == 7.0
