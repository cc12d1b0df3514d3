"""The equation of one number: its terms add up, and each is worth what its name says."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from moments import NETS, STAGES, entries_of, staged, visited

import backpass as bp
from backpass import ops
from backpass.errors import UsageError
from backpass.exec.reference import ReferenceFunction
from backpass.explain.step.entries import Entries
from backpass.explain.step.places import place, printed_names, written
from backpass.explain.value import Value, value
from backpass.ir import Graph
from backpass.ir.types import ArrayType
from backpass.record.replay import Moment


def names_in(moment: Moment) -> dict[str, Any]:
    """What the names of terms stand for, in f64: the values by name, and the functions of a program."""
    found: dict[str, Any] = {"B": 5}
    program = moment.graph.text(prelude=True)
    exec(program.removesuffix(moment.graph.text(prelude=False)), found)  # the functions that it defines
    for node, name in printed_names(moment.graph).items():
        if isinstance(node.type, ArrayType):
            array = np.asarray(moment.values[node])
            found[name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    return found


def every_name(moment: Moment) -> list[str]:
    graph = moment.graph
    return [name for name, node in graph.named.items() if isinstance(node.type, ArrayType)]


def check(moment: Moment, name: str, entry: tuple[int, ...], scope: dict[str, Any]) -> Value:
    answer = value(moment, written(name, entry))
    assert answer.value == float(np.asarray(moment[name])[entry])
    assert answer.balanced, answer.checks
    assert answer.text()
    for term in answer.terms:
        if " of " not in term.name and "smaller" not in term.name and "uniform" not in term.name:
            again = float(eval(term.name, scope))  # the name is an expression
            assert again == pytest.approx(term.value, rel=2e-3, abs=1e-12), term
    sizes = [abs(t.value) for t in answer.terms]
    assert sizes == sorted(sizes, reverse=True)
    return answer


@pytest.mark.parametrize("name", NETS)
def test_every_number_of_a_step_has_its_equation(name: str) -> None:
    for dtype in ("f64", "f32"):
        moment = visited(name, dtype)
        scope = names_in(moment)
        for target in every_name(moment):
            for entry in entries_of(moment[target], 1):
                answer = check(moment, target, entry, scope)
                assert answer.equations or moment.graph[target].op.feeds


@pytest.mark.parametrize("name", [name for name in STAGES if name != "recurrent"])
def test_so_do_numbers_of_steps_without_layers(name: str) -> None:
    moment = staged(name)
    for target in every_name(moment):
        for entry in entries_of(moment[target], 1):
            check(moment, target, entry, names_in(moment))


def test_a_number_is_followed_down_to_a_sum() -> None:
    moment = visited("dense")
    answer = value(moment, "a1[2,3]")
    z, a = float(moment["z1"][2, 3]), float(moment["a1"][2, 3])
    assert answer.equations[0] == f"a1[2,3] = sigmoid(z1[2,3]) = sigmoid({z:.4g}) = {a:.6g}"
    assert answer.equations[1].startswith("z1[2,3] = (sum over k of x[2,k] * W1[k,3]) + b1[3] = ")
    assert answer.summed == "z1[2,3]"
    x, W, b = moment["x"], moment["W1"], moment["b1"]
    wanted = {f"x[2,{k}] * W1[{k},3]": float(x[2, k] * W[k, 3]) for k in range(3)} | {"b1[3]": float(b[3])}
    assert {t.name: t.value for t in answer.terms} == pytest.approx(wanted)
    assert sum(t.value for t in answer.terms) == pytest.approx(z, rel=1e-14)
    assert answer.evidence[:2] == ("a1", "z1")


def test_a_gradient_is_a_sum_over_the_batch() -> None:
    moment = visited("dense")
    answer = value(moment, "dW1[2,1]")
    assert answer.equations == (f"dW1[2,1] = sum over b of x[b,2] * δ1[b,1] = {moment['dW1'][2, 1]:.6g}",)
    assert {t.name for t in answer.terms} == {f"x[{b},2] * δ1[{b},1]" for b in range(5)}
    step = value(moment, "W1_new[2,1]")
    assert step.equations[0].startswith("W1_new[2,1] = W1[2,1] - lr * ")
    assert step.summed == "dW1[2,1]"


def test_shared_weights_and_penalties_are_terms_of_a_gradient() -> None:
    answer = value(visited("skips"), "dW2[1,2]")
    assert {t.name.split("[")[0] for t in answer.terms} == {"a1", "a2"}  # both uses of the layer
    assert len(answer.terms) == 10
    answer = value(visited("deep"), "dW1[1,2]")
    assert {"l2 * W1[1,2]", "l1 * sign(W1[1,2])"} <= {t.name for t in answer.terms}


def test_terms_that_are_zero_are_counted_and_left_out() -> None:
    moment = visited("deep")
    unit = next(int(j) for b, j in np.argwhere(moment["a1"] == 0) if b == 1)
    answer = value(moment, "z2[1,0]")
    assert answer.zeros == int(np.sum(moment["a1"][1] == 0))
    assert not any(t.name.startswith(f"a1[1,{unit}]") for t in answer.terms)
    assert f"{answer.zeros} of them 0" in answer.claim


def test_an_op_without_a_sum_shows_what_it_depends_on() -> None:
    moment = visited("dense")
    answer = value(moment, "a2[1,2]")
    a = moment["a2"][1]
    jacobian = a[2] * ((np.arange(3) == 2) - a)
    assert {d.name: d.derivative for d in answer.depends} == pytest.approx(
        {f"z2[1,{k}]": jacobian[k] for k in range(3)}
    )
    assert "softmax(z2)[1,2] depends on 3 entries" in answer.claim
    loss = value(moment, "loss[1]")
    np.testing.assert_allclose(
        sorted(d.derivative for d in loss.depends), sorted(moment["a2"][1] - moment["t"][1])
    )
    own = value(visited("own op"), "y1[1,2]")
    assert {d.name for d in own.depends} == {f"a1[1,{k}]" for k in range(3)}
    assert "soft_sum" in own.claim


def test_an_op_of_a_user_that_is_linear_adds_up() -> None:
    moment = visited("cumulative")
    answer = value(moment, "y1[1,2]")
    assert {t.name for t in answer.terms} == {f"1 * z1[1,{k}]" for k in range(3)}
    assert answer.balanced


def test_a_loop_shows_what_its_value_depends_on() -> None:
    moment = visited("loop")
    answer = value(moment, "y1[1,1]")
    assert {d.name for d in answer.depends} == {"z1[1,0]", "z1[1,1]"}  # nothing of what comes later
    z = moment["z1"]
    h0 = np.tanh(z[1, 0])
    h1 = np.tanh(0.5 * h0 + z[1, 1])
    found = {d.name: d.derivative for d in answer.depends}
    assert found["z1[1,1]"] == pytest.approx(2 * (1 - h1**2))
    assert found["z1[1,0]"] == pytest.approx(2 * (1 - h1**2) * 0.5 * (1 - h0**2))


def test_weights_of_a_loop_have_an_equation_too() -> None:
    moment = staged("recurrent")
    for target in ("scores[1,1]", "dV[1,1]", "dU[1,2]", "C"):
        assert value(moment, target).balanced
    assert value(moment, "dU[1,2]").depends


def test_masks_and_lookups_are_followed() -> None:
    moment = visited("dropout")
    answer = value(moment, "drop1[1,2]")
    assert answer.equations[0].startswith("drop1[1,2] = a1[1,2] * mask1[1,2] = ")
    assert any(line.startswith("mask1[1,2] = where(uniform(draws") for line in answer.equations)
    moment = visited("embedding")
    category = int(moment["x"][1, 2])
    answer = value(moment, "z1[1,2,1]")
    assert f"E1[{category},1]" in answer.equations[0]
    back = value(moment, "dE1[2,1]")
    rows = int(np.sum(moment["x"].astype(int) == 2))
    assert len(back.terms) + back.zeros == rows
    assert back.total == pytest.approx(sum(t.value for t in back.terms))


def test_a_sum_of_very_many_terms_names_the_largest() -> None:
    net = bp.Network([bp.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((40, 3000)), np.arange(40) % 3
    moment = bp.train(net, data, batch=8, epochs=1, executor="reference").at(2)
    answer = value(moment, "z1[1,2]")
    assert len(answer.terms) == 2002
    assert any(t.name == "1,000 smaller ones" for t in answer.terms)
    assert answer.balanced


def test_an_input_says_where_it_comes_from() -> None:
    moment = visited("dense")
    answer = value(moment, "x[2,1]")
    assert (answer.terms, answer.equations) == ((), ())
    assert f"row {moment.rows[2]} of the data" in answer.text()
    assert "is a weight before step 3" in value(moment, "W1[0,0]").text()
    assert value(moment, "lr").value == moment["lr"]


def test_a_row_may_be_given_as_it_is_numbered_in_the_data() -> None:
    moment = visited("dense")
    assert str(place(moment, f"a1[row {moment.rows[3]},2]")) == "a1[3,2]"
    with pytest.raises(UsageError, match="row 999 is not in the batch of step 3; its rows are"):
        value(moment, "a1[row 999,2]")
    with pytest.raises(UsageError, match="is no index"):
        value(moment, "W1[row 1,2]")


X3, I1 = ops.data("x", "f64[2,3,4]"), ops.data("i", "i64[2]")
MOVES = {
    "transpose": ops.Transpose((1, 2, 0))(X3),
    "reshape": ops.Reshape((4, 6))(X3),
    "slice": X3[1:, :2, 1:3],
    "pad": ops.Pad(((1, 0), (0, 2), (0, 0)))(X3),
    "stack": ops.Stack(1)(X3, X3 * 2.0),
    "concatenate": ops.Concatenate(1)(X3, X3 * 2.0),
    "gather": ops.Gather(1)(X3, I1),
    "broadcast": ops.Broadcast((2, 5, 3, 4), (0, 2, 3))(X3),
}


@pytest.mark.parametrize("name", MOVES)
def test_an_entry_that_was_moved_is_followed_to_where_it_was(name: str) -> None:
    graph = Graph({"y": MOVES[name]})
    feeds = {"x": np.random.default_rng(0).random((2, 3, 4)), "i": np.array([2, 0])}
    values = ReferenceFunction(graph).values({k: feeds[k] for k in graph.inputs})
    entries = Entries(SimpleNamespace(graph=graph, values=values))  # type: ignore[arg-type]
    y = np.asarray(values[MOVES[name]])
    for entry in np.ndindex(y.shape):
        found = entries.source(MOVES[name], entry)
        assert (0.0 if found is None else entries.value(*found)) == y[entry]


def test_names_in_ascii_are_understood() -> None:
    moment = visited("batch norm")
    assert str(place(moment, "delta_1[1,2]")) == str(place(moment, "delta1[1,2]")) == "δ1[1,2]"
    assert str(place(moment, "gamma_2[1]")) == "γ2[1]"
    assert str(place(moment, " δ1 [1, 2] ")) == "δ1[1,2]"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("a9[1,2]", "there is no value 'a9' in this step. Did you mean"),
        ("a1[5,0]", r"a1 has entries from a1\[0,0\] to a1\[4,3\]; the first index is the place in the batch"),
        ("a1[1]", r"a1 has entries from"),
        ("W1", r"W1 has entries from W1\[0,0\] to W1\[2,3\]$"),
        ("C[0]", "C is a single number"),
        ("a1[-1,0]", "is no index"),
        ("a1[1,", "is written like"),
        ("", "is written like"),
    ],
)
def test_what_is_not_there_is_told(target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        value(visited("dense"), target)


def test_a_corrupted_term_is_caught() -> None:
    for dtype in ("f64", "f32"):
        answer = value(visited("dense", dtype), "z1[2,3]")
        first = dataclasses.replace(answer.terms[0], value=answer.terms[0].value * 1.001)
        assert not dataclasses.replace(answer, terms=(first, *answer.terms[1:])).balanced


def test_an_answer_is_data() -> None:
    data = json.loads(json.dumps(value(visited("dense"), "z1[2,3]").to_dict()))
    assert data["question"] == "value"
    assert data["terms"][0]["name"]
    assert data["balanced"]
