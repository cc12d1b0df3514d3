"""Answers: the parts add up to the update that the run's own kernel made, by two routes."""

import dataclasses
import json

import numpy as np
import pytest

import backpass as bp
from backpass.errors import UsageError
from backpass.exec.reference import ReferenceFunction
from backpass.explain.updates import shares, update
from backpass.explain.updates.shares import check_uncoupled
from backpass.explain.updates.terms import update_terms
from backpass.ir import Graph
from backpass.ops import Mean, SquaredError, Tanh, data, parameter
from backpass.passes import backward, retyped
from backpass.training.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop
from backpass.training.schedules import Cosine, WarmUp
from backpass.training.step import step_graph

TARGETS = ("W1[2,3]", "b1[4]", "W2[3,1]", "b2[0]")


def train(activation: str, momentum: float, dtype: str, executor: str, **options: object) -> bp.Run:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    X = rng.standard_normal((90, 6)) + 2 * np.eye(3, 6)[y]
    net = options.pop("network", bp.Network([bp.Dense(8, activation), bp.Dense(3, "softmax")]))
    return bp.train(
        net,
        (X, y),
        **{
            "batch": 7,
            "epochs": 20,
            "executor": executor,
            "optimizer": bp.SGD(0.2, momentum),
            "dtype": dtype,
            "test": 0.1,
            **options,
        },
    )


@pytest.mark.parametrize("executor", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(("activation", "momentum"), [("relu", 0.0), ("sigmoid", 0.9)])
def test_every_answer_balances(activation: str, momentum: float, dtype: str, executor: str) -> None:
    run = train(activation, momentum, dtype, executor)
    for step in (1, 2, 12, 100, run.steps):  # 12 is a short last batch
        visit = run.at(step)
        for target in TARGETS:
            answer = visit.why(target)
            name, entry = update.parse_target(run.graph, target)
            moved = float(visit.after[name][entry]) - float(visit.before[name][entry])
            assert answer.update == moved
            parts = sum(p.value for p in answer.parts)
            assert abs(moved - parts - answer.rounding) <= 1e-18 + 1e-12 * abs(moved)
            eps, terms = np.finfo(np.float32 if dtype == "f32" else np.float64).eps, len(answer.examples)
            gross = sum(abs(s.value) for s in answer.examples) + sum(
                abs(p.value) for p in answer.parts if p.name != "fresh gradient"
            )
            scale = abs(answer.before) + gross
            assert abs(answer.rounding) <= 4 * (terms + len(answer.parts)) * eps * scale
            assert answer.balanced
            fresh = next(p.value for p in answer.parts if p.name == "fresh gradient")
            assert sum(s.value for s in answer.examples) == pytest.approx(fresh, rel=1e-9, abs=1e-18)
            assert [abs(s.value) for s in answer.examples] == sorted(
                (abs(s.value) for s in answer.examples), reverse=True
            )
            assert {s.row for s in answer.examples} == set(visit.rows)
            assert {p.name for p in answer.parts} == {"fresh gradient"} | (
                {"carried momentum"} if momentum else set()
            )


OTHERS = {
    "nesterov": (SGD(0.2, 0.9, nesterov=True), {"carried momentum"}),
    "decay": (SGD(0.2, decay=0.01), {"decay"}),
    "decay and momentum": (SGD(0.2, 0.9, decay=0.01), {"decay", "carried momentum"}),
    "clip": (SGD(0.2, 0.5, clip=0.003), {"clipping", "carried momentum"}),
    "clip_norm": (SGD(0.2, clip_norm=0.05), set()),
    "schedule": (SGD(Cosine(0.3), 0.9), {"carried momentum"}),
    "adagrad": (Adagrad(0.05), set()),
    "rmsprop": (RMSprop(0.01, decay=0.01), {"decay"}),
    "adam": (Adam(0.01), {"carried momentum"}),
    "adam, all": (
        Adam(WarmUp(Cosine(0.02), steps=9), decay=0.1, clip_norm=0.1),
        {"decay", "carried momentum"},
    ),
    "adamw": (AdamW(0.01, decay=0.1), {"decay", "carried momentum"}),
}


@pytest.mark.parametrize("dtype", ["f32", pytest.param("f64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", OTHERS)
def test_every_optimiser_balances(case: str, dtype: str) -> None:
    optimiser, kinds = OTHERS[case]
    run = train("sigmoid", 0.0, dtype, "reference", optimizer=optimiser)
    for step in (1, 2, 12, 100):
        for target in TARGETS:
            answer = run.at(step).why(target)
            assert answer.balanced, answer.text()
            found = {p.name for p in answer.parts} - {"fresh gradient"}
            assert found == (kinds if target.startswith("W") else kinds - {"decay"})
            assert answer.update == pytest.approx(sum(p.value for p in answer.parts), rel=0.05, abs=1e-6)
            assert answer.claim in answer.text().replace("\n", " ")
    if "carried momentum" in kinds:
        carried = next(p.value for p in answer.parts if p.name == "carried momentum")
        told = sum(e.value for e in answer.earlier) + answer.earlier_other + answer.earlier_rest
        assert told == pytest.approx(carried, rel=1e-3 if dtype == "f32" else 1e-9)
        assert abs(answer.earlier_rest) <= 0.01 * abs(carried)


@pytest.mark.parametrize("optimiser", [Adam(0.01, clip_norm=0.2), AdamW(0.01), SGD(0.2, 0.9, clip=0.003)])
def test_other_optimisers_balance_where_they_were_compiled(optimiser: Optimiser) -> None:
    run = train("sigmoid", 0.0, "f32", "compiled", optimizer=optimiser)
    assert run.settings.executor == "compiled", run.settings.executor_why
    for step in (1, 12, 100):
        for target in TARGETS:
            assert run.at(step).why(target).balanced


def test_adams_scale_is_the_factor_of_its_gradient() -> None:
    run = train("sigmoid", 0.0, "f64", "reference", optimizer=Adam(0.01))
    visit = run.at(30)
    answer = visit.why("W2[3,1]")
    s, c_m, c_s = (visit.actual(f"{n}_new") for n in ("s_W2", "c_m", "c_s"))
    root = np.sqrt(s[3, 1] / c_s) + 1e-8
    assert answer.scale == pytest.approx(-0.01 * 0.1 / (c_m * root), rel=1e-9)
    fresh = next(p.value for p in answer.parts if p.name == "fresh gradient")
    assert fresh == pytest.approx(answer.scale * visit["dW2"][3, 1], rel=1e-9)
    text = answer.text()
    assert "m_W2_new[3,1] = beta1 * m_W2[3,1] + (1 - beta1) * dW2[3,1] = 0.9 * " in text
    assert (
        "W2_new[3,1] = W2[3,1] - lr * (m_W2_new[3,1] / c_m_new) / (sqrt(s_W2_new[3,1] / c_s_new) + eps)"
        in text
    )


def test_a_norm_is_shown_over_whole_arrays() -> None:
    run = train("sigmoid", 0.0, "f64", "reference", optimizer=SGD(0.2, clip_norm=0.05))
    text = run.at(5).why("b1[0]").text()
    assert "sum(db1 * db1)" in text
    assert "sum(db1[0]" not in text
    assert "g_b1[0] = kept * db1[0] = 0." in text


def test_dropout_and_penalties_balance() -> None:
    """A mask belongs to the place of a row in its batch, so the second route must keep the row there."""
    layers = [bp.Dense(8, "tanh"), bp.Dropout(0.3), bp.LayerNorm(), bp.Dense(3, "softmax")]
    settings = {"optimizer": Adam(0.01, clip_norm=0.5), "l2": 1e-3, "class_weight": "balanced"}
    run = train("tanh", 0.0, "f64", "reference", network=bp.Network(layers), **settings)
    for target in ("W1[2,3]", "b1[4]", "γ2[3]", "W3[3,1]"):
        assert run.at(20).why(target).balanced


def test_what_clipping_took_is_a_part() -> None:
    run = train("sigmoid", 0.0, "f64", "reference", optimizer=SGD(0.2, clip=0.001))
    visit = run.at(5)
    gradient = visit["dW2"]
    i, j = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
    answer = visit.why(f"W2[{i},{j}]")
    clipping = next(p.value for p in answer.parts if p.name == "clipping")
    assert clipping == pytest.approx(0.2 * (gradient[i, j] - np.sign(gradient[i, j]) * 0.001), rel=1e-9)
    assert abs(answer.update) == pytest.approx(0.2 * 0.001)


def test_an_update_that_is_no_sum_is_refused() -> None:
    x, t, W = data("x", "f64[B,3]"), data("t", "f64[B,2]"), parameter("W1", "f64[3,2]")
    loss = SquaredError()(x @ W, t, name="loss")
    step = backward(Graph({"loss": loss, "C": Mean()(loss, name="C")}), "C", ["W1"])
    bent = step.extended({"W1_new": W - Tanh()(step["dW1"])}, {"W1_new": "W1"})
    with pytest.raises(UsageError, match="tanh stands between it and the gradient"):
        update_terms(bent, "W1")


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_carried_momentum_is_traced_to_earlier_examples(executor: str) -> None:
    run = train("sigmoid", 0.9, "f64", executor)
    answer = run.at(120).why("W2[3,1]")
    carried = next(p.value for p in answer.parts if p.name == "carried momentum")
    assert sum(e.value for e in answer.earlier) + answer.earlier_rest == pytest.approx(carried, rel=1e-10)
    assert abs(answer.earlier_rest) <= 0.01 * abs(carried)
    # One of them by hand: what row r of step k gave then, times the momentum of the steps since.
    chosen = answer.earlier[0]
    then = run.at(chosen.step).why("W2[3,1]")
    given = next(s.value for s in then.examples if s.row == chosen.row)
    assert chosen.value == pytest.approx(given * 0.9 ** (120 - chosen.step), rel=1e-10)
    early = run.at(3).why("W2[3,1]")
    assert {e.step for e in early.earlier} == {1, 2}
    assert early.earlier_rest == 0.0
    assert run.at(1).why("W2[3,1]").earlier == ()


def test_shares_by_the_definition() -> None:
    """Backward seeded with one example's ∂C/∂ℓ only, in the whole batch, in f64."""
    run = train("sigmoid", 0.0, "f64", "compiled")
    visit = run.at(40)
    forward = run.graph.part(["loss", "C"])
    seeded = ReferenceFunction(backward(forward.part(["loss"]), "loss", ["W1"], seed="seed"))
    feeds = {k: visit.feeds[k] for k in seeded.graph.inputs if k != "seed"}
    answer = visit.why("W1[2,3]")
    for b, row in enumerate(visit.rows):
        seed = np.zeros(len(visit.rows))
        seed[b] = 1 / len(visit.rows)
        gradient = seeded({**feeds, "seed": seed})["dW1"][2, 3]
        share = next(s.value for s in answer.examples if s.row == row)
        assert share == pytest.approx(-0.2 * gradient, rel=1e-9, abs=1e-16)


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_a_corrupted_share_is_found(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("sigmoid", 0.0, "f64", executor)
    honest = run.at(40).why("W2[3,1]")
    assert honest.balanced
    true = shares.by_example

    def corrupt(*given: object) -> np.ndarray:
        found = true(*given)  # type: ignore[arg-type]
        found[np.argmax(np.abs(found))] *= 1 + 1e-6
        return found

    monkeypatch.setattr(update, "by_example", corrupt)
    wrong = run.at(40).why("W2[3,1]")
    assert not wrong.balanced
    assert abs(wrong.rounding) > wrong.bound
    assert wrong.second_route > wrong.second_route_bound
    assert "balance FAILS" in wrong.text()
    assert "second route FAILS" in wrong.text()


def test_a_share_that_moves_between_examples_is_found_by_the_second_route(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sum is right, the rows are not: only the second route can tell."""
    run = train("sigmoid", 0.0, "f64", "compiled")
    true = shares.by_example
    monkeypatch.setattr(update, "by_example", lambda *given: np.roll(true(*given), 1))
    wrong = run.at(40).why("W2[3,1]")
    assert abs(wrong.rounding) <= wrong.bound
    assert not wrong.balanced


def test_a_dead_unit_is_said() -> None:
    run = train("relu", 0.0, "f32", "reference")
    graph, record = run.graph, run.record
    for carry in record.checkpoints.values():
        carry["W1"][:, 5], carry["b1"][5] = 0.0, -1.0
    record.checkpoints = {k: v for k, v in record.checkpoints.items() if k == 0}
    answer = bp.Run(record, run.rows).at(1).why("W1[2,5]")
    assert answer.update == 0.0
    assert "No example of the batch pulls at it" in answer.claim
    assert answer.balanced
    assert graph is run.graph


def test_an_answer_is_data_and_reads_well() -> None:
    run = train("sigmoid", 0.9, "f32", "compiled")
    answer = run.at(100).why(" W2[ 3 , 1 ] ")
    assert answer.target == "W2[3,1]"
    found = json.loads(json.dumps(answer.to_dict()))
    assert {"update", "parts", "examples", "rounding", "bound", "balanced", "claim"} <= set(found)
    assert set(found["parts"][0]) == {"name", "value"}
    assert {"row", "value"} <= set(found["examples"][0])
    text = answer.text()
    assert answer.claim in text.replace("\n", " ")
    assert "v_W2_new[3,1] = momentum * v_W2[3,1] - lr * dW2[3,1] = 0.9 * " in text
    assert "dW2[3,1] = sum over b of a1[b,3] * δ2[b,1]" in text
    assert "balance holds: the parts and the update differ by" in text
    assert set(answer.evidence) == {"a1", "δ2"}  # both as the kernel itself left them
    assert dataclasses.replace(answer, rounding=1.0).balanced is False


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("W2", "written like W1"),
        ("W2[3]", r"go from \[0,0\] to \[7,2\]"),
        ("W2[8,0]", r"go from \[0,0\] to \[7,2\]"),
        ("W2[-1,0]", "written like"),
        ("w2[0,0]", "Did you mean 'W2'"),
        ("z1[0,0]", "there is no parameter 'z1'"),
        ("W2[1,1]; import os", "written like"),
    ],
)
def test_targets_that_do_not_exist(target: str, words: str) -> None:
    run = train("sigmoid", 0.0, "f32", "reference")
    with pytest.raises(UsageError, match=words):
        run.at(1).why(target)


def test_coupled_examples_are_refused() -> None:
    x, t, W = data("x", "f64[B,3]"), data("t", "f64[B,2]"), parameter("W1", "f64[3,2]")
    z = x @ W
    loss = SquaredError()(z - Mean((0,))(z).named("m"), t, name="loss")
    graph = Graph({"loss": loss, "C": Mean()(loss, name="C")})
    with pytest.raises(UsageError, match="m mixes the examples"):
        check_uncoupled(backward(graph, "C", ["W1"]))
    plain = step_graph(bp.Network([bp.Dense(2)]), "squared_error", bp.SGD(0.1), 3)
    check_uncoupled(plain)
    check_uncoupled(retyped(plain, "f64"))


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_weights_after_and_before_a_batch_norm_can_be_asked(executor: str) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(40, 3))
    layers = [bp.Dense(4), bp.BatchNorm(), bp.Activation("tanh"), bp.Dense(4, "tanh"), bp.Dense(2, "softmax")]
    run = bp.train(
        bp.Network(layers), (X, X[:, 0] > 0), optimizer=SGD(0.1), batch=8, epochs=3, executor=executor
    )
    for target in ("W3[1,2]", "b4[0]", "γ2[1]", "β2[0]"):
        answer = run.at(9).why(target)
        assert np.isclose(answer.parts[0].value, sum(e.value for e in answer.examples))
        assert answer.second_route <= answer.second_route_bound
        assert not answer.mixed
    answer = run.at(9).why("W1[0,0]")
    assert answer.mixed == "batch_mean2"
    assert answer.balanced, answer.checks


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_the_vector_of_a_category_is_moved_by_the_rows_that_have_it(executor: str) -> None:
    random = np.random.default_rng(0)
    X = random.integers(0, 5, (60, 2))
    layers = [bp.Embedding(5, 3), bp.Flatten(), bp.Dense(8, "tanh"), bp.Dense(2, "softmax")]
    run = bp.train(
        bp.Network(layers), (X, X.sum(axis=1) % 2), optimizer=SGD(0.5, momentum=0.5), batch=12, epochs=2,
        executor=executor,
    )  # fmt: skip
    answer = run.at(9).why("E1[2,1]")
    assert answer.second_route <= answer.second_route_bound
    assert abs(answer.rounding) <= answer.bound
    has = {share.row: 2 in X[share.row] for share in answer.examples}
    assert {share.row for share in answer.examples if share.value} <= {row for row, it in has.items() if it}
    assert any(share.value for share in answer.examples)
    assert any("δ1[b,k,1] for each k at which b has category 2" in line for line in answer.lines)


def test_a_weight_that_is_not_trained_never_moves() -> None:
    net = bp.Network([bp.Dense(4, "tanh", trainable=False), bp.Dense(2, "softmax")])
    with pytest.raises(UsageError, match="W1 is not trained"):
        bp.train(net, "xor", epochs=1).at(1).why("W1[0,0]")
