"""Nielsen's published curves, number by number: his draws, his shuffles, and that a comparison can fail."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from backpass.classics import Classic, Measured, named, reproduce
from backpass.classics.catalogue import catalogue
from backpass.classics.comparison import Compared
from backpass.classics.recipes.mnist import digits
from backpass.classics.recipes.nielsen import chaos, curves, printed
from backpass.classics.recipes.nielsen import depth as deep
from backpass.classics.recipes.nielsen.curves import MONITORED, Program, given, published, run_program, same
from backpass.classics.recipes.nielsen.process import Plan, Process, learn


def quiet(share: float, words: str) -> None:
    assert 0.0 <= share <= 1.0
    assert words


@pytest.fixture
def mnist(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (data_folder / "mnist").is_dir():
        pytest.skip(f"there is no mnist in {data_folder}; set BACKPASS_DATA")
    monkeypatch.setenv("BACKPASS_DATA", str(data_folder))
    return data_folder


def program(name: str, **changes: Any) -> Program:
    [classic] = named([name])
    return msgspec.structs.replace(msgspec.convert(classic.options, type=Program), **changes)


def shortened(name: str, **changes: Any) -> Classic:
    """A classic with other options."""
    [classic] = named([name])
    return msgspec.structs.replace(classic, options=classic.options | changes)


def values(measured: Measured, key: str) -> tuple[float, ...]:
    return measured.figures[key].values


# ------------------------------------------------------------------------------------------ what he published


def test_the_published_numbers_are_what_we_think() -> None:
    [theirs] = published("overfitting.json")
    assert (theirs.held_right[0], theirs.train_right[0]) == (5887, 690)
    assert theirs.train_cost[0] == 1.8433647860328504
    assert (theirs.held_right[399], theirs.train_right[399]) == (8223, 1000)
    assert [list(given(net)) for net in published("multiple_eta.json")] == [["train_cost"]] * 3
    assert [list(given(net)) for net in published("weight_initialization_30.json")] == [["held_right"]] * 2
    assert [len(deep.published(depth)[0]) for depth in (2, 3, 4)] == [2, 3, 4]


def test_the_list_says_what_the_files_say() -> None:
    """Each figure of the list that is a number of his files is that number."""
    checked = 0
    for name in ("N1", "N2", "N4", "N5", "N6"):
        [classic] = named([name])
        options = msgspec.convert(classic.options.get("program", classic.options), type=Program)
        for net, his in zip(options.nets, published(options.published, options.epochs), strict=True):
            found = curves.figures_of(his, his)
            for figure in classic.figures:
                key = figure.key.removeprefix(f"{net.name}: ") if net.name else figure.key
                if figure.value is not None and key in found and key != "largest cost difference":
                    room = 1e-3 if figure.rule == "shown" else 0.0
                    assert abs(found[key].mean - figure.value) <= room, (name, figure.key)
                    checked += 1
    assert checked == 23
    [classic] = named(["N8"])
    for figure in (f for f in classic.figures if f.rule == "range"):
        depth, layer = int(figure.key[0]), int(figure.key.split("layer ")[1][0])
        his = deep.published(depth)[-1 if figure.key.endswith("last") else 0, layer - 1]
        assert figure.value == pytest.approx(his, rel=1e-3)


# ------------------------------------------------------------------------------------------------ his process


def test_the_shuffle_is_that_of_python_2() -> None:
    """One list is shuffled on, in place; Python 3 draws its swaps in another way."""
    rows = Process(12345678, 1000).orders(2)
    assert rows.shape == (2, 1000)
    assert all(np.array_equal(np.sort(row), np.arange(1000)) for row in rows)
    rng = random.Random(12345678)
    assert rows[0, -1] == int(rng.random() * 1000)  # the first swap settles the last place
    shuffled = list(range(1000))
    random.Random(12345678).shuffle(shuffled)
    assert rows[0].tolist() != shuffled


def test_a_process_goes_on_where_it_was() -> None:
    """A second net and a second shuffle are what the generators and the list have come to."""
    once, twice = Process(7, 20), Process(7, 20)
    assert np.array_equal(once.orders(5)[3:], [twice.orders(3), twice.orders(2)][1])
    first, second = (once.net((4, 3, 2)).initial(4, 0, "f64") for _ in range(2))
    assert not np.array_equal(first["W1"], second["W1"])
    rng = np.random.RandomState(7)
    b1, b2, W1 = rng.randn(3, 1), rng.randn(2, 1), rng.randn(3, 4)  # all biases come first
    np.testing.assert_array_equal(first["b1"], b1[:, 0])
    np.testing.assert_array_equal(first["b2"], b2[:, 0])
    np.testing.assert_array_equal(first["W1"], (W1 / 2).T)  # over the root of its four inputs
    np.testing.assert_array_equal(Process(7, 20).net((4, 3, 2), "large").initial(4, 0, "f64")["W1"], W1.T)


def test_the_parts_of_the_digits(mnist: Path) -> None:
    X, y = digits("validation", 3)
    assert X.shape == (3, 784)
    assert np.array_equal(X * 256, np.round(X * 256))
    assert X.max() <= 255 / 256
    assert y.tolist() == [3, 8, 6]  # rows 50,000 to 50,002 of the training file
    assert digits("train", 3)[1].tolist() == [5, 0, 4]
    assert digits("test", 3)[1].tolist() == [7, 2, 1]


# ------------------------------------------------------------------------------------------- number by number


@pytest.mark.parametrize(("executor", "epochs"), [("reference", 10), ("compiled", 20)])
def test_the_first_epochs_of_overfitting(mnist: Path, executor: Any, epochs: int) -> None:
    found = run_program(program("N1", epochs=epochs, executor=executor), quiet)
    assert values(found, "identical epochs") == (epochs,)
    assert values(found, "equal counts") == (epochs,)
    assert values(found, "largest cost difference")[0] < 1e-10
    assert [panel.lines[1].part for panel in found.panels] == ["published"] * 4
    for panel in found.panels:
        mine, theirs = panel.lines
        np.testing.assert_allclose(mine.y, theirs.y, rtol=0, atol=1e-10)
    assert found.notes[0].startswith(
        f"{epochs} of {epochs} epochs have the counts and the costs that Nielsen published"
    )


def test_decay_over_three_epochs(mnist: Path) -> None:
    """The costs hold λ / 2m ΣW², where m is 1,000 for the training digits and 10,000 for the others."""
    assert values(run_program(program("N2", epochs=3), quiet), "identical epochs") == (3,)
    wrong = run_program(program("N2", epochs=1, decay=0.11), quiet)
    assert values(wrong, "identical epochs") == (0,)


def test_the_comparison_can_fail(mnist: Path) -> None:
    """Another order of the rows gives other counts: the agreement is no accident."""
    [theirs] = published("overfitting.json", 2)
    process = Process(12345678, 1000)
    net = [process.net((784, 30, 10), start) for start in ("default", "large")][-1]
    orders = process.orders(2)[:, ::-1]
    rows, held = digits("train", 1000), digits("test")
    mine, run = learn(net, rows, held, orders, Plan(0.5, executor="reference"))
    assert run.settings.executor == "reference"
    assert not same(mine, theirs).any()
    assert not same(mine, theirs, costs=False).any()
    assert np.max(np.abs(mine.train_cost - theirs.train_cost)) > 1e-3


def test_a_cost_or_a_count_that_is_off_is_seen() -> None:
    [his] = published("overfitting.json", 4)
    off = replace(his, held_cost=his.held_cost + np.array([0, 2e-10, 0, 0]))
    assert same(off, his).tolist() == [True, False, True, True]
    assert same(off, his, costs=False).all()
    off = replace(his, train_right=his.train_right + np.array([0, 0, 1, 0]))
    assert same(off, his, costs=False).tolist() == [True, True, False, True]
    figures = curves.figures_of(off, his)
    [figure] = [f for f in named(["N1"])[0].figures if f.key == "identical epochs"]
    assert not Compared(figure, figures["identical epochs"]).agrees
    assert "3 of 4" in curves._note(off, his, "")
    assert "number 2" in curves._note(off, his, "")


def test_only_what_he_monitored_is_measured(mnist: Path) -> None:
    process, rows = Process(1, 100), digits("train", 100)
    mine, _ = learn(process.net((784, 4, 10)), rows, rows, process.orders(2), Plan(0.1), ["train_cost"])
    assert list(given(mine)) == ["train_cost"]
    assert set(MONITORED) > {"train_cost"}


@pytest.mark.slow
def test_first_epoch_of_all_digits(mnist: Path) -> None:
    options = program("N5", epochs=1)
    mine = next(curves.trained(options, published(options.published, 1), quiet))
    assert mine.held_right.tolist() == [9270]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["N1", "N2", "N5", "N6"])
def test_every_published_number(mnist: Path, name: str) -> None:
    found = reproduce(named([name])[0], quiet)
    failed = [(c.published.key, c.found.values) for c in found.compared if c.failed]
    assert not failed
    rest = [c for c in found.compared if not c.agrees and c.agrees is not None]
    assert all("η 2.5" in c.published.key for c in rest)


# ----------------------------------------------------------------------------------------- where numbers part


def test_rounding_grows_where_the_rate_is_too_large(mnist: Path) -> None:
    rows = digits("train", 1000)
    options = program("N1")
    quick = chaos.Case(name="quick", rate=2.5, decay=5.0, batches=200)
    slow = chaos.Case(name="slow", rate=0.025, decay=5.0, batches=200)
    wild, calm = (chaos.apart(case, options, rows, quiet) for case in (quick, slow))
    assert len(wild) == len(calm) == 100
    assert 0 < calm[0] < 1e-12
    assert calm[-1] < 1e-11
    assert wild[-1] > 1e3 * calm[-1]


@pytest.mark.slow
def test_without_decay_the_curves_part(mnist: Path) -> None:
    found = reproduce(named(["N4"])[0], quiet)
    assert found.agrees
    counts = {c.published.key: c.found.mean for c in found.compared}
    assert 1 <= counts["equal counts"] < 10
    assert counts["λ 0, η 0.5: apart"] > 1e3 * counts["λ 5, η 0.5: apart"]


# ------------------------------------------------------------------------------------------- a fan of seeds


def test_the_lengths_are_those_of_the_gradient(mnist: Path) -> None:
    """What the biases move by, over η, is the mean of ∂C/∂b: NumPy's own formula says the same."""
    rows = digits("train", 100)
    options = deep.Options(depths=(2,), seeds=1, epochs=2, rows=100, rate=0.1, decay=5.0)
    found = deep.lengths(2, 3, rows, options, quiet, "run")
    w = Process(3, 100).net((784, 30, 30, 10)).initial(784, 0, "f64")
    a = [rows[0].astype(np.float64)]
    for k in (1, 2, 3):
        a.append(1 / (1 + np.exp(-(a[-1] @ w[f"W{k}"] + w[f"b{k}"]))))
    delta, expected = a[3] - np.eye(10)[rows[1]], []
    for k in (3, 2):
        delta = delta @ w[f"W{k}"].T * a[k - 1] * (1 - a[k - 1])
        expected.insert(0, np.linalg.norm(delta.mean(axis=0)))
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)
    assert not np.allclose(found[1], found[0], rtol=1e-3)


def test_the_gradient_vanishes(mnist: Path) -> None:
    found = deep.vanishing(shortened("N8", depths=[3], seeds=2, epochs=3), quiet)
    assert values(found, "3 hidden layers: slower at the start") == (1, 1)
    assert values(found, "3 hidden layers: slower throughout") == (100, 100)
    first = [values(found, f"3 hidden layers, layer {k}: first") for k in (1, 2, 3)]
    assert all(3 < above / below < 12 for below, above in zip(first[0], first[1], strict=True))
    assert [len(panel.lines) for panel in found.panels] == [4, 4, 4]  # two seeds, their median, Nielsen


@pytest.mark.slow
def test_the_fan_holds_his_lines(mnist: Path) -> None:
    assert reproduce(named(["N8"])[0], quiet).agrees


def test_printed_epochs_are_counted_from_0(mnist: Path) -> None:
    classic = shortened("M1")
    training = classic.options["training"] | {
        "rows": 500,
        "epochs": 3,
        "seeds": 2,
        "layers": [[5, "sigmoid"], [10, "sigmoid"]],
    }
    keep = tuple(f for f in classic.figures if f.key in ("epoch 0", "best"))
    classic = msgspec.structs.replace(
        classic, options={"training": training, "right": {"0": 9129, "2": 9348}}, figures=keep
    )
    found = printed.printed(classic, quiet)
    [panel] = found.panels
    seeds, [median], [his] = (
        [line for line in panel.lines if line.part == p] for p in ("seed", "ours", "published")
    )
    assert list(his.y) == [9129, None, 9348]
    assert values(found, "epoch 0") == tuple(line.y[0] for line in seeds)
    assert values(found, "best") == tuple(max(line.y) for line in seeds)
    assert values(found, "epoch 0") != values(found, "epoch 2")
    assert median.y[1] == np.median([line.y[1] for line in seeds])


def test_the_best_epoch_is_chosen_by_validation(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = iter(
        [
            {"test_right": [9000.0, 9700.0], "validation_right": [9100.0, 9000.0]},
            {"test_right": [9500.0, 9600.0], "validation_right": [9100.0, 9300.0]},
        ]
    )

    class Tracked:
        def __init__(self) -> None:
            self.curves, self.run = next(curves), self

        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.where(y < 7, y, 0)  # never 7, 8 or 9

    y = digits("test")[1]
    monkeypatch.setattr(printed, "trained", lambda *given: Tracked())
    [classic] = named(["M7"])
    classic = shortened("M7", training=classic.options["training"] | {"seeds": 2})
    found = printed.printed(classic, quiet)
    assert values(found, "chosen") == (90.0, 96.0)
    assert values(found, "chosen, best run") == (96.0,)
    assert values(found, "digits not learned") == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["M1", "M2", "M3", "M4", "M5", "M6", "M7"])
def test_nets_of_the_book_on_few_digits(mnist: Path, name: str) -> None:
    """Each of their figures is measured; `benchmarks/classics.py` runs them whole, a quarter of an hour."""
    [classic] = named([name])
    few = {"rows": 100, "seeds": 1}
    options = few if "training" not in classic.options else {"training": classic.options["training"] | few}
    found = reproduce(shortened(name, **options), quiet)
    assert len(found.compared) == len(classic.figures)
    assert all(math.isfinite(v) for c in found.compared for v in c.found.values)
    assert not found.agrees or name in ("M2", "M4")  # a hundred digits teach less; M4 learns nothing anyway


def test_sure_is_said_of_each() -> None:
    sure = {classic.id: classic.sure for classic in catalogue()}
    assert sure["M5"] == "memory"
    assert sure["M6"] == "secondary"
    assert {sure[name] for name in ("N1", "N2", "N4", "N5", "N6", "N8", "M1", "M7")} == {"primary"}
