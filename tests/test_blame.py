"""The ledger of a whole run: it balances, equals step by step bookkeeping, and a wrong share is found."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

import backpass as bp
from backpass.errors import UsageError
from backpass.exec.compiled import CompiledLoop
from backpass.explain.blame import Blame, blame
from backpass.explain.updates import ledger
from backpass.explain.updates.ledger import carried_back
from backpass.explain.updates.plan import plan
from backpass.explain.updates.terms import terms_of_new, update_terms
from backpass.explain.updates.update import UpdateOf, parse_target
from backpass.ir import Graph
from backpass.ops import Mean, SquaredError, data, parameter, state
from backpass.passes import backward
from backpass.record.replay import Moment, Replay
from backpass.training.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop
from backpass.training.schedules import Cosine, WarmUp

OPTIMISERS: dict[str, Optimiser] = {
    "sgd": SGD(0.2),
    "momentum": SGD(0.2, 0.9),
    "nesterov": SGD(0.2, 0.9, nesterov=True),
    "decay and momentum": SGD(0.2, 0.9, decay=0.01),
    "clip": SGD(0.2, 0.5, clip=0.003),
    "clip_norm": SGD(0.2, clip_norm=0.05),
    "schedule": SGD(Cosine(0.3), 0.9),
    "adagrad": Adagrad(0.05),
    "rmsprop": RMSprop(0.01, decay=0.01),
    "adam": Adam(0.01),
    "adam, all": Adam(WarmUp(Cosine(0.02), steps=9), decay=0.1, clip_norm=0.1),
    "adam, clip": Adam(0.01, decay=0.1, clip=0.01),
    "adamw": AdamW(0.01, decay=0.1),
}
COMPILED = ("momentum", "adam, all")
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 90)
X = RNG.standard_normal((90, 6)) + 2 * np.eye(3, 6)[Y]


def train(optimiser: Optimiser, executor: str = "reference", dtype: str = "f64", **options: object) -> bp.Run:
    """A few steps: 81 rows by 7, so that the last batch of an epoch has four."""
    net = options.pop("network", bp.Network([bp.Dense(8, "sigmoid"), bp.Dense(3, "softmax")]))
    data = options.pop("data", (X, Y))
    settings = {"batch": 7, "epochs": 4, "executor": executor, "optimizer": optimiser, "dtype": dtype,
                "test": 0.1, **options}  # fmt: skip
    return bp.train(net, data, **settings)  # type: ignore[arg-type]


def asked(run: bp.Run, target: str, **options: object) -> Blame:
    return blame(run.replay, run.rows.numbers, target, **options)  # type: ignore[arg-type]


def kept_by_hand(run: bp.Run, target: str, steps: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What each row has added, after some steps, to the weight and to each slot: one step after another."""
    graph, replay = run.graph, run.replay
    name, entry = parse_target(graph, target)
    terms = update_terms(graph, name)
    slots = {str(t.value.name): t.value for t in terms if t.value.op.settings().get("kind") == "state"}
    added, held = np.zeros(run.record.batches.rows), {s: np.zeros(run.record.batches.rows) for s in slots}
    for number in range(1, steps + 1):
        step = UpdateOf(Moment(replay, number), name, entry, set())
        rows = run.record.batches.span(number - 1, number)[0]
        _, shares, carried = step.taken_apart(terms)
        for factor, term in carried:
            added += factor * held[str(term.value.name)]
        added[rows] += shares
        for slot, node in slots.items():
            own = terms_of_new(graph, slot)
            held[slot] *= sum(t.factor(step.values, entry) for t in own if t.value is node)
            held[slot][rows] += step.taken_apart([t for t in own if t.value is not node])[1]
    return added, held


@pytest.mark.parametrize("dtype", ["f32", pytest.param("f64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_balances_and_equals_bookkeeping_by_hand(name: str, dtype: str) -> None:
    run = train(OPTIMISERS[name], "compiled" if name in COMPILED else "reference", dtype)
    for target in ("W1[2,3]", "W2[3,1]", "b2[0]"):
        answer = asked(run, target)
        assert answer.balanced, answer.text()
        weight, entry = parse_target(run.graph, target)
        assert answer.before == run.record.checkpoints[0][weight][entry]
        assert answer.after == run.record.last()[weight][entry]
        moved = answer.after - answer.before
        assert sum(p.value for p in answer.parts) + answer.rounding == pytest.approx(moved, rel=1e-12)
        assert abs(answer.rounding) <= (1e-5 if dtype == "f32" else 1e-13) * (1 + abs(moved))
        assert sum(b.net for b in answer.blamed) == pytest.approx(answer.parts[0].value, rel=1e-9)
    by_hand, _ = kept_by_hand(run, target, run.steps)
    found = np.zeros(len(by_hand))
    place = {int(number): k for k, number in enumerate(run.rows.numbers)}
    for b in answer.blamed:
        found[place[b.number]] = b.net
        assert b.gross >= abs(b.net) * (1 - 1e-12)
    np.testing.assert_allclose(found, by_hand, rtol=1e-5 if dtype == "f32" else 1e-8, atol=1e-12)
    expected = {"decay"} if "decay" in answer.parts else set()
    assert {p.name for p in answer.parts} - {"gradients", "clipping"} == expected  # b2 does not decay


def test_parts_have_lines_of_their_own() -> None:
    def parts(optimiser: Optimiser, **options: object) -> set[str]:
        answer = asked(train(optimiser, **options), "W2[3,1]")
        assert answer.balanced
        return {p.name for p in answer.parts if p.value}

    assert parts(SGD(0.2, 0.9)) == {"gradients"}
    assert parts(SGD(0.2, 0.9, decay=0.01)) == {"gradients", "decay"}
    assert parts(AdamW(0.01, decay=0.1), l1=1e-3) == {"gradients", "decay", "penalty"}
    assert parts(Adam(0.01, clip=0.001), l2=1e-3) == {"gradients", "clipping", "penalty"}


def test_decay_is_what_it_took_in_each_step() -> None:
    run = train(AdamW(0.01, decay=0.1), epochs=2)
    weights = [float(run.at(k).before["W2"][3, 1]) for k in range(1, run.steps + 1)]
    decay = next(p.value for p in asked(run, "W2[3,1]").parts if p.name == "decay")
    assert decay == pytest.approx(-0.01 * 0.1 * sum(weights), rel=1e-12)


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_groups_are_sums_of_the_same_shares(executor: str) -> None:
    run = train(Adam(0.01), executor)
    rows = asked(run, "W2[3,1]").blamed
    whole = sum(b.net for b in rows)
    classes = asked(run, "W2[3,1]", by="class").blamed
    assert {b.label for b in classes} == {"0", "1", "2"}
    for b in classes:
        of_class = [r for r in rows if r.label == b.label]
        assert {int(Y[r.number]) for r in of_class} == {int(b.label)}
        assert b.net == pytest.approx(sum(r.net for r in of_class), rel=1e-9)
        assert b.gross == pytest.approx(sum(r.gross for r in of_class), rel=1e-9)
    steps = asked(run, "W2[3,1]", by="step").blamed
    assert {b.number for b in steps} <= set(range(1, run.steps + 1))
    epochs = {b.number: b.net for b in asked(run, "W2[3,1]", by="epoch").blamed}
    each = run.record.batches.first_step(1)
    for epoch in range(1, 5):
        some = [b.net for b in steps if (b.number - 1) // each + 1 == epoch]
        assert epochs[epoch] == pytest.approx(sum(some), rel=1e-9)
    for found in ([b.net for b in classes], [b.net for b in steps], list(epochs.values())):
        assert sum(found) == pytest.approx(whole, rel=1e-9)
    assert [abs(b.net) for b in steps] == sorted((abs(b.net) for b in steps), reverse=True)


def test_a_stretch_of_the_run() -> None:
    """What was carried into it is a part; two halves make the whole where nothing is carried."""
    run = train(SGD(0.2, 0.9), "compiled")
    some = asked(run, "W2[3,1]", start=13, stop=40)
    assert some.balanced
    assert (some.first, some.last) == (13, 40)
    assert some.before == run.at(13).before["W2"][3, 1]
    assert some.after == run.at(40).after["W2"][3, 1]
    carried = next(p.value for p in some.parts if p.name == "carried into step 13")
    v = float(run.at(13).before["v_W2"][3, 1])
    assert carried == pytest.approx(v * sum(0.9**k for k in range(1, 29)), rel=1e-6)
    plain = train(SGD(0.2), "compiled")
    halves = [asked(plain, "W2[3,1]", stop=20), asked(plain, "W2[3,1]", start=21)]
    whole = asked(plain, "W2[3,1]")
    assert sum(h.parts[0].value for h in halves) == pytest.approx(whole.parts[0].value, rel=1e-12)
    assert {p.name for h in halves for p in h.parts} == {"gradients"}
    one = asked(plain, "W2[3,1]", start=5, stop=5, by="step")
    assert [b.number for b in one.blamed] == [5]


def test_a_ledger_in_many_stretches_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(Adam(0.01))
    whole = asked(run, "W2[3,1]")
    monkeypatch.setattr(ledger, "_MOST", 7 * 3 * 5)  # a few steps each
    calls: list[tuple[int, int]] = []
    parts = asked(run, "W2[3,1]", progress=lambda done, steps: calls.append((done, steps)))
    assert len(calls) > 5
    assert calls[-1] == (run.steps, run.steps)
    assert calls == sorted(calls)
    assert [(b.number, b.net) for b in parts.blamed] == [
        (b.number, pytest.approx(b.net, rel=1e-9, abs=1e-15)) for b in whole.blamed
    ]
    assert parts.balanced


NETS: dict[str, tuple[list[object], dict[str, object], str]] = {
    "penalties, weights, dropout, layer norm": (
        [bp.Dense(8, "tanh"), bp.Dropout(0.3), bp.LayerNorm(), bp.Dense(3, "softmax")],
        {"optimizer": Adam(0.01, clip_norm=0.5), "l1": 1e-3, "l2": 1e-3, "class_weight": "balanced"},
        "W1[2,3] b1[4] γ2[3] W3[3,1]",
    ),
    "residual": (
        [bp.Dense(6, "relu"), bp.Residual([bp.Dense(6, "tanh")]), bp.Dense(3, "softmax")],
        {"optimizer": SGD(0.1, 0.9), "sample_weight": np.linspace(0.5, 2.0, 90)},
        "W1[2,3] W2[1,1] b3[0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("executor", ["reference", "compiled"])
@pytest.mark.parametrize("name", NETS)
def test_nets_of_other_layers_balance(name: str, executor: str) -> None:
    layers, options, targets = NETS[name]
    run = train(SGD(0.1), executor, "f32", network=bp.Network(layers), **options)  # type: ignore[arg-type]
    assert run.settings.executor == executor, run.settings.executor_why
    for target in targets.split():
        answer = asked(run, target)
        assert answer.balanced, answer.text()
        assert answer.parts[0].value


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_the_vector_of_a_category(executor: str) -> None:
    words = np.random.default_rng(1).integers(0, 5, (60, 3))
    layers = [bp.Embedding(5, 3), bp.Flatten(), bp.Dense(8, "tanh"), bp.Dense(2, "softmax")]
    y = (words[:, 0] > 1).astype(int)
    run = bp.train(bp.Network(layers), (words.astype(float), y), batch=7, epochs=4, test=None, seed=0,
                   optimizer=Adam(0.01), executor=executor, dtype="f64")  # fmt: skip
    name = next(iter(run.graph.inputs_of_kind("parameter")))
    answer = asked(run, f"{name}[2,1]")
    assert answer.balanced, answer.text()
    has_it = {int(n) for n, x in zip(run.rows.numbers, run.rows.arrays["x"], strict=True) if 2 in x}
    assert {b.number for b in answer.blamed} <= has_it
    by_hand, _ = kept_by_hand(run, f"{name}[2,1]", run.steps)
    assert answer.blamed[0].net == pytest.approx(by_hand[np.argmax(np.abs(by_hand))], rel=1e-8)


def test_coupled_examples_are_refused_by_example_and_told_by_step() -> None:
    layers = [bp.Dense(6), bp.BatchNorm(), bp.Activation("tanh"), bp.Dense(3, "softmax")]
    run = train(Adam(0.01), network=bp.Network(layers))
    for by in ("example", "class"):
        with pytest.raises(UsageError, match=r"mixes the examples(.|\n)*By step and by epoch"):
            asked(run, "W1[2,3]", by=by)
    for by in ("step", "epoch", "row"):
        assert asked(run, "W1[2,3]", by=by).balanced
    assert asked(run, "W1[2,3]", by="row").second_route_bound == 0.0
    last = list(run.graph.inputs_of_kind("parameter"))[-1]
    assert asked(run, f"{last}[0]").balanced  # it comes after the batch norm


def test_quantities_are_told_in_the_units_of_the_data() -> None:
    data = (X, X @ np.arange(6.0))
    run = train(SGD(0.01), network=bp.Network([bp.Dense(4, "tanh"), bp.Dense(1)]), data=data)
    answer = asked(run, "W1[0,0]")
    assert answer.balanced
    amounts = dict(zip(range(len(X)), data[1], strict=True))
    assert all(b.label == f"{amounts[b.number]:.4g}" for b in answer.blamed)
    with pytest.raises(UsageError, match="no classes"):
        asked(run, "W1[0,0]", by="class")


def test_a_corrupted_share_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(Adam(0.01), "compiled")
    assert asked(run, "W2[3,1]").balanced
    true = ledger.row_shares

    def corrupt(*given: object) -> np.ndarray:
        found = true(*given).copy()  # type: ignore[arg-type]
        found[np.argmax(np.abs(found))] *= 1 + 1e-6
        return found

    monkeypatch.setattr(ledger, "row_shares", corrupt)
    wrong = asked(run, "W2[3,1]")
    assert not wrong.balanced
    assert abs(wrong.worst) > wrong.worst_bound
    # Moved from row to row, the shares still add up: only the second route can tell.
    monkeypatch.setattr(ledger, "row_shares", lambda *given: _turned(true(*given)))
    turned = asked(run, "W2[3,1]")
    assert abs(turned.worst) <= turned.worst_bound
    assert turned.second_route > turned.second_route_bound
    assert not turned.balanced


def _turned(shares: np.ndarray) -> np.ndarray:
    """The first seven rows, which are a step, change places."""
    return np.concatenate([np.roll(shares[:7], 1), shares[7:]])


def test_steps_that_part_from_the_run_are_taken_again_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(SGD(0.2, 0.9), "compiled")
    honest = asked(run, "W2[3,1]")
    true = Replay.tapped

    def other(self: Replay, start: int, stop: int, taps: object) -> object:
        found = true(self, start, stop, taps)  # type: ignore[arg-type]
        state = self.loop.state()
        self.loop.load({"b1": np.nextafter(state["b1"], 1.0)})
        return found

    monkeypatch.setattr(Replay, "tapped", other)
    answer = asked(run, "W2[3,1]")
    assert answer.balanced
    assert answer.gap == 0.0
    assert [b.number for b in answer.blamed] == [b.number for b in honest.blamed]
    assert "taken again one by one" in answer.text().replace("\n", " ")


def test_a_record_that_no_replay_reaches_is_told_of() -> None:
    run = train(SGD(0.2), "compiled")
    last = dict(run.record.checkpoints[run.steps])
    last["W1"] = last["W1"] + 1e-3
    run.record.checkpoints[run.steps] = last
    answer = asked(run, "W2[3,1]")
    assert not answer.balanced
    assert answer.gap == pytest.approx(1e-3)


@pytest.mark.parametrize("optimiser", [SGD(0.2), Adam(0.01, clip_norm=0.1)])
def test_what_a_loop_does_not_keep_is_asked_step_by_step(
    optimiser: Optimiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(optimiser, "compiled")
    quick = asked(run, "W1[2,3]")
    true: Callable[..., bool] = CompiledLoop.keeps
    hidden = {run.graph["δ1"], run.graph.named.get("norm")}
    monkeypatch.setattr(CompiledLoop, "keeps", lambda self, node: node not in hidden and true(self, node))
    slow = asked(run, "W1[2,3]")
    assert slow.balanced
    for a, b in zip(quick.blamed, slow.blamed, strict=True):
        assert a.number == b.number
        assert a.net == pytest.approx(b.net, rel=1e-9)


@pytest.mark.parametrize("executor", ["reference", "compiled"])
@pytest.mark.parametrize(("optimiser", "slot"), [(SGD(0.2, 0.9, decay=0.01), "v_W2"), (Adam(0.01), "m_W2")])
def test_what_is_carried_is_traced_back(optimiser: Optimiser, slot: str, executor: str) -> None:
    run = train(optimiser, executor, epochs=8)
    found = carried_back(run.replay, "W2", (3, 1), 80, slot, outer=2.0)
    held = float(run.at(80).before[slot][3, 1])
    told = float(found.shares.sum()) + found.beside + found.rest
    assert told == pytest.approx(2.0 * held, rel=1e-9)
    assert abs(found.rest) <= 0.01 * abs(2.0 * held)
    assert set(found.steps) <= set(range(1, 80))
    early = carried_back(run.replay, "W2", (3, 1), 6, slot)
    assert set(early.steps) == {1, 2, 3, 4, 5}
    assert early.rest == 0.0
    by_row = np.bincount(early.rows, early.shares, run.record.batches.rows)
    _, by_hand = kept_by_hand(run, "W2[3,1]", 5)
    np.testing.assert_allclose(by_row, by_hand[slot], rtol=1e-9, atol=1e-15)
    nothing = carried_back(run.replay, "W2", (3, 1), 1, slot)
    assert len(nothing.shares) == 0


def test_the_ledger_ends_with_the_run_s_result() -> None:
    stop = bp.EarlyStopping(metric="loss", patience=2)
    run = train(SGD(3.0, 0.9), epochs=40, validation=0.3, stop=stop, batch=5)
    best = run.record.outcome.best_step
    assert best is not None
    assert best < run.steps
    answer = asked(run, "W2[3,1]")
    assert answer.last == best
    assert answer.after == run.weights["W2"][3, 1]
    assert "its best" in " ".join(answer.notes)
    assert asked(run, "W2[3,1]", stop=run.steps).after == run.record.last()["W2"][3, 1]


def test_bad_questions() -> None:
    run = train(SGD(0.2))
    for options, words in (
        ({"by": "exmaple"}, "example"),
        ({"start": 0}, "this run has steps 1 to 48"),
        ({"stop": 49}, "this run has steps 1 to 48"),
        ({"start": 9, "stop": 8}, "no steps 9 to 8"),
        ({"start": True}, "no steps True"),
    ):
        with pytest.raises(UsageError, match=words):
            asked(run, "W2[3,1]", **options)
    with pytest.raises(UsageError, match="no parameter 'W9'"):
        asked(run, "W9[0,0]")


def test_slots_that_feed_each_other_are_refused() -> None:
    x, t, W = data("x", "f64[B,3]"), data("t", "f64[B,2]"), parameter("W1", "f64[3,2]")
    loss = SquaredError()(x @ W, t, name="loss")
    step = backward(Graph({"loss": loss, "C": Mean()(loss, name="C")}), "C", ["W1"])
    v, u = state("v", "f64[3,2]"), state("u", "f64[3,2]")
    v_new = (0.5 * v - 0.1 * step["dW1"]).named("v_new")
    carry = {"v_new": "v", "u_new": "u", "W1_new": "W1"}
    alone = step.extended({"v_new": v_new, "u_new": 0.9 * u - step["dW1"], "W1_new": W + v_new + u}, carry)
    assert plan(alone, "W1", (0, 0)).slots == ["v", "u"]
    chained = step.extended({"v_new": v_new, "u_new": 0.9 * u + v, "W1_new": W + u}, carry)
    with pytest.raises(UsageError, match="goes through u, which itself reads another slot"):
        plan(chained, "W1", (0, 0))


def test_an_answer_is_data_and_reads_well() -> None:
    answer = asked(train(Adam(0.01)), "W2[3,1]")
    data = json.loads(json.dumps(answer.to_dict()))
    assert data["balanced"] is True
    assert len(data["blamed"]) == len(answer.blamed)
    text = answer.text()
    assert answer.claim.split(".")[0] in text.replace("\n", " ")
    assert "by example" in text
    assert "taken as it was" in text
    assert "<svg" in answer.html()
    assert f"most blamed of {len(answer.blamed)} rows" in answer.claim
