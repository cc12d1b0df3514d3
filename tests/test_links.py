"""Links: the derivatives between the values of a step, and the recursion over them."""

import dataclasses

import numpy as np
import pytest
from moments import NETS, STAGES, entries_of, staged, visited

import backpass as bp
from backpass import ops
from backpass.errors import UsageError
from backpass.explain.net import links as links_module
from backpass.explain.net.links import Units, factor_name
from backpass.explain.net.recursion import ALL, GROSS, LIVE, NET, STRONGEST, from_cost
from backpass.explain.step.checking import checked_link
from backpass.record.replay import Moment


def deltas(moment: Moment) -> dict[str, str]:
    named = moment.replay.record.network.deltas
    return {z: d for z, d in named.items() if d in moment.graph.named}


@pytest.mark.parametrize("name", NETS)
def test_the_sum_over_all_paths_is_what_backpropagation_calculated(name: str) -> None:
    for dtype, off in (("f64", 1e-13), ("f32", 1e-5)):
        moment = visited(name, dtype)
        units = Units(moment)
        net, gross = from_cost(units, NET), from_cost(units, GROSS)
        for z, d in deltas(moment).items():
            np.testing.assert_allclose(net[z].reshape(moment[d].shape), moment[d], rtol=off, atol=off)
        for message, size in zip(net.values(), gross.values(), strict=True):
            assert np.all(np.abs(message) <= size * (1 + 1e-12))
        for weight in moment.graph.inputs_of_kind("parameter"):
            for entry in entries_of(moment[weight], 3):
                total = sum(np.sum(net[u] * units.leaf(u, weight, entry)) for u in units.readers(weight))
                assert total == pytest.approx(moment[f"d{weight}"][entry], rel=off, abs=off)


@pytest.mark.parametrize("name", STAGES)
def test_so_it_is_in_steps_without_layers(name: str) -> None:
    """A loop through time with weights inside, a table of vectors, batch statistics without a name."""
    moment = staged(name)
    units = Units(moment)
    net = from_cost(units, NET)
    for weight in moment.graph.inputs_of_kind("parameter"):
        for entry in entries_of(moment[weight], 4):
            total = sum(np.sum(net[u] * units.leaf(u, weight, entry)) for u in units.readers(weight))
            assert total == pytest.approx(moment[f"d{weight}"][entry], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", NETS)
def test_each_link_is_the_derivative_that_a_central_difference_measures(name: str) -> None:
    units = Units(visited(name))
    rng = np.random.default_rng(0)
    for link in units.links:
        for _ in range(3):
            row = int(rng.integers(0, units.rows))
            i = int(rng.integers(0, units.units[link.source].size))
            j = i if link.diagonal else int(rng.integers(0, units.units[link.target].size))
            check = checked_link(units, link, row, j, i)
            assert check.holds, check
            assert check.bound < 1e-6 * max(1.0, abs(check.value) + 1)


def test_a_check_of_a_link_finds_a_wrong_one() -> None:
    units = Units(visited("deep"))
    link = next(link for link in units.links if link.source == "a1")
    wrong = dataclasses.replace(link, jacobian=link.jacobian * 1.001)
    assert not checked_link(units, wrong, 0, 1, 1).holds


def test_a_jacobian_is_stored_by_its_structure() -> None:
    units = Units(visited("batch norm"))
    found = {(link.source, link.target): link for link in units.links}
    dense, slope = found["a2", "z3"], found["z2", "a2"]
    assert dense.jacobian.shape == (1, 3, 3)  # the same for all five examples
    np.testing.assert_array_equal(dense.jacobian[0], visited("batch norm")["W3"].T)
    assert slope.diagonal
    assert slope.jacobian.shape == (5, 3)
    assert found["z1", "batch_mean2"].diagonal  # a feature at a time, over the whole batch
    np.testing.assert_allclose(found["z1", "batch_mean2"].jacobian, 1 / 5)
    full = {(link.source, link.target) for link in Units(visited("layer norm")).links if not link.diagonal}
    assert ("a1", "n2") in full


def test_a_link_is_named_as_the_program_names_it() -> None:
    units = Units(visited("dropout"))
    found = {(link.source, link.target): factor_name(units, link, 1, 2, 2) for link in units.links}
    assert found["a1", "drop1"] == "mask1[1,2]"
    assert found["z1", "a1"] == "tanh′(z1[1,2])"
    assert found["drop1", "z2"] == "W2[2,2]"
    units = Units(visited("batch norm"))
    found = {(link.source, link.target): factor_name(units, link, 1, 2, 2) for link in units.links}
    assert found["n2", "z2"] == "γ2[2]"
    assert found["z1", "batch_mean2"] == "∂batch_mean2[2]/∂z1[1,2]"


def test_counts_are_exact_where_floating_point_is_not() -> None:
    net = bp.Network([*(bp.Dense(30, "tanh") for _ in range(12)), bp.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    moment = bp.train(net, (X, y), batch=2, epochs=1, executor="reference").at(1)
    units = Units(moment)
    for rule in (ALL, LIVE):
        found = from_cost(units, rule)["z1"]
        assert found.dtype == object
        assert found[0, 0] == 3 * 30**11  # more than 2**53
    assert from_cost(units, LIVE)["z13"].dtype == object


def test_the_strongest_path_is_no_stronger_than_all_of_them() -> None:
    units = Units(visited("skips"))
    best, gross = from_cost(units, STRONGEST), from_cost(units, GROSS)
    for name, message in best.items():
        assert np.all(message <= gross[name] + 1e-15)
        assert np.all((message > 0) == (gross[name] > 0))


def test_what_mixes_examples_on_the_way_is_refused() -> None:
    rng = np.random.default_rng(0)
    net = bp.Network([bp.Dense(3), bp.Apply(ops.CumSum(0)), bp.Dense(3, "softmax")])
    data = rng.standard_normal((12, 3)), np.arange(12) % 3
    moment = bp.train(net, data, batch=4, epochs=1, executor="reference").at(1)
    with pytest.raises(UsageError, match="cumsum mixes the examples of the batch"):
        _ = Units(moment).links


def test_too_many_derivatives_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "_MOST", 50)
    with pytest.raises(UsageError, match=r"n2 depends on a1 by 4 x 4 derivatives for each of 5 examples"):
        _ = Units(visited("layer norm")).links
