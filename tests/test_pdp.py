"""The nets of 1986: printed weights to the printed digits, and trainings that come out as they did then."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from backpass.classics import Classic, Measured, named, reproduce
from backpass.classics.recipes.pdp import codes, family_trees, printed, shapes, sweeps, trainings
from backpass.exec.reference import ReferenceFunction
from backpass.training.optimisers import SGD
from backpass.training.step import predict_graph, step_graph


def classic(name: str, **changed: Any) -> Classic:
    """The entry of that name, with some of its options changed."""
    (found,) = named([name])
    return msgspec.structs.replace(found, options=found.options | changed)


def ran(name: str, **changed: Any) -> Measured:
    return reproduce(classic(name, **changed)).measured


def net_of(name: str) -> printed.PrintedNet:
    options = classic(name).options
    return msgspec.convert(options.get("net", options), type=printed.PrintedNet)


def outputs(net: printed.PrintedNet) -> list[float]:
    return printed.outputs_of(net.network(), net.task().x).round(3).reshape(-1).tolist()


# ------------------------------------------------------------------------------------------ printed weights


def test_the_printed_nets_give_the_outputs_they_are_known_to_give() -> None:
    assert outputs(net_of("W1")) == [0.103, 0.877, 0.877, 0.109]
    assert outputs(net_of("W2")) == [0.096, 0.500, 0.898, 0.500]


def test_symmetry_and_negation_as_printed_are_right_everywhere() -> None:
    symmetry, negation = reproduce(classic("W3")), reproduce(classic("W4"))
    assert symmetry.measured.figures["right"].values == (64.0,)
    assert round(symmetry.measured.figures["least yes"].mean, 3) == 0.857
    assert round(symmetry.measured.figures["most no"].mean, 3) == 0.169
    assert negation.measured.figures["right"].values == (48.0,)
    assert symmetry.agrees
    assert negation.agrees


def test_a_wrong_sign_of_a_printed_weight_is_noticed() -> None:
    layers = [[*units] for units in classic("W4").options["layers"]]
    layers[0][0] = layers[0][0] | {"weights": {"n": 6, "a": -6}}
    measured = ran("W4", layers=layers)
    assert measured.figures["right"].mean < 48


def test_links_go_where_the_entry_says() -> None:
    """The net of Fig. 3 by hand: the output listens to the inputs and to the hidden unit."""
    left, right = np.array([0, 0, 1, 1.0]), np.array([0, 1, 0, 1.0])
    h = 1 / (1 + np.exp(-(2.2 - 6.4 * left - 6.4 * right)))
    y = 1 / (1 + np.exp(-(6.3 - 4.2 * left - 4.2 * right - 9.4 * h)))
    net = net_of("W1")
    np.testing.assert_allclose(printed.outputs_of(net.network(), net.task().x)[:, 0], y, rtol=1e-14)
    assert net.equations.lines[0] == "h = σ(2.2 −6.4 left −6.4 right)"


def test_the_printed_minimum_is_flat_and_no_rate_leads_out_of_it() -> None:
    found = reproduce(classic("pdp-xor-minimum", starts=3, presentations=1500))
    figures = found.measured.figures
    assert figures["gradient"].mean < 0.0012 < 0.02 * figures["gradient at a start"].mean
    assert figures["stays"].values == (1.0,)
    assert figures["leaves"].values == (0.0,)
    assert figures["stuck"].values == (1.0,)  # seed 2
    assert 0 <= figures["freed"].mean <= 100
    assert found.agrees


# ------------------------------------------------------------------------------------------ sweeps


def test_a_sweep_meets_every_pattern_once_and_counts_from_one() -> None:
    run = sweeps.sweep(
        trainings.layered(2, 1)(0.5),
        trainings.XOR,
        rate=0.5,
        momentum=0.9,
        presentations=700,
        seed=0,
        name="t",
    )
    assert run.losses.shape == (700, 4)
    met = run.met(0.01)
    assert met is not None
    assert run.right
    assert (run.losses[met - 1] < 0.01).all()
    assert not (run.losses[met - 2] < 0.01).all()
    assert run.met(1.0) == 1
    assert run.met(0.0) is None


def test_losses_are_put_to_their_patterns() -> None:
    """With a rate of nearly zero the loss of a pattern is that of the start, wherever it comes."""
    net = trainings.layered(2, 1)(1.0)
    run = sweeps.sweep(net, trainings.XOR, rate=1e-12, momentum=0.0, presentations=20, seed=3, name="t")
    y = ReferenceFunction(predict_graph(net, "squared_error", 2, "f64"))(
        net.initial(2, 3, "f64") | {"x": trainings.XOR.x, "t": trainings.XOR.t}
    )
    np.testing.assert_allclose(run.losses, np.tile(y["loss"], (20, 1)), rtol=1e-9)


def test_whole_sweeps_add_the_gradients_of_the_patterns() -> None:
    settings: dict[str, Any] = {"momentum": 0.0, "presentations": 1, "seed": 1, "name": "t"}
    net = trainings.layered(2, 1)(0.5)
    start = net.initial(2, 1, "f64")
    together = sweeps.sweep(net, trainings.XOR, rate=0.1, together=True, **settings)
    step = step_graph(net, "squared_error", SGD(0.1), 2, "f64")
    feeds = start | {"x": trainings.XOR.x, "t": trainings.XOR.t, "lr": np.float64(0.1)}
    gradient = 4 * ReferenceFunction(step)(feeds)["dW1"]
    np.testing.assert_allclose(together.run.weights["W1"], start["W1"] - 0.1 * gradient, rtol=1e-12)


# ------------------------------------------------------------------------------------------ trainings


def test_exclusive_or_gets_stuck_only_without_links_past_the_hidden_unit() -> None:
    measured = ran("pdp-xor-minima", starts=[0.5], seeds=3, presentations=1300)
    assert measured.figures["2-2-1 stuck"].mean > 0
    assert measured.figures["2-1-1 stuck"].mean == 0
    assert measured.figures["only 2-2-1"].mean == 1


def test_the_bottleneck_grades_its_unit() -> None:
    found = reproduce(classic("pdp-bottleneck", seeds=6))
    assert found.agrees, found.text()


def test_the_code_of_parity_is_told_from_others() -> None:
    rows = sweeps.words(4)
    ones = rows.sum(axis=1)
    thermometer = np.column_stack([ones >= 2, ones < 4, ones >= 1, ones < 3])
    assert codes.counting_code(thermometer, rows) == [2, 4, 1, 3]
    assert codes.counting_code(np.column_stack([thermometer, rows[:, 0] == 1]), rows) == []


def test_mirror_ratios_of_other_solutions_are_not_1_2_4() -> None:
    found = printed.mirrored(np.array([[6.0, -12, 9, -9, 12, -6]]))
    assert (found["ratio 2"].mean, found["ratio 4"].mean) == (1.5, 2.0)


def test_the_shared_field_is_one_kernel_at_all_places() -> None:
    net, x = shapes.network(1.0), shapes.fields(shapes.grids())
    weights = net.initial(x.shape[1], 0, "f64")
    values = ReferenceFunction(net.forward(x.shape[1], "f64"))({**weights, "x": x})
    z = x.reshape(8, 25, 9) @ weights["W1"] + weights["b1"]
    h = (1 / (1 + np.exp(-z))).sum(axis=1, keepdims=True)
    y = 1 / (1 + np.exp(-(h @ weights["W2"] + weights["b2"])))
    np.testing.assert_allclose(values[net.prediction], y, rtol=1e-12)
    forward = predict_graph(net, "squared_error", x.shape[1], "f64")
    assert forward.inputs["W1"].shape == (9,)


def test_a_pattern_is_told_wherever_it_stands() -> None:
    """What the fields see is the same but for its place, so the sum over all places is."""
    large = np.pad(shapes.grids(), ((0, 0), (1, 1), (1, 1)))
    moved = np.roll(large, (1, -1), axis=(1, 2))
    kernel = np.random.default_rng(0).normal(size=9)
    here, there = (np.sort(shapes.fields(g).reshape(8, 49, 9) @ kernel, axis=1) for g in (large, moved))
    assert not (large == moved).all()
    np.testing.assert_allclose(here, there, atol=1e-12)


def test_the_family_trees_are_whole() -> None:
    trees = family_trees.trees()
    assert trees.task.x.shape == (104, 36)
    assert (trees.task.x.sum(axis=1) == 2).all()
    assert trees.task.t.sum() == 112
    assert len(set(trees.names)) == 24
    victoria = trees.names.index("Victoria")
    mothers = [
        row
        for row in range(104)
        if trees.task.t[row, victoria] and trees.task.x[row, trees.names.index("Colin")]
    ]
    assert len(mothers) == 1


def test_the_family_trees_as_printed_learn_nothing_and_the_variant_does() -> None:
    measured = ran("nature-family-trees", starts=1)
    assert measured.figures["printed learned"].values == (0.0,)
    assert measured.figures["working learned"].mean >= 95
    assert len(measured.panels) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"R{k}" for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)] + ["W2"])
def test_each_entry_agrees_or_differs_as_known(name: str) -> None:
    found = reproduce(classic(name))
    assert found.agrees, found.text()
