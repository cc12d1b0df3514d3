"""The methods beside backpropagation: identities that hold exactly, means, variances, and what each pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backpass.errors import UsageError
from backpass.ir import Graph
from backpass.nn import Dense, Network
from backpass.ops import MatMul
from backpass.passes import work
from backpass.rivals.method import Estimator, Method
from backpass.rivals.methods import METHODS, method_named
from backpass.rivals.methods.feedback_alignment import FeedbackAlignment
from backpass.rivals.methods.grid import Grid
from backpass.rivals.problem import Problem
from backpass.rivals.quality import Quality, angles, quality
from backpass.rivals.task import Task

DRAWN = ["spsa", "weight-perturbation", "node-perturbation", "forward-gradient"]


def problem_of(*layers: Dense, loss: str, rows: int, inputs: int, batch: int = 1000) -> Problem:
    rng = np.random.default_rng(1)
    x, outputs = rng.standard_normal((rows, inputs)), layers[-1].units
    classes = rng.integers(0, max(outputs, 2), rows)
    t = np.eye(outputs)[classes] if outputs > 1 else classes[:, None] * 1.0
    return Problem(Task("test", "rows of noise", Network(layers), loss, x, t, batch, 0.01, seed=1))


@pytest.fixture(scope="module")
def small() -> Problem:
    """2-2-1, as of XOR: 9 weights, 3 units."""
    return problem_of(Dense(2, "tanh"), Dense(1, "sigmoid"), loss="cross_entropy", rows=4, inputs=2)


@pytest.fixture(scope="module")
def deep() -> Problem:
    """4-8-5-3: three layers, 103 weights."""
    return problem_of(
        Dense(8, "tanh"), Dense(5, "sigmoid"), Dense(3, "softmax"), loss="cross_entropy", rows=30, inputs=4
    )


@pytest.fixture(scope="module")
def single() -> Problem:
    """No hidden layer."""
    return problem_of(Dense(3, "softmax"), loss="cross_entropy", rows=30, inputs=4)


def gradient(problem: Problem) -> Any:
    return problem.gradient(problem.start, problem.all_rows)[1]


def turned(problem: Problem, seed: int = 5) -> Any:
    return problem.start.like(np.random.default_rng(seed).standard_normal(problem.N))


# ---- identities


def test_finite_differences_go_to_the_gradient(deep: Problem) -> None:
    """The error of one-sided differences is proportional to the change, as far as rounding lets it be."""
    true = gradient(deep)
    errors = []
    for change in (1e-2, 1e-3, 1e-4):
        here, found = deep.cost(deep.start, deep.all_rows), np.empty(deep.N)
        for i in range(deep.N):
            moved = deep.start.copy()
            moved.flat[i] += change
            found[i] = (deep.cost(moved, deep.all_rows) - here) / change
        errors.append(np.linalg.norm(found - true))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.05)
    method = METHODS["finite-differences"](deep, 0.1)
    np.testing.assert_allclose(method.estimate(deep.all_rows), true, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(method.weights.flat, deep.start.flat)


@pytest.mark.parametrize("name", DRAWN)
def test_the_mean_of_many_guesses_is_the_gradient_and_their_variance_its_law(
    small: Problem, name: str
) -> None:
    method = METHODS[name](small, 0.1, seed=3)
    assert isinstance(method, Estimator)
    found = quality(method, estimates=1000)
    assert found.unbiased, found
    assert found.bias < 4 * found.bias_error < 1.0  # so that a bias of g's own size would have been seen
    assert found.law is not None
    if name != "node-perturbation":  # whose law depends on the weights
        assert found.law == (8 if name == "spsa" else 10)
    assert abs(found.error - found.law) < 4 * found.error_error
    assert found.error_error < 0.1 * found.law
    assert found.variance == pytest.approx(found.error - found.bias**2, rel=2e-3)


def test_node_perturbation_of_one_row_is_noisier_by_the_number_of_units() -> None:
    """One linear layer without bias, one row: E|g^ - g|² = (M + 1) |g|²."""
    lone = problem_of(Dense(20, use_bias=False), loss="squared_error", rows=1, inputs=7)
    method = METHODS["node-perturbation"](lone, 0.1)
    assert isinstance(method, Estimator)
    assert lone.M == 20
    assert method.variance_law(lone.all_rows) == pytest.approx(21, rel=1e-12)


def test_orthogonal_directions_as_many_as_weights_give_the_gradient(deep: Problem) -> None:
    directions, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((deep.N, deep.N)))
    found = np.zeros(deep.N)
    for k, v in enumerate(directions.T):
        found += deep.slope(deep.start, deep.start.like(v), deep.all_rows)[1] * v
        if k == deep.N - 2:
            assert np.linalg.norm(found - gradient(deep)) > 1e-6  # one short of all is not yet it
    np.testing.assert_allclose(found, gradient(deep), rtol=0, atol=1e-14)


def test_feedback_alignment_through_the_weights_themselves_is_backpropagation(deep: Problem) -> None:
    own = {f"B{k}": deep.start.named[f"W{k}"] for k in (2, 3)}
    cost, found = deep.feedback(deep.start, deep.all_rows, own)
    assert cost == deep.cost(deep.start, deep.all_rows)
    np.testing.assert_array_equal(found, gradient(deep))
    assert angles(deep, deep.start, own, deep.all_rows) == pytest.approx({"δ1": 0, "δ2": 0}, abs=1e-5)
    away = {"B2": own["B2"], "B3": -own["B3"]}
    assert angles(deep, deep.start, away, deep.all_rows) == pytest.approx({"δ1": 180, "δ2": 180}, abs=1e-5)


def test_feedback_alignment_with_one_hidden_layer_is_direct(small: Problem) -> None:
    """δ1 = (δ2 B^T) f'(z1), from the output layer's error itself: by hand, in NumPy."""
    method = FeedbackAlignment(small, 0.1)
    x, t = small.task.x, small.task.t
    w = small.start.named
    a1 = np.tanh(x @ w["W1"] + w["b1"])
    error = (1 / (1 + np.exp(-(a1 @ w["W2"] + w["b2"]))) - t) / len(x)
    direct = error @ method.backwards["B2"].T * (1 - a1**2)
    found = small.start.like(method.estimate(small.all_rows)).named
    np.testing.assert_allclose(found["W1"], x.T @ direct, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found["W2"], a1.T @ error, rtol=0, atol=1e-15)


def test_the_delta_rule_without_hidden_units_is_backpropagation(single: Problem, deep: Problem) -> None:
    rule = METHODS["delta-rule"](single, 0.1)
    np.testing.assert_array_equal(rule.estimate(single.all_rows), gradient(single))
    assert "it is backpropagation" in rule.sentence(single)
    found = deep.start.like(METHODS["delta-rule"](deep, 0.1).estimate(deep.all_rows)).named
    true = deep.start.like(gradient(deep)).named
    for name in deep.programs.parameters:
        want = true[name] if name in ("W3", "b3") else np.zeros_like(true[name])
        np.testing.assert_array_equal(found[name], want)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_noise_on_one_unit_at_a_time_is_a_difference_of_delta(deep: Problem, layer: int) -> None:
    change, rows = 1e-6, deep.all_rows
    deltas, _ = deep.deltas(deep.start, rows)
    clean = deep.losses(deep.start, rows)["loss"]
    widths = {1: 8, 2: 5, 3: 3}
    for unit in range(widths[layer]):
        noise = {f"noise{k}": np.zeros((len(clean), width)) for k, width in widths.items()}
        noise[f"noise{layer}"][:, unit] = change
        rise = (deep.noisy_losses(deep.start, rows, noise) - clean) / change
        np.testing.assert_allclose(rise / len(clean), deltas[f"δ{layer}"][:, unit], rtol=0, atol=1e-7)


def test_credit_of_the_true_delta_is_the_gradient(deep: Problem) -> None:
    """Of a linear hidden layer too, which has no activation of its own."""
    bare = [Dense(2, use_bias=False) for _ in range(2)]
    for net in (deep, problem_of(*bare, loss="squared_error", rows=6, inputs=3)):
        deltas, incoming = net.deltas(net.start, net.all_rows)
        guesses = {name.replace("δ", "guess"): d for name, d in deltas.items()}
        np.testing.assert_array_equal(net.credit(net.all_rows, incoming, guesses), gradient(net))


def test_forward_mode_is_the_gradient_along_a_direction(deep: Problem) -> None:
    """Against the backward pass, and against HIPS autograd, written anew."""
    direction = turned(deep)
    cost, slope = deep.slope(deep.start, direction, deep.all_rows)
    assert cost == pytest.approx(deep.cost(deep.start, deep.all_rows), rel=1e-15)
    assert slope == pytest.approx(gradient(deep) @ direction.flat, rel=1e-13)

    autograd: Any = pytest.importorskip("autograd")
    xp: Any = pytest.importorskip("autograd.numpy")

    def loss(flat: Any) -> Any:
        w, begin = {}, 0
        for name, shape in deep.start.shapes.items():
            end = begin + int(np.prod(shape))
            w[name], begin = xp.reshape(flat[begin:end], shape), end
        a = xp.tanh(xp.dot(deep.task.x, w["W1"]) + w["b1"])
        a = 1 / (1 + xp.exp(-(xp.dot(a, w["W2"]) + w["b2"])))
        e = xp.exp(xp.dot(a, w["W3"]) + w["b3"])
        p = e / xp.sum(e, axis=1, keepdims=True)
        return -xp.sum(deep.task.t * xp.log(p)) / len(deep.task.x)

    assert cost == pytest.approx(loss(deep.start.flat), rel=1e-13)
    assert slope == pytest.approx(autograd.grad(loss)(deep.start.flat) @ direction.flat, rel=1e-12)


# ---- what is paid


def products(graph: Graph, rows: int) -> int:
    """Multiply-adds of the matrix products."""
    counts = work(graph, {"B": rows}).by_node
    return sum(n for node, n in counts.items() if isinstance(node.op, MatMul)) // 2


def test_prices_are_those_counted_by_hand(deep: Problem) -> None:
    """4-8-5-3, a row: F = 32 + 40 + 15 multiply-adds forward. The gradient of the inputs is not asked for."""
    F, first, B = 4 * 8 + 8 * 5 + 5 * 3, 4 * 8, 30
    programs = deep.programs
    assert products(programs.forward, B) == F * B
    assert products(programs.backprop, B) == (3 * F - first) * B  # the ratio 3 - n0 n1 / F
    assert products(programs.slope, B) == (3 * F - first) * B  # forward mode does as many
    assert products(programs.feedback, B) == (3 * F - first) * B
    assert products(programs.output_layer, B) == (F + 5 * 3) * B
    assert products(programs.credit, B) == F * B
    assert products(programs.noisy, B) == products(programs.clean, B) == F * B


def test_what_a_price_counts_besides_products() -> None:
    """One linear layer 4-3, squared error, batch B: each part of the forward pass by hand."""
    net = problem_of(Dense(3), loss="squared_error", rows=10, inputs=4)
    B, product, bias = 10, 2 * 10 * 4 * 3, 10 * 3
    counts = {
        type(node.op).__name__: n for node, n in work(net.programs.forward, {"B": B}).by_node.items() if n
    }
    assert counts["MatMul"] == product
    assert counts["Add"] == bias
    assert counts["SquaredError"] == 3 * B * 3  # a difference, a square, a sum
    assert counts["Mean"] == B + 1 or counts["Mean"] == B
    assert net.meter.one == sum(counts.values())


@pytest.mark.parametrize(
    ("name", "programs", "passes"),
    [
        ("backprop", ["backprop"], None),
        ("delta-rule", ["output_layer"], None),
        ("finite-differences", [], 10),
        ("spsa", [], 2),
        ("weight-perturbation", [], 2),
        ("node-perturbation", ["clean", "noisy", "credit"], None),
        ("forward-gradient", ["slope"], None),
        ("feedback-alignment", ["feedback"], None),
        ("random-search", [], 2),
        ("hill-climbing", [], 2),
        ("grid", [], 2),
    ],
)
def test_the_meter_counts_a_step(small: Problem, name: str, programs: list[str], passes: float) -> None:
    small.fresh()
    METHODS[name](small, 0.1).step()
    assert small.meter.passes == pytest.approx(passes or sum(map(small.price, programs)), rel=1e-12)
    with small.meter.off():
        small.cost(small.start, small.all_rows)
    assert small.meter.passes == pytest.approx(passes or sum(map(small.price, programs)), rel=1e-12)


def test_a_sweep_of_one_weight_at_a_time(small: Problem) -> None:
    """A pass at the start, then one for each weight that could rise and two for each other; no more ever."""
    small.fresh()
    method = METHODS["one-weight"](small, 0.1)
    for _ in range(3 * small.N):
        method.step()
    runs = small.meter.runs["forward"]
    assert method.sweeps == 3
    assert 1 + 3 * small.N <= runs <= 1 + 6 * small.N
    assert small.cost_of_all(method.weights) < small.cost_of_all(small.start)


def test_quality_charges_one_estimate_and_changes_nothing(small: Problem) -> None:
    small.fresh()
    method = METHODS["spsa"](small, 0.1)
    found = quality(method, estimates=5)
    assert (found.passes, small.meter.passes, found.estimates) == (2, 2, 5)
    np.testing.assert_array_equal(method.weights.flat, small.start.flat)
    part = {"x": small.task.x[:2], "t": small.task.t[:2]}
    assert quality(METHODS["spsa"](small, 0.1), part, 2).passes == pytest.approx(2, rel=0.02)


def test_what_a_good_gradient_costs(small: Problem) -> None:
    def measured(name: str) -> Quality:
        method = METHODS[name](small, 0.1)
        assert isinstance(method, Estimator)
        return quality(method, estimates=300)

    assert measured("backprop").passes_for(0.1) == small.price("backprop")
    assert measured("finite-differences").passes_for(0.1) == small.N + 1
    assert measured("delta-rule").passes_for(0.1) == np.inf  # no mean of many takes its bias away
    found = measured("spsa")
    assert found.estimates_for(0.1) == pytest.approx(100 * found.variance, abs=1)
    assert found.passes_for(0.1) == 2 * found.estimates_for(0.1)


# ---- how they learn


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_learns_and_is_the_same_again(small: Problem, name: str) -> None:
    before = small.start.flat.copy()
    ends = []
    for _ in range(2):
        method = METHODS[name](small, METHODS[name].sizes(small)[2], seed=2)
        for _ in range(60):
            method.step()
        ends.append(method.weights.flat.copy())
    np.testing.assert_array_equal(*ends)
    np.testing.assert_array_equal(small.start.flat, before)
    assert small.cost_of_all(small.start.like(ends[0])) < small.cost_of_all(small.start)
    assert method.steps == 60


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_says_what_it_is(small: Problem, name: str) -> None:
    method = METHODS[name]
    sizes = method.sizes(small)
    assert len(sizes) == 7
    np.testing.assert_allclose(np.diff(np.log(sizes)), np.log(sizes[-1] / sizes[0]) / 6, rtol=0.12)
    assert method.sentence(small).endswith(".")
    assert method.title
    assert method.rule


def test_one_weight_at_a_time_on_four_rows() -> None:
    """y = 2x from w = 5 in whole steps: 4, 3, 2; there either way is worse."""
    x = np.array([[0.0], [3.0], [9.0], [27.0]])
    net = Network([Dense(1, use_bias=False, weights=[[5.0]])])
    method = METHODS["one-weight"](
        Problem(Task("line", "y = 2x", net, "squared_error", x, 2 * x, 4, 0.0)), 1.0
    )
    seen = []
    for _ in range(5):
        method.step()
        seen.append(float(method.weights.flat[0]))
    assert seen == [4.0, 3.0, 2.0, 2.0, 2.0]


def test_a_lucky_batch_does_not_decide() -> None:
    """With batches both sides are judged on the same rows, and that is paid for."""
    batches = problem_of(Dense(1, "sigmoid"), loss="cross_entropy", rows=12, inputs=2, batch=3)
    method = METHODS["hill-climbing"](batches, 0.5)
    for k in range(20):
        before = method.weights.flat.copy()
        method.step()
        rows = batches.batch(k)
        with batches.meter.off():
            costs = [batches.cost(batches.start.like(w), rows) for w in (before, method.weights.flat)]
        assert costs[1] <= costs[0]
    assert batches.meter.passes == pytest.approx(40)


def test_spsa_gains_fall_as_spall_has_them(small: Problem) -> None:
    method = METHODS["spsa"](small, 0.3, seed=1)
    twin = METHODS["spsa"](small, 0.3, seed=1)
    assert isinstance(twin, Estimator)
    for k in range(3):
        gain = 0.3 * (101 / (101 + k)) ** 0.602
        twin.weights.flat -= gain * twin.estimate(small.all_rows)
        twin.steps += 1
        method.step()
        np.testing.assert_array_equal(method.weights.flat, twin.weights.flat)


def test_the_grid_tries_each_combination_once() -> None:
    two = problem_of(Dense(1, use_bias=False), loss="squared_error", rows=6, inputs=2)
    grid = Grid(two, 1.0, values=3)
    tried = []
    while not grid.finished:
        tried.append(tuple(grid.propose()))
        grid.step()
    assert tried == [(a, b) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]
    costs = [two.cost_of_all(two.start.like(np.array(w))) for w in [*tried, two.start.flat]]
    assert two.cost_of_all(grid.weights) == min(costs)
    with pytest.raises(UsageError, match="all 9 combinations have been tried"):
        grid.step()


def test_a_grid_that_cannot_end_is_refused(deep: Problem) -> None:
    with pytest.raises(UsageError, match=r"103 weights with 5 values each has 9\.9e71 combinations.*years"):
        Grid(deep, 1.0)
    Grid(deep, 1.0, values=1)


def test_unknown_methods_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no method 'bakprop'\. Did you mean 'backprop'"):
        method_named("bakprop")
    assert method_named("spsa") is METHODS["spsa"]
    assert all(issubclass(m, Method) for m in METHODS.values())
