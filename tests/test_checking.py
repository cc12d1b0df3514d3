"""The second route: central differences beside gradients, deltas and adjoints."""

import numpy as np
import pytest
from moments import NETS, STAGES, entries_of, staged, visited

import backpass as bp
from backpass import ops
from backpass.errors import UsageError
from backpass.explain.step.checking import checked


@pytest.mark.parametrize("name", NETS)
def test_every_gradient_has_a_second_route(name: str) -> None:
    for dtype, loose in (("f64", 1e-8), ("f32", 2e-5)):
        moment = visited(name, dtype)
        names = [n for n in moment.graph.named if n.startswith("δ")]
        names += [f"d{w}" for w in moment.graph.inputs_of_kind("parameter")]
        for gradient in names:
            for entry in entries_of(moment[gradient], 2):
                check = checked(moment, gradient, entry)
                assert check.holds, check
                assert check.bound < loose, check


@pytest.mark.parametrize("name", STAGES)
def test_so_it_is_in_steps_without_layers(name: str) -> None:
    moment = staged(name)
    for weight in moment.graph.inputs_of_kind("parameter"):
        entry = entries_of(moment[weight], 1)[0]
        assert checked(moment, f"d{weight}", entry).holds


def test_values_of_the_forward_pass_and_inputs_too() -> None:
    moment = visited("deep")
    for name, entry in (("a1", (1, 2)), ("loss", (3,)), ("x", (2, 1)), ("W1", (0, 1)), ("z2", (1, 1))):
        check = checked(moment, name, entry)
        assert check.holds
        assert check.words.startswith(f"∂C/∂{name}[")
    assert "= 0.2 and its central difference 0.2 " in checked(moment, "loss", (3,)).words
    assert checked(moment, "W1", (0, 1)).value == checked(moment, "dW1", (0, 1)).value


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_a_wrong_number_is_found(dtype: str) -> None:
    moment = visited("deep", dtype)
    for name in ("dW1", "δ2", "dW3"):
        entry = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(moment[name])), moment[name].shape))
        shown = float(moment[name][entry])
        assert checked(moment, name, entry, shown).holds
        assert not checked(moment, name, entry, shown * 1.02).holds
        assert not checked(moment, name, entry, -shown).holds


def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is consistent with itself; only the second route shows that a vjp is wrong."""
    monkeypatch.setattr(ops.Tanh, "vjp", lambda self, adj, y, x: (adj * (1 - y),))
    rng = np.random.default_rng(0)
    net = bp.Network([bp.Dense(4, "tanh"), bp.Dense(3, "softmax")])
    run = bp.train(
        net, (rng.standard_normal((12, 3)), np.arange(12) % 3), batch=4, epochs=1, executor="reference"
    )
    moment = run.at(2)
    assert not checked(moment, "dW1", (1, 2)).holds
    assert not checked(moment, "δ1", (1, 2)).holds
    assert checked(moment, "dW2", (1, 2)).holds
    assert checked(moment, "δ2", (1, 2)).holds


def test_a_kink_is_told_instead_of_failing() -> None:
    net = bp.Network([bp.Dense(3, "relu", weights=np.zeros((3, 3))), bp.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((12, 3)), np.arange(12) % 3
    moment = bp.train(net, data, batch=4, epochs=1, executor="reference", dtype="f64").at(1)
    assert np.all(moment["z1"] == 0)
    check = checked(moment, "δ1", (1, 2))
    assert check.holds
    assert "at a kink of relu at z1[1,2] = 0, where the slopes are 0 and" in check.words
    away = checked(visited("deep"), "δ1", (1, 2))
    assert "kink" not in away.words


def test_the_step_keeps_clear_of_a_kink_nearby() -> None:
    weights = np.zeros((1, 1))
    net = bp.Network(
        [bp.Dense(1, "relu", weights=weights, bias=np.array([1e-6])), bp.Dense(1, weights=[[1.0]])]
    )
    data = np.arange(4.0)[:, None], np.array([1.0, 2.0, 3.0, 4.0])
    run = bp.train(net, data, batch=4, epochs=1, executor="reference", dtype="f64")
    check = checked(run.at(1), "db1", (0,))
    assert check.holds
    assert "kink" not in check.words
    assert check.bound < 1e-6


def test_what_the_cost_does_not_depend_on_is_refused() -> None:
    moment = visited("deep")
    for name in ("W1_new", "C", "draws", "W9"):
        with pytest.raises(UsageError, match="the cost has no derivative by"):
            checked(moment, name, (0, 0))
    with pytest.raises(UsageError, match=r"dW1\[9,9\] does not exist: W1 has the shape \[3, 4\]"):
        checked(moment, "dW1", (9, 9))
