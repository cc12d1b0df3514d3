"""Paths: against each of them listed, on small nets."""

import dataclasses
import json

import numpy as np
import pytest
from moments import NETS, STAGES, entries_of, staged, visited

import backpass as bp
from backpass.errors import NotDifferentiable, UsageError
from backpass.explain.net.links import Units
from backpass.explain.net.recursion import strongest
from backpass.explain.paths import Paths, paths


def listed(units: Units, weight: str, entry: tuple[int, ...]) -> list[float]:
    """The product of every path from the cost to a weight, those of 0 included: by listing them all."""
    leaves = {name: units.leaf(name, weight, entry) for name in units.readers(weight) if name != "C"}
    there = {name: units.leaf_present(name, weight, entry) for name in leaves}
    found: list[float] = []

    def follow(name: str, row: int, i: int, product: float) -> None:
        if name in leaves and there[name][row if len(there[name]) > 1 else 0, i]:
            found.append(product * leaves[name][row if len(leaves[name]) > 1 else 0, i])
        for link in (link for link in units.links if link.target == name):
            above, below = units.units[name], units.units[link.source]
            rows = range(units.rows) if below.by_row and not above.by_row else [row if below.by_row else 0]
            for r in rows:
                k = r if below.by_row else row
                k = k if len(link.jacobian) > 1 else 0
                if link.diagonal:
                    follow(link.source, r, i, product * link.jacobian[k, i])
                    continue
                present = link.present[k if len(link.present) > 1 else 0, i]
                for j in np.flatnonzero(present):
                    follow(link.source, r, int(j), product * link.jacobian[k, i, j])

    follow("C", 0, 0, 1.0)
    return found


@pytest.mark.parametrize("name", NETS)
def test_every_path_is_counted_and_the_strongest_are_found(name: str) -> None:
    moment = visited(name)
    for weight in moment.graph.inputs_of_kind("parameter"):
        for entry in entries_of(moment[weight], 2):
            answer = paths(moment, f"{weight}[{','.join(map(str, entry))}]", top=7)
            products = listed(Units(moment), weight, entry)
            assert answer.total == len(products)
            assert answer.live == sum(p != 0 for p in products)
            assert answer.net == pytest.approx(sum(products), rel=1e-9, abs=1e-14)
            assert answer.gross == pytest.approx(sum(map(abs, products)), rel=1e-12, abs=1e-15)
            best = sorted((abs(p) for p in products if p), reverse=True)[:7]
            assert [abs(way.product) for way in answer.ways] == pytest.approx(best, rel=1e-12)
            for way in answer.ways:
                assert np.prod(way.values) == pytest.approx(way.product, rel=1e-12)
                assert len(way.factors) == len(way.values) == len(way.stops)
            assert answer.balanced


@pytest.mark.parametrize("name", [name for name in STAGES if name != "recurrent"])
def test_paths_of_steps_without_layers(name: str) -> None:
    moment = staged(name)
    for weight in moment.graph.inputs_of_kind("parameter"):
        entry = entries_of(moment[weight], 1)[0]
        answer = paths(moment, f"{weight}[{','.join(map(str, entry))}]")
        assert answer.balanced
        assert answer.net + answer.penalty == pytest.approx(moment[f"d{weight}"][entry], rel=1e-9, abs=1e-13)


def test_a_path_says_what_is_multiplied() -> None:
    moment = visited("deep")
    answer = paths(moment, "W1[1,2]", top=3)
    for way in answer.ways:
        b = way.stops[1].removeprefix("loss[").removesuffix("]")
        j, k = (stop.split(",")[1].rstrip("]") for stop in (way.stops[2], way.stops[4]))
        assert way.stops == (
            "C",
            f"loss[{b}]",
            f"z3[{b},{j}]",
            f"a2[{b},{k}]",
            f"z2[{b},{k}]",
            f"a1[{b},2]",
            f"z1[{b},2]",
        )
        assert way.factors[2:] == (
            f"W3[{k},{j}]", f"tanh′(z2[{b},{k}])", f"W2[2,{k}]", f"relu′(z1[{b},2])", f"x[{b},1]",
        )  # fmt: skip
        values = (
            moment["W3"][int(k), int(j)], 1 - moment["a2"][int(b), int(k)] ** 2, moment["W2"][2, int(k)], 1.0,
            moment["x"][int(b), 1],
        )  # fmt: skip
        assert way.values[2:] == pytest.approx(values)
        assert way.row == moment.rows[int(b)]


def test_penalties_are_a_part_of_their_own() -> None:
    moment = visited("deep")
    answer = paths(moment, "W1[1,2]")
    w = float(moment["W1"][1, 2])
    assert answer.penalty == pytest.approx(0.01 * w + 0.001 * np.sign(w))
    assert "Penalties add" in answer.claim
    assert answer.gradient == moment["dW1"][1, 2]
    assert paths(moment, "b1[2]").penalty == 0


@pytest.mark.parametrize("name", ["deep", "batch norm", "skips"])
def test_the_paths_of_each_example_make_up_all(name: str) -> None:
    moment = visited(name)
    whole = paths(moment, "W1[1,2]")
    parts = [paths(moment, "W1[1,2]", example=b) for b in range(5)]
    assert sum(p.net for p in parts) == pytest.approx(whole.net, rel=1e-12)
    assert sum(p.gross for p in parts) == pytest.approx(whole.gross, rel=1e-12)
    assert (sum(p.live for p in parts), sum(p.total for p in parts)) == (whole.live, whole.total)
    for b, part in enumerate(parts):
        assert part.row == moment.rows[b]
        assert all(way.stops[1] == f"loss[{b}]" for way in part.ways)
        again = paths(moment, "W1[1,2]", example=f"row {moment.rows[b]}")
        assert (again.ways, again.net) == (part.ways, part.net)


def test_paths_lead_to_inputs_and_to_values_too() -> None:
    moment = visited("deep")
    answer = paths(moment, "C->x[2,1]")
    products = moment["δ1"][2] * moment["W1"][1]
    assert answer.net == pytest.approx(products.sum())
    assert answer.target == "x[2,1]"
    assert np.isnan(answer.gradient)
    to_z = paths(moment, "δ1[2,3]")
    assert to_z.target == "z1[2,3]"
    assert to_z.net == pytest.approx(moment["δ1"][2, 3])
    assert to_z.gradient == moment["δ1"][2, 3]
    assert paths(moment, "dW1[1,2]").ways == paths(moment, "W1[1,2]").ways


def test_dead_paths_are_told() -> None:
    moment = visited("deep")
    dead = next((b, j) for b, j in np.argwhere(moment["z1"] <= 0))
    answer = paths(moment, f"z1[{dead[0]},{dead[1]}]")
    assert (answer.live, answer.net, answer.ways) == (0, 0.0, ())
    assert answer.total == 9
    assert answer.claim.startswith("No path from the cost to z1")


def test_a_corrupted_sum_is_caught() -> None:
    for dtype in ("f64", "f32"):
        answer = paths(visited("deep", dtype), "W1[1,2]")
        assert answer.balanced
        assert not dataclasses.replace(answer, net=answer.net * 1.01).balanced


def test_the_answer_in_print_and_as_data() -> None:
    answer = paths(visited("deep"), "W1[1,2]", top=2)
    text = answer.text()
    assert "the strongest path, link by link" in text
    assert "balance holds" in text
    assert len([line for line in text.split("\n") if "→ a1" in line and "%" in line]) == 2
    assert max(map(len, text.split("\n"))) <= 160
    data = json.loads(json.dumps(answer.to_dict()))
    assert data["ways"][0]["stops"][0] == "C"
    assert data["live"] <= data["total"]


def test_what_has_no_paths_is_refused() -> None:
    moment = visited("deep")
    wrong = {
        "W9[1,2]": "there is no value 'W9'",
        "W1[1,9]": r"from W1\[0,0\] to W1\[2,3\]",
        "lr": "the cost does not depend on lr",
        "C": "paths lead from the cost to a weight",
        "W1_new[1,2]": "the cost does not depend on W1_new",
    }
    for target, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            paths(moment, target)
    with pytest.raises(NotDifferentiable, match="targets are data"):
        paths(moment, "t[0,1]")
    with pytest.raises(UsageError, match="at least 1, got 0"):
        paths(moment, "W1[1,2]", top=0)
    with pytest.raises(UsageError, match="examples 0 to 4"):
        paths(moment, "W1[1,2]", example=5)
    with pytest.raises(UsageError, match="row 999 is not in the batch of step 3"):
        paths(moment, "W1[1,2]", example="row 999")
    with pytest.raises(UsageError, match="or 'row 417' of the data set"):
        paths(moment, "W1[1,2]", example="first")


def test_weights_that_are_not_trained_are_told_so() -> None:
    net = bp.Network([bp.Dense(3, "tanh", trainable=False), bp.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    run = bp.train(
        net, (rng.standard_normal((12, 3)), np.arange(12) % 3), batch=4, epochs=1, executor="reference"
    )
    with pytest.raises(UsageError, match="W1 is not trained"):
        paths(run.at(1), "W1[0,0]")
    answer = paths(run.at(1), "W2[0,0]")
    assert isinstance(answer, Paths)
    assert answer.balanced


def test_the_best_come_first_even_among_very_many() -> None:
    rng = np.random.default_rng(0)
    strong = 4 * rng.standard_normal((40, 3))  # a path may grow again on its way up
    net = bp.Network([bp.Dense(40, "tanh"), bp.Dense(40, "sigmoid"), bp.Dense(3, "softmax", weights=strong)])
    data = rng.standard_normal((64, 5)), np.arange(64) % 3
    moment = bp.train(net, data, batch=32, epochs=1, executor="reference", dtype="f64").at(2)
    units = Units(moment)
    leaf = units.leaf("z1", "W1", (2, 3))
    found = [path.product for path in strongest(units, {"z1": leaf}, 50)]
    slope = moment["a2"] * (1 - moment["a2"])
    every = moment["δ3"][:, :, None] * moment["W3"].T[None] * (slope * moment["W2"][3])[:, None, :]
    every = every * ((1 - moment["a1"][:, 3] ** 2) * moment["x"][:, 2])[:, None, None]
    best = sorted(np.abs(every).ravel(), reverse=True)[:50]
    np.testing.assert_allclose(np.abs(found), best, rtol=1e-12)
    few = [path.product for path in strongest(units, {"z1": leaf}, 2)]  # fewer than each layer is wide
    assert few == found[:2]
