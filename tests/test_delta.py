"""Where the error at a unit came from: what the units above send adds up to the program's own δ."""

import dataclasses
import json
import math

import numpy as np
import pytest
from moments import NETS, entries_of, visited

import backpass as bp
from backpass.errors import UsageError
from backpass.explain.delta import delta
from backpass.explain.step.places import written


@pytest.mark.parametrize("name", NETS)
def test_what_is_sent_makes_up_every_delta(name: str) -> None:
    for dtype in ("f64", "f32"):
        moment = visited(name, dtype)
        for d in (d for d in moment.graph.named if d.startswith("δ")):
            for entry in entries_of(moment[d], 3):
                answer = delta(moment, written(d, entry))
                assert answer.target == written(d, entry)
                assert answer.value == moment[d][entry]
                assert answer.balanced, answer.checks
                again = sum(e.value for e in answer.sent) * math.prod(f.value for f in answer.factors)
                assert again == pytest.approx(answer.value, rel=1e-9 if dtype == "f64" else 1e-3, abs=1e-6)
                assert answer.arrived == pytest.approx(sum(e.value for e in answer.sent), rel=1e-12)
                assert answer.gross == pytest.approx(sum(abs(e.value) for e in answer.sent))
                assert answer.text()


def test_a_hidden_unit_hears_from_the_units_above_through_its_slope() -> None:
    moment = visited("dense")
    answer = delta(moment, "δ1[2,3]")
    wanted = {f"δ2[2,{k}] * W2[3,{k}]": float(moment["δ2"][2, k] * moment["W2"][3, k]) for k in range(3)}
    assert {e.name: e.value for e in answer.sent} == pytest.approx(wanted)
    a, z = float(moment["a1"][2, 3]), float(moment["z1"][2, 3])
    ((name, slope, left),) = [(f.name, f.value, f.left) for f in answer.factors]
    assert (name, slope) == ("sigmoid′(z1[2,3])", pytest.approx(a * (1 - a)))
    assert left == pytest.approx(answer.value)
    assert answer.arrived_name == "∂C/∂a1[2,3]"
    assert f"The slope of sigmoid at z1[2,3] = {z:.4g} is {slope:.4g}" in answer.claim
    first = answer.sent[0].name[len("δ2[2,")]
    assert f"most of it from unit {first} of layer 2 (" in answer.claim
    assert answer.cancelled == pytest.approx(1 - abs(sum(wanted.values())) / sum(map(abs, wanted.values())))
    assert answer.equations[0].startswith(
        "δ1[2,3] = (sum over k of δ2[2,k] * W2[3,k]) * (a1[2,3] * (1 - a1[2,3]))"
    )


def test_a_unit_that_is_off_is_told() -> None:
    moment = visited("deep")
    b, j = next((int(b), int(j)) for b, j in np.argwhere(moment["z1"] < 0))
    answer = delta(moment, f"delta_1[{b},{j}]")
    assert answer.value == 0
    assert answer.arrived != 0
    assert "relu is flat at" in answer.claim
    assert "nothing comes through" in answer.claim
    b, j = next((int(b), int(j)) for b, j in np.argwhere(moment["z1"] > 0))
    assert "relu has the slope 1 at" in delta(moment, f"δ1[{b},{j}]").claim


def test_dropout_is_a_factor() -> None:
    moment = visited("dropout")
    for kept in (True, False):
        b, j = next((int(b), int(j)) for b, j in np.argwhere((moment["mask1"] > 0) == kept))
        answer = delta(moment, f"δ1[{b},{j}]")
        assert [f.name for f in answer.factors] == [f"mask1[{b},{j}]", f"tanh′(z1[{b},{j}])"]
        assert answer.factors[0].value == moment["mask1"][b, j]
        assert ("Dropout kept a1" if kept else "Dropout left a1") in answer.claim


def test_each_reader_of_a_unit_is_listed() -> None:
    """A skip: a1 is read by the shared layer and by the sum."""
    answer = delta(visited("skips"), "δ1[1,2]")
    assert {e.name for e in answer.sent} == {"∂C/∂sum2[1,2]", *(f"δ2[1,{k}] * W2[2,{k}]" for k in range(3))}
    again = delta(visited("skips"), "δ2[1,2]")  # the first use, read by the second
    assert {e.name for e in again.sent} == {f"δ2_2[1,{k}] * W2[2,{k}]" for k in range(3)}


def test_a_normalisation_of_the_batch_sends_through_what_it_shares() -> None:
    answer = delta(visited("batch norm"), "δ1[1,2]")
    assert {e.name.split(" * ")[0] for e in answer.sent} == {
        "∂C/∂n2[1,2]", "∂C/∂batch_mean2[2]", "∂C/∂batch_var2[2]",
    }  # fmt: skip


def test_a_way_up_ends_at_the_next_delta() -> None:
    """A normalisation at rest scales entry by entry; the pre-activation above it has a δ of its own."""
    rest = bp.BatchNorm(trainable=False)
    net = bp.Network([bp.Dense(3), rest, bp.Activation("tanh"), bp.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((12, 3)), np.arange(12) % 3
    moment = bp.train(net, data, batch=4, epochs=1, executor="reference").at(1)
    answer = delta(moment, "δ1[1,2]")
    assert [e.name for e in answer.sent] == ["δ2[1,2] * γ2[2]"]
    assert len(answer.factors) == 1
    assert answer.balanced


def test_the_output_layer_hears_from_the_loss() -> None:
    moment = visited("dense")
    answer = delta(moment, "δ2[1,0]")
    assert (answer.factors, len(answer.sent)) == ((), 1)
    a, t = float(moment["a2"][1, 0]), float(moment["t"][1, 0])
    assert answer.sent[0].value == pytest.approx((a - t) / 5)
    assert f"the output is a2[1,0] = {a:.4g}, its target t[1,0] = {t:.4g}" in answer.claim
    assert f"The loss of row {moment.rows[1]} sends" in answer.claim
    huber = delta(visited("squared"), "δ2[1,0]")
    assert "This is the output layer" in huber.claim


def test_the_error_at_an_activation_may_be_asked_for() -> None:
    moment = visited("dense")
    answer = delta(moment, "a1[2,3]")
    assert answer.target == "∂C/∂a1[2,3]"
    assert answer.value == pytest.approx(moment["δ2"][2] @ moment["W2"][3])
    assert answer.factors == ()


def test_units_that_no_error_reaches_are_counted() -> None:
    net = bp.Network([bp.Dense(4, "tanh"), bp.Dense(6, "relu"), bp.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    moment = bp.train(net, (rng.standard_normal((12, 3)), np.arange(12) % 3), batch=4, epochs=1).at(1)
    answer = delta(moment, "δ1[1,2]")
    assert answer.silent == int(np.sum(moment["δ2"][1] == 0)) > 0
    assert len(answer.sent) == 6 - answer.silent
    assert f"{answer.silent} more units above" in answer.text()


def test_a_corrupted_share_is_caught() -> None:
    for dtype in ("f64", "f32"):
        answer = delta(visited("dense", dtype), "δ1[2,3]")
        first = dataclasses.replace(answer.sent[0], value=answer.sent[0].value * 1.01)
        assert not dataclasses.replace(answer, sent=(first, *answer.sent[1:])).balanced


def test_what_is_no_delta_is_refused() -> None:
    moment = visited("dense")
    for target in ("W1[0,0]", "C", "dW1[0,0]", "t[0,0]"):
        with pytest.raises(UsageError, match="ask for an entry of δ1, δ2"):
            delta(moment, target)
    with pytest.raises(UsageError, match=r"δ1 has entries from δ1\[0,0\] to δ1\[4,3\]"):
        delta(moment, "δ1[9,0]")


def test_an_answer_is_data() -> None:
    data = json.loads(json.dumps(delta(visited("dense"), "δ1[2,3]").to_dict()))
    assert data["factors"][0]["name"] == "sigmoid′(z1[2,3])"
    assert data["balanced"]
